"""CPU seconds and loss of every optimizer step, as a callback of transformers' trainer: what all sides share."""

from __future__ import annotations

import json
import time
from typing import Any

from transformers import TrainerCallback


class Timed(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Notes CPU and wall seconds of each optimizer step, its forward passes included, and the losses logged."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self.losses: list[float] = []
        self._from = (0.0, 0.0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._from = time.process_time(), time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock."""
        self.cpu.append(time.process_time() - self._from[0])
        self.wall.append(time.perf_counter() - self._from[1])

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep the loss."""
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def told(self, **more: Any) -> str:
        """Return all that was noted as a line of JSON."""
        return json.dumps({"cpu": self.cpu, "wall": self.wall, "losses": self.losses, **more})
