"""What a step left out and what it changed, a few of each, always the same ones."""

from __future__ import annotations

import difflib
import hashlib
import heapq
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from metier.core.tables import read_rows
from metier.core.types import Documents

_AROUND = 1  # lines shown around a change
_MOST_LINES = 14
_MOST_COMPARED = 20_000  # characters: comparing whole books line by line would take longer than the step


class Left(NamedTuple):
    """A document that a step left out, with the beginning of what it said."""

    id: str
    source: str
    reason: str
    text: str


class Line(NamedTuple):
    """A line of a change: kind is "-" for what went, "+" for what came, " " for what is around, "…" for a gap."""

    kind: str
    text: str


class Changed(NamedTuple):
    """A document that a step changed, with where."""

    id: str
    source: str
    lines: list[Line]


def dropped_rows(artifact: Documents) -> Iterator[dict[str, Any]]:
    """Yield what a step lists as left out: id, source, part, title and reason. Nothing where it keeps no list."""
    folder = artifact.folder / "dropped"
    if folder.is_dir() and any(folder.glob("part-*.parquet")):
        yield from read_rows(folder)


def left_out(before: Documents, after: Documents, count: int, characters: int) -> dict[str, list[Left]]:
    """Return up to `count` documents for each reason for which `after` left some of `before` out."""
    chosen: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
    for row in dropped_rows(after):
        heap = chosen.setdefault(row["reason"], [])
        entry = (-_place(row["id"]), row["id"], row)
        if len(heap) < count:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    wanted = {id for heap in chosen.values() for _, id, _ in heap}
    texts = _texts(before, wanted)
    return {
        reason: [
            Left(id, row["source"], reason, _beginning(texts[id], characters))
            for _, id, row in sorted(heap, reverse=True)
            if id in texts
        ]
        for reason, heap in sorted(chosen.items())
    }


def changed(before: Documents, after: Documents, count: int) -> list[Changed]:
    """Return up to `count` documents that are in both with another text."""
    digests = dict(_sampled(after, 64 * count))
    old = dict(_sampled(before, 256 * count))
    ids = [id for id in sorted(digests, key=_place) if id in old and old[id] != digests[id]][:count]
    texts, earlier = _texts(after, set(ids)), _texts(before, set(ids))
    sources = {row["id"]: row["source"] for row in rows_with(after, set(ids), ["id", "source"])}
    found = (Changed(id, sources[id], difference(earlier[id], texts[id])) for id in ids)
    return [change for change in found if change.lines]


def difference(before: str, after: str) -> list[Line]:
    """Return the first changed lines of a text with a line around them."""
    old, new = before[:_MOST_COMPARED].splitlines(), after[:_MOST_COMPARED].splitlines()
    lines: list[Line] = []
    for line in difflib.unified_diff(old, new, n=_AROUND, lineterm=""):
        if line.startswith(("---", "+++")):
            continue
        lines.append(Line("…", "") if line.startswith("@@") else Line(line[0], line[1:]))
        if len(lines) == _MOST_LINES:
            break
    return lines


def _place(id: str) -> int:
    return int.from_bytes(hashlib.sha256(b"look:" + id.encode()).digest()[:8], "big")


def _sampled(documents: Documents, count: int) -> Iterable[tuple[str, str]]:
    """Return ids and digests of the `count` documents whose ids come first by hash: the same ones in every step."""
    rows = read_rows(documents.folder / "documents", ["id", "digest"])
    return heapq.nsmallest(count, ((row["id"], row["digest"]) for row in rows), key=lambda pair: _place(pair[0]))


def rows_with(documents: Documents, wanted: set[str], columns: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows with the wanted ids; shards without one are passed over after a look at their ids."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    ids = pa.array(sorted(wanted), pa.string())
    for shard in documents.shards if wanted else []:
        with pq.ParquetFile(shard) as file:
            for group in range(file.num_row_groups):
                found = pc.is_in(file.read_row_group(group, ["id"]).column("id"), ids)
                if pc.any(found).as_py():
                    yield from file.read_row_group(group, columns).filter(found).to_pylist()


def _texts(documents: Documents, wanted: set[str]) -> dict[str, str]:
    return {row["id"]: row["text"] for row in rows_with(documents, wanted, ["id", "text"])}


def _beginning(text: str, characters: int) -> str:
    text = text.strip()
    return text if len(text) <= characters else text[:characters].rstrip() + " …"
