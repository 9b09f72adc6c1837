"""The measured process as its parent sees it: cells in, repeats and peak memory out, with a limit on time."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from metier.core.errors import Failure, Mistake
from metier.evaluate.inference.cells import Cell, Repeat, Timed

_SAMPLE_SECONDS = 0.05  # between two looks at its memory
_NEVER_READY_SECONDS = 1800.0  # a model of 70 GB from a slow disk


class Ended(Exception):  # noqa: N818 - it is a finding, not a fault
    """The process died or took too long; the text says which."""


class Measured(NamedTuple):
    """The repeats of a cell and the most resident memory of the process meanwhile."""

    repeats: list[Repeat]
    memory_bytes: int


class Watched:
    """A process with a loaded model; use it in a `with`.

    Args:
        told: what to load, as `process.target` takes it.
        errors: the file that gets what the process says to standard error.

    Raises:
        Mistake, Failure: it cannot be loaded, as told by the process.
        Ended: it died while loading.
    """

    def __init__(self, told: Mapping[str, Any], errors: Path) -> None:
        self._errors = errors
        with errors.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "metier.evaluate.inference.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
            )
        try:
            answer, _ = self._ask(told, _NEVER_READY_SECONDS)
        except BaseException:
            self.close()
            raise
        if "problem" in answer:
            self.close()
            raise (Mistake if answer["mistake"] else Failure)(*answer["problem"])

    def __enter__(self) -> Watched:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def measure(self, cell: Cell, requests: int, repeats: int, warm_up: int, seconds: float) -> Measured:
        """Return what a cell gave. Raises Ended if the process died, or was ended after `seconds`."""
        order = {"cell": list(cell), "requests": requests, "repeats": repeats, "warm_up": warm_up}
        answer, memory = self._ask(order, seconds)
        found = [Repeat(took, [Timed(*request) for request in requests]) for took, requests in answer["repeats"]]
        return Measured(found, memory)

    def _ask(self, order: Mapping[str, Any], seconds: float) -> tuple[dict[str, Any], int]:
        import psutil

        assert self._process.stdin is not None and self._process.stdout is not None
        until, peak = time.monotonic() + seconds, 0
        watched = psutil.Process(self._process.pid)
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Ended(self._how_it_died()) from error
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not selector.select(_SAMPLE_SECONDS):
                if time.monotonic() > until:
                    raise Ended(f"it took longer than {seconds:g} s")
                try:
                    peak = max(peak, watched.memory_info().rss)
                except psutil.Error:
                    break
        line = self._process.stdout.readline()
        if not line:
            raise Ended(self._how_it_died())
        with suppress(psutil.Error):  # it may end as soon as it has answered
            peak = max(peak, watched.memory_info().rss)
        answer: dict[str, Any] = json.loads(line)
        return answer, peak

    def _how_it_died(self) -> str:
        code = self._process.wait()
        said = [line for line in self._errors.read_text(errors="replace").splitlines() if line.strip()]
        last = f": {said[-1][:200]}" if said else ""
        if code == -9:
            return "the engine was killed, as where memory runs out"
        return f"the engine died with {'signal' if code < 0 else 'exit code'} {abs(code)}{last}"
