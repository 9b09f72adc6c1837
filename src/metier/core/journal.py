"""JSON lines that outlive a kill: appended as work is done, read back by the next attempt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read_journal(path: Path) -> list[Any]:
    """Return the values of a journal, none if there is no file. A last line that a kill has cut is removed from it."""
    if not path.is_file():
        return []
    whole = path.read_bytes()
    kept = whole.rfind(b"\n") + 1
    if kept < len(whole):
        with path.open("r+b") as file:
            file.truncate(kept)
    return [json.loads(line) for line in whole[:kept].splitlines()]


def append_to_journal(path: Path, values: Iterable[Any]) -> None:
    """Append values, one a line. What is written survives this process, though not a failing machine."""
    with path.open("a", encoding="utf-8") as out:
        out.write("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))
