"""Lines that stand at the edges of many pages of one site: "This page last modified on ...", "Home | Sitemap"."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metier.core.markdown import Block, blocks
from metier.corpus.language import is_code

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EDGE_LINES = 12
"""Boilerplate stands at the edges of a page: only this many lines at either end are looked at."""

CORPUS = 0
"""The number of the group that is the whole corpus; sites are numbered from 1."""

_NUMBER = re.compile(r"\d+")
_WEB = re.compile(r"https?://(?:[^/@]*@)?([^/?#]+)", re.IGNORECASE)
_STORE = re.compile(r"([a-z][a-z0-9+.-]*://[^/]+/[^/]+)/", re.IGNORECASE)


def site_of(source: str) -> str:
    """Return what a page shares its furniture with: the host of a URL, the top folder of a path, "" of a lone file."""
    web = _WEB.match(source)
    if web:
        return web[1].lower()
    store = _STORE.match(source)
    return store[1] if store else source.rpartition("/")[0].partition("/")[0]


def sites(shards: Iterable[Path]) -> Counter[str]:
    """Return how many documents there are of each site."""
    import pyarrow.parquet as pq

    found: Counter[str] = Counter()
    for shard in shards:
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(columns=["source"]):
                found.update(map(site_of, batch.column("source").to_pylist()))
    return found


def boilerplate_key(line: str) -> str:
    """Return what two lines must share to count as the same boilerplate: words alike, numbers and mark-up aside."""
    return _NUMBER.sub("0", line.strip().strip("*_#>-| ").lower())


def key_hash(key: str) -> int:
    """Return 64 bits that stand for a key."""
    import xxhash

    return int(xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass")))


def edge_keys(text: str) -> set[str]:
    """Return the keys of the lines at the edges of a text that could be boilerplate: never code, never tables."""
    keys = {boilerplate_key(line) for block in _at_edge(list(blocks(text))) for line in block.text.split("\n")}
    # A fence within a list item holds code together, however many pages have one.
    return {key for key in keys if key and "```" not in key and "~~~" not in key}


def sample_place(id: str) -> float:
    """Return the fixed place of a document in 0..1; a sample of a tenth are those below 0.1."""
    return int.from_bytes(hashlib.sha256(b"sample:" + id.encode()).digest()[:8], "big") / 2**64


def without_boilerplate(whole: list[Block], unwanted: Callable[[str], bool], removed: Counter[str]) -> list[Block]:
    """Return the blocks without unwanted lines at the edges, and without headings that then head nothing.

    A repeated heading with a text of its own below it ("Parameters", "Example") is structure and stays.

    Args:
        unwanted: says whether a line's key is boilerplate.
        removed: counts the keys of the lines that were taken out.
    """
    edge = {block.first for block in _at_edge(whole)}
    kept = []
    for at, block in enumerate(whole):
        if block.first in edge and block.kind != "heading":
            keys = [(line, boilerplate_key(line)) for line in block.text.split("\n")]
            gone = [key for _, key in keys if unwanted(key)]
            if gone:
                removed.update(gone)
                block = block._replace(text="\n".join(line for line, key in keys if key not in gone))
        elif block.first in edge and unwanted(key := boilerplate_key(block.text)):
            follower = whole[at + 1] if at + 1 < len(whole) else None
            if follower is None or (follower.kind == "heading" and follower.level <= block.level):
                removed[key] += 1
                continue
        if block.text.strip():
            kept.append(block)
    return kept


def _at_edge(whole: list[Block]) -> list[Block]:
    """Return the blocks of prose that begin in the first or end in the last EDGE_LINES lines with text."""
    chosen: dict[int, Block] = {}
    for order in (iter(whole), reversed(whole)):
        lines = 0
        for block in order:
            if lines >= EDGE_LINES:
                break
            if block.kind not in ("code", "table"):
                chosen[block.first] = block
            lines += block.end - block.first
    return list(chosen.values())


class Edges(NamedTuple):
    """What a survey of some documents found: parallel arrays of group and key hash, one entry a document and key.

    `documents` says how many documents of each group were looked at.
    """

    groups: NDArray[np.uint32]
    keys: NDArray[np.uint64]
    documents: dict[int, int]


@dataclass(frozen=True)
class Survey:
    """Looks at a sample of a shard's documents.

    Args:
        numbers: the number of each site.
        shares: by number of a group, the share of its documents to look at; they are chosen by id, so always the same.
    """

    numbers: Mapping[str, int]
    shares: Mapping[int, float]

    def __call__(self, shard: Path) -> Edges:
        """Return the keys at the edges of the documents that were chosen, for the corpus and for their sites."""
        import numpy as np

        groups: list[int] = []
        keys: list[int] = []
        documents: dict[int, int] = {}
        for id, text, source, media_type in _rows(shard):
            place = sample_place(id)
            of = (CORPUS, self.numbers.get(site_of(source)))
            counted = [number for number in of if number is not None and place < self.shares.get(number, 0.0)]
            if not counted or is_code(media_type):
                continue
            found = [key_hash(key) for key in edge_keys(text)]
            for number in counted:
                documents[number] = documents.get(number, 0) + 1
                groups += [number] * len(found)
                keys += found
        return Edges(np.array(groups, np.uint32), np.array(keys, np.uint64), documents)


def repeated(surveys: Sequence[Edges], share: float, at_least: int) -> dict[int, frozenset[int]]:
    """Return, by group, the hashes of keys that stand in at least `share` of its documents, and in `at_least`."""
    import numpy as np

    groups = np.concatenate([survey.groups for survey in surveys] or [np.zeros(0, np.uint32)])
    keys = np.concatenate([survey.keys for survey in surveys] or [np.zeros(0, np.uint64)])
    needed = {
        number: max(at_least, share * sum(survey.documents.get(number, 0) for survey in surveys))
        for number in {number for survey in surveys for number in survey.documents}
    }
    order = np.lexsort((keys, groups))
    groups, keys = groups[order], keys[order]
    new = np.ones(keys.size, bool)
    new[1:] = (groups[1:] != groups[:-1]) | (keys[1:] != keys[:-1])
    starts = np.flatnonzero(new)
    counts = np.diff(np.append(starts, keys.size))
    often = counts >= at_least
    found: dict[int, set[int]] = {}
    for at, count in zip(starts[often].tolist(), counts[often].tolist(), strict=True):
        if count >= needed[int(groups[at])]:
            found.setdefault(int(groups[at]), set()).add(int(keys[at]))
    return {number: frozenset(hashes) for number, hashes in found.items()}


def _rows(shard: Path) -> Iterator[tuple[str, str, str, str]]:
    import pyarrow.parquet as pq

    names = ["id", "text", "source", "media_type"]
    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(2000, columns=names):
            yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)
