"""What a model answered, line by line as it comes, so that a killed examination goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metier.core.errors import Failure
from metier.core.files import write_text_atomic
from metier.core.journal import append_to_journal, read_journal


class Place(NamedTuple):
    """Which item of which part of an examination."""

    name: str
    split: str
    id: str


class AnswerLog:
    """A file of one JSON object a line, each with `name`, `split` and `id`.

    What an earlier attempt has written is known from the start.

    Args:
        path: the file; made when the first row is added. None keeps the rows in memory only.
        notes: what else is written into the row of an item, such as the passages it was shown.
    """

    def __init__(self, path: Path | None, notes: Mapping[Place, Mapping[str, Any]] | None = None) -> None:
        self.path = path
        self._notes = notes or {}
        self.rows: dict[Place, dict[str, Any]] = {}
        if path is not None:
            self.rows = {place_of(row): row for row in read_journal(path)}

    def __contains__(self, place: Place) -> bool:
        return place in self.rows

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep one row, and write it through to the file."""
        self.add_all([row])

    def add_all(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows that came together, and write them through to the file."""
        found = [{**row, **self._notes.get(place_of(row), {})} for row in rows]
        self.rows.update((place_of(row), row) for row in found)
        if self.path is not None and found:
            append_to_journal(self.path, found)

    def finish(self, order: Iterable[Place]) -> list[dict[str, Any]]:
        """Write the file anew with exactly the rows of `order`, and return them.

        Raises:
            Failure: a row is missing.
        """
        rows = []
        for place in order:
            if place not in self.rows:
                raise Failure(f"the answer to '{place.id}' of {place.name} ({place.split}) is missing")
            rows.append(self.rows[place])
        if self.path is not None:
            write_text_atomic(self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return rows


def place_of(row: Mapping[str, Any]) -> Place:
    """Return where a row belongs."""
    return Place(row["name"], row["split"], row["id"])
