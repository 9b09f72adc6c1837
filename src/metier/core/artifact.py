"""An artifact is a folder; its record, written last, is what makes it exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metier.core.errors import Failure
from metier.core.ledger import Ledger

RECORD = "record.json"
EVENTS = "events.jsonl"


class Record(BaseModel):
    """What is known about a finished artifact: how it was made, from what, what was lost, when, where and with what."""

    model_config = ConfigDict(extra="forbid")

    step: str
    version: int
    key: str
    called: str | None = None
    recipe: dict[str, Any]
    inputs: dict[str, list[str]]
    ledger: Ledger
    figures: dict[str, Any] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    output_sha256: str
    output_bytes: int
    versions: dict[str, str] = Field(default_factory=dict)
    host: dict[str, Any] = Field(default_factory=dict)
    finished: str
    seconds: float
    attempts: int = 1


class Artifact:
    """A folder made by a step. Kinds of artifact add methods that read it.

    Args:
        folder: where it lies. It exists as an artifact only if `record.json` is in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether the artifact was finished."""
        return (self.folder / RECORD).is_file()

    @property
    def record(self) -> Record:
        """The record written when the artifact was finished. Raises Failure if there is none or it cannot be read."""
        path = self.folder / RECORD
        try:
            return Record.model_validate(json.loads(path.read_text()))
        except FileNotFoundError:
            raise Failure(f"{self.folder.name} is not finished", hint="run `metier run` to finish it") from None
        except (ValueError, ValidationError) as error:
            raise Failure(
                f"the record of {self.folder.name} cannot be read",
                found=str(error).splitlines()[0],
                hint=f"remove {self.folder} and run again: it will be made anew",
            ) from error

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the events logged while it was made, all or of one kind. A line cut by a kill is passed over."""
        path = self.folder / EVENTS
        found = []
        # Only "\n" ends a line: JSON leaves other ends of lines (U+2028, U+0085) in a text as they are.
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if kind is None or event.get("kind") == kind:
                found.append(event)
        return found
