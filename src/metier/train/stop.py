"""A machine that is taken away says so: on SIGTERM a training saves a checkpoint and ends with 143."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a process that SIGTERM ended."""


class Stop:
    """While it is entered, SIGTERM does not end the process but is noted in `asked`, to be heeded after a step.

    A second SIGTERM ends it at once. Outside the main thread signals cannot be caught, and nothing is changed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGTERM, self._before)
