"""What a running step is given: its folder, its inputs, the host, the ledger, and a way to be seen at work."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, TypeVar

from metier.core.artifact import EVENTS, Artifact
from metier.core.host import Host
from metier.core.ledger import Ledger, Line
from metier.core.progress import Bar, Progress
from metier.core.step import Step

A = TypeVar("A", bound=Artifact)


class Work:
    """One attempt at making one artifact.

    Args:
        folder: where this process writes: the artifact's folder, in which is what a killed attempt left. Of several
            processes on one step only the first has it; what the others write is thrown away.
        host: what the machine offers.
        inputs: the finished artifacts of the held steps, by `id` of the step.
        shared: the artifact's folder on every process, for what they all read and what they write together.
    """

    def __init__(
        self,
        step: Step[Any],
        folder: Path,
        host: Host,
        inputs: Mapping[int, Artifact],
        progress: Progress,
        shared: Path | None = None,
    ) -> None:
        self.step, self.folder, self.host = step, folder, host
        self.shared = shared or folder
        self.ledger = Ledger()
        self.figures: dict[str, Any] = {}
        self.warnings: list[str] = []
        self._inputs, self._progress = inputs, progress
        self._input_ledgers: dict[str, list[Ledger]] | None = None

    def made(self, step: Step[A]) -> A:
        """Return the finished artifact of a step that this step holds."""
        artifact = self._inputs[id(step)]
        kind: type[A] = step.makes  # type: ignore[assignment]
        return artifact if isinstance(artifact, kind) else kind(artifact.folder)

    def progress(self, what: str, total: int | None = None, unit: str = "rows") -> AbstractContextManager[Bar]:
        """Open a progress bar: `with work.progress("reading", 766, "files") as bar: bar.advance()`."""
        return self._progress.bar(what, total, unit)

    def count(
        self,
        unit: str,
        came: int,
        kept: int,
        dropped: Mapping[str, int] | None = None,
        *,
        source: str | None = None,
        made: Mapping[str, int] | None = None,
    ) -> None:
        """Write one line of the ledger.

        Args:
            unit: what is counted, in the singular ("document").
            dropped: how many were left out, by reason.
            source: the field whose artifacts they came from; `came` must then equal what those say they made.
            made: what leaves this artifact, by unit.

        Raises:
            Failure: the line does not add up.
        """
        line = Line(unit=unit, came=came, kept=kept, dropped=dict(dropped or {}), source=source, made=dict(made or {}))
        if self._input_ledgers is None:
            self._input_ledgers = {
                field: [self.made(held).record.ledger for held in steps] for field, steps in self.step.held().items()
            }
        self.ledger.add(line, self.step.name, self._input_ledgers)

    def figure(self, name: str, value: Any) -> None:
        """Keep a figure (a number, text, list or mapping of JSON values) in the artifact's record."""
        self.figures[name] = value

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event with the time to `events.jsonl`, where it outlives a kill."""
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, **fields}) + "\n"
        with (self.folder / EVENTS).open("a+b") as out:
            if out.tell() and not _ends_a_line(out):  # a machine that lost its power may have cut the last one
                line = "\n" + line
            out.write(line.encode())

    def warn(self, text: str) -> None:
        """Tell the user something that does not stop the work, and keep it in the record."""
        self.warnings.append(text)
        self.say(f"warning: {text}")

    def say(self, text: str) -> None:
        """Tell the user one line, after which step it is that says it; a text of several lines stands below that."""
        prefix = self._progress.prefix
        self._progress.say(f"{prefix.rstrip()}\n{text}" if prefix and "\n" in text else prefix + text)


def _ends_a_line(file: IO[bytes]) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
