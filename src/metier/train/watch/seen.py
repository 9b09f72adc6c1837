"""A training as its `events.jsonl` tells it, read as it grows."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metier.core.artifact import EVENTS, RECORD
from metier.train.attempt import BEGUN, ENDED

_RECENT = 20  # steps whose time gives the rate
_SILENT_SECONDS = 120.0
_SILENT_STEPS = 10
_NO_CURVE = {"time", "kind", "step", "of", "tokens", "loss", "lr", "grad_norm"}


class Seen:
    """What is known of one training. `read` takes in what came since.

    A line that is not whole yet waits for its rest; one that was cut by a kill, or is no event, is passed over. Steps
    that were done again after a kill count once, and those of an attempt that left no checkpoint not at all.

    Args:
        folder: of the artifact.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._forget()

    def _forget(self) -> None:
        self._at, self._rest = 0, b""
        self.steps: dict[int, dict[str, Any]] = {}
        self.validation: dict[int, float] = {}
        self.looks: dict[int, dict[str, Any]] = {}
        self.samples: dict[str, Any] | None = None
        self.findings: list[dict[str, Any]] = []
        self.rollbacks: list[dict[str, Any]] = []
        self.resumed: list[int] = []
        self.ended: str | None = None
        self.total_tokens: int | None = None
        self.last_time: float | None = None
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT + 1)

    def read(self) -> bool:
        """Take in what was written since the last call, and return whether there was anything."""
        path = self.folder / EVENTS
        try:
            size = path.stat().st_size
        except OSError:
            return False
        if size < self._at:  # begun anew
            self._forget()
        with path.open("rb") as file:
            file.seek(self._at)
            more = file.read()
        self._at += len(more)
        *lines, self._rest = (self._rest + more).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
                self._take(event)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return bool(lines)

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, step = event["kind"], event.get("step")
        self.last_time = float(event["time"])
        self.ended = str(event["why"]) if kind == ENDED else None
        if kind == "log":
            self.steps[int(event["step"])] = dict(event)
            self._recent.append(dict(event))
        elif kind == BEGUN:
            self._back_to(-1)
            self.samples, self.resumed = None, []
        elif kind == "training":
            self.total_tokens = event.get("tokens")
        elif kind == "resume":
            self._back_to(int(event["step"]))
            self.resumed.append(int(event["step"]))
        elif kind == "validation":
            self.validation[int(event["step"])] = float(event["loss"])
        elif kind == "look":
            self.looks[int(event["step"])] = dict(event)
        elif kind == "samples":
            self.samples = dict(event)
        elif kind == "finding":
            self.findings = [one for one in self.findings if (one["step"], one["check"]) != (step, event["check"])]
            self.findings.append(dict(event))
        elif kind == "rollback":
            self.rollbacks = [*(one for one in self.rollbacks if one["step"] != step), dict(event)]

    def _back_to(self, step: int) -> None:
        self._recent.clear()
        self.steps = {at: event for at, event in self.steps.items() if at <= step}
        self.validation = {at: loss for at, loss in self.validation.items() if at <= step}
        self.looks = {at: look for at, look in self.looks.items() if at <= step}
        self.findings = [one for one in self.findings if one["step"] <= step]
        self.rollbacks = [one for one in self.rollbacks if one["step"] <= step]

    @property
    def step(self) -> int:
        """The last optimizer step; 0 before the first."""
        return max(self.steps, default=0)

    @property
    def of(self) -> int | None:
        """Optimizer steps of the whole training, where it is known."""
        told = self.steps[self.step].get("of") if self.steps else None
        return int(told) if told else None

    @property
    def tokens(self) -> int | None:
        """Tokens computed so far; None where a training does not count them."""
        return self.steps[self.step].get("tokens") if self.steps else None

    @property
    def tokens_per_second(self) -> float | None:
        """The rate over the last steps of this attempt."""
        if len(self._recent) < 2 or "tokens" not in self._recent[0]:
            return None
        first, last = self._recent[0], self._recent[-1]
        seconds = last["time"] - first["time"]
        return float((last["tokens"] - first["tokens"]) / seconds) if seconds > 0 else None

    @property
    def seconds_per_step(self) -> float | None:
        """The time of a step over the last steps of this attempt."""
        if len(self._recent) < 2:
            return None
        first, last = self._recent[0], self._recent[-1]
        steps = last["step"] - first["step"]
        return float((last["time"] - first["time"]) / steps) if steps > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """The time to the last step, at the rate of late; None where it is not known, or over."""
        if self.state() != "running" or self.of is None or (each := self.seconds_per_step) is None:
            return None
        if self.total_tokens is not None and self.tokens is not None and self.tokens_per_second:
            return max(0.0, (self.total_tokens - self.tokens) / self.tokens_per_second)
        return (self.of - self.step) * each

    def state(self, now: float | None = None) -> str:
        """Return "done", "stopped" by the watch, "ended" before it was done, "silent", "running", or "nothing yet"."""
        if (self.folder / RECORD).is_file():
            return "done"
        if self.findings and self.findings[-1]["action"] == "stop" and self.findings[-1]["step"] >= self.step:
            return "stopped"
        if self.last_time is None:
            return "nothing yet"
        if self.ended is not None:
            return "ended"
        quiet = (time.time() if now is None else now) - self.last_time
        patience = max(_SILENT_SECONDS, _SILENT_STEPS * (self.seconds_per_step or 0.0))
        return "silent" if quiet > patience else "running"

    def curve(self, name: str) -> list[tuple[float, float]]:
        """Return (step, value) of a figure of the steps, where it has one."""
        return [
            (float(step), float(event[name]))
            for step, event in sorted(self.steps.items())
            if isinstance(event.get(name), int | float)
        ]

    @property
    def other_curves(self) -> list[str]:
        """Names of the figures besides loss, learning rate and gradient: losses of channels, margins, rewards."""
        return [name for name in (self.steps[self.step] if self.steps else {}) if name not in _NO_CURVE]

    def summary(self) -> dict[str, Any]:
        """Return the state for a program."""
        last = self.steps.get(self.step, {})
        return {
            "folder": str(self.folder),
            "state": self.state(),
            "ended": self.ended,
            "step": self.step,
            "of": self.of,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens_per_second,
            "seconds_left": self.seconds_left,
            "last": {name: value for name, value in last.items() if name not in ("time", "kind", "step", "of")},
            "validation": self.validation,
            "look": self.looks[max(self.looks)] if self.looks else None,
            "findings": self.findings,
            "rollbacks": self.rollbacks,
            "resumed": self.resumed,
        }
