"""Progress that people can read: rows done, rate, time left, and the latest figures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_LINE_SECONDS = 10.0  # in a log file, one line this often
_LIVE_SECONDS = 0.2  # on a terminal, the line is redrawn this often


class Bar:
    """One counted piece of work.

    Args:
        what: the work, as in "reading".
        total: units there are, or None if it is not known.
        unit: what is counted, as in "rows" or "tokens".
        show: called with a finished line of text and whether it is the last.
        every: seconds between two lines.
    """

    def __init__(
        self, what: str, total: int | None, unit: str, show: Callable[[str, bool], None], every: float
    ) -> None:
        self._what, self._total, self._unit, self._show, self._every = what, total, unit, show, every
        self._done = 0
        self._start = self._shown = time.monotonic()
        self._resumed = 0
        self._figures: dict[str, Any] = {}

    def resume_at(self, done: int) -> None:
        """Say that `done` units were finished by an earlier attempt; they do not count for the rate."""
        self._done = self._resumed = done
        self._start = time.monotonic()

    def advance(self, n: int = 1, **figures: Any) -> None:
        """Count `n` more units, and remember the latest figures (`loss=1.23`)."""
        self._done += n
        self._figures.update(figures)
        now = time.monotonic()
        if now - self._shown >= self._every:
            self._shown = now
            self._show(self.line(now), False)

    def line(self, now: float) -> str:
        """Return the state as one line: what, done/total, rate, time left, figures."""
        seconds = max(now - self._start, 1e-9)
        rate = (self._done - self._resumed) / seconds
        of = f"/{self._total:,}" if self._total is not None else ""
        parts = [f"{self._what} {self._done:,}{of} {self._unit}", f"{_short(rate)} {self._unit}/s"]
        if self._total is not None and rate > 0:
            parts.append(f"{clock(max(self._total - self._done, 0) / rate)} left")
        parts += [f"{name} {_short(value)}" for name, value in self._figures.items()]
        return " · ".join(parts)

    def close(self) -> None:
        """Show the last state, with the time it took; nothing where there was nothing to do."""
        if self._total == 0 and not self._done:
            return
        now = time.monotonic()
        of = f"/{self._total:,}" if self._total is not None and self._total != self._done else ""
        figures = "".join(f" · {name} {_short(value)}" for name, value in self._figures.items())
        took = clock(now - self._start)
        self._show(f"{self._what} {self._done:,}{of} {self._unit} in {took}{figures}", True)


class Progress:
    """Where bars are drawn: redrawn on a terminal, a line now and then in a log, nowhere if `stream` is None."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._live = stream is not None and stream.isatty()
        self.prefix = ""

    @classmethod
    def here(cls) -> Progress:
        """Return the progress display of this terminal or log, on standard error."""
        return cls(sys.stderr)

    @contextmanager
    def bar(self, what: str, total: int | None = None, unit: str = "rows") -> Iterator[Bar]:
        """Open a bar for the length of a `with` block."""
        bar = Bar(what, total, unit, self._show, _LIVE_SECONDS if self._live else _LINE_SECONDS)
        try:
            yield bar
        finally:
            bar.close()

    def say(self, text: str) -> None:
        """Print one line that stays."""
        if self._stream is not None:
            self._stream.write(("\r\x1b[2K" if self._live else "") + text + "\n")
            self._stream.flush()

    def _show(self, line: str, last: bool) -> None:
        if self._stream is None:
            return
        if self._live and not last:
            self._stream.write(f"\r\x1b[2K{self.prefix}{line}")
            self._stream.flush()
        else:
            self.say(self.prefix + line)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def clock(seconds: float) -> str:
    """Return a duration as people say it."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
