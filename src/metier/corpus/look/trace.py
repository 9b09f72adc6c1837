"""The life of one document: where it came from, what each step did with it, where it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from metier.core.types import Documents
from metier.corpus.look.samples import difference, dropped_rows, rows_with


class Station(NamedTuple):
    """What one step did with the document.

    outcome: "came", "unchanged", "changed", "left out" or "not there". detail: the reason, or what changed.
    """

    step: str
    outcome: str
    detail: str
    row: dict[str, Any] | None


def trace(wanted: str, chain: Sequence[tuple[str, Documents]]) -> Iterator[Station]:
    """Yield a station for each of the named artifacts, in the order of the recipe.

    Args:
        wanted: a document's id, or its source exactly as it is written.
    """
    before: dict[str, Any] | None = None
    for name, documents in chain:
        row = _find(documents, wanted if before is None else before["id"])
        if row is None and before is None:
            yield Station(name, "not there", "", None)
            continue
        if row is None:
            id = before["id"] if before is not None else ""
            reason = next((left["reason"] for left in dropped_rows(documents) if left["id"] == id), None)
            yield Station(name, "left out", reason or "for a reason its list does not hold", None)
            return
        yield Station(name, *_outcome(before, row), row)
        before = row


def _outcome(before: dict[str, Any] | None, row: dict[str, Any]) -> tuple[str, str]:
    if before is None:
        return "came", f"{len(row['text']):,} characters from {row['source']}"
    filled = [f"{name} {row[name]}" for name in ("language", "split", "channel") if row.get(name) != before.get(name)]
    if row["text"] == before["text"]:
        return "unchanged", ", ".join(filled)
    lines = difference(before["text"], row["text"])
    went, came = sum(line.kind == "-" for line in lines), sum(line.kind == "+" for line in lines)
    size = len(row["text"]) - len(before["text"])
    told = [f"{went} lines went and {came} came, as far as was compared"] if lines else []
    return "changed", ", ".join([f"{size:+,} characters", *told, *filled])


def _find(documents: Documents, wanted: str) -> dict[str, Any] | None:
    by_id = next(rows_with(documents, {wanted}, ["id"]), None)
    if by_id is not None:
        return next(rows_with(documents, {wanted}, list(documents.columns)), None)
    return next((row._asdict() for row in documents.rows() if row.source == wanted), None)
