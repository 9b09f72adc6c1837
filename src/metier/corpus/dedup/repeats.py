"""Leave out lines, sentences or paragraphs that another document of the corpus has said before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from metier.core import Step, Work
from metier.core.types import Documents
from metier.corpus.engine import apply, noted, objected, with_texts
from metier.corpus.engine.pool import open_pool
from metier.corpus.parts import Level, Span, key, spans, weight, without

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

REPEATED = "said by other documents"
_TABLE = "repeated.npy"
_ENTRIES_A_BUCKET = 8_000_000  # 24 bytes each while they are sorted: about 400 MB
_FOUND = [("key", "<u8"), ("owner", "<u8")]


class DedupParts(Step[Documents]):
    """Leave out lines, sentences or paragraphs that an earlier document has said, and keep the rest of each document.

    Two parts are the same if their words are, whatever their case, punctuation and spaces. Of several copies that of
    the first document, in the order of the corpus, stays; what a document repeats within itself stays too, and so do
    headings, code and short parts. A document of which less than `min_left` is left is left out whole, unless it keeps
    a part that others lost to it.
    """

    name: ClassVar[str] = "dedup-parts"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    level: Level = Field("paragraph", description="What is compared: line, sentence or paragraph.")
    min_chars: int = Field(60, ge=1, description="Shorter parts stay; a Chinese character counts as three.")
    min_left: float = Field(0.2, ge=0, le=1, description="Share of its characters that a document must still have.")
    code: bool = Field(False, description="Also compare the lines of source files (licence headers).")

    def run(self, work: Work) -> None:
        """List what is said more than once, then write every document without what an earlier one says."""
        documents = work.made(self.corpus)
        settings = Parts(self.level, self.min_chars, self.code)
        scratch = work.folder / ".scratch-parts"
        table = scratch / _TABLE
        if not table.is_file():
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            find_repeated(work, documents, settings, table)
        totals = apply(work, documents, Cut(settings, str(table), self.min_left), "leaving out repeated parts")
        work.count(
            "document", totals.came, totals.kept, totals.dropped, source="corpus", made={"document": totals.kept}
        )
        parts, repeated = totals.notes["parts"], totals.notes["repeated parts"]
        work.count(self.level, parts, parts - repeated, {REPEATED: repeated} if repeated else {})
        work.figure("characters_left_out", totals.notes["repeated characters"])


@dataclass(frozen=True)
class Parts:
    """Which parts are compared."""

    level: Level
    min_chars: int
    code: bool

    def of(self, text: str, media_type: str | None) -> Iterator[tuple[Span, int]]:
        """Yield the parts of a document that are long enough, each with its key."""
        source = (media_type or "").startswith(("text/x-", "application/x-"))
        if source and not self.code:
            return
        found = _lines(text) if source else spans(text, self.level)
        for span in found:
            part = text[span.start : span.end]
            if weight(part) >= self.min_chars:
                yield span, key(part)


@dataclass(frozen=True)
class Cut:
    """The operator that leaves out of each document what `table` says another one owns."""

    parts: Parts
    table: str
    min_left: float

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with shorter texts, REASON and NOTES."""
        columns = (batch.column(name).to_pylist() for name in ("id", "text", "media_type"))
        texts, reasons, notes = [], list[str | None](), []
        for id, text, media_type in zip(*columns, strict=True):
            found = list(self.parts.of(text, media_type))
            gone, owns = self._repeated(id, found)
            left = without(text, gone)
            lost = sum(weight(text[start:end]) for start, end in gone)
            short = not left or weight(left) < self.min_left * (weight(left) + lost)
            empty = bool(gone) and short and not owns
            texts.append(text if empty else left)
            reasons.append(REPEATED if empty else None)
            notes.append(
                {"parts": len(found), "repeated parts": len(gone), "repeated characters": len(text) - len(left)}
            )
        return noted(objected(with_texts(batch, texts), reasons), notes)

    def _repeated(self, id: str, found: list[tuple[Span, int]]) -> tuple[list[Span], bool]:
        """Return the parts that another document keeps, and whether this one keeps any for others."""
        import numpy as np

        table = _table(self.table)
        if not found or table.size == 0:
            return [], False
        keys = np.array([key for _, key in found], np.uint64)
        at = np.minimum(np.searchsorted(table["key"], keys), table.size - 1)
        shared = table["key"][at] == keys
        mine = table["owner"][at] == np.uint64(int(id, 16))
        gone = [span for (span, _), other in zip(found, (shared & ~mine).tolist(), strict=True) if other]
        return gone, bool(np.any(shared & mine))


class _Shard(NamedTuple):
    number: int
    path: str
    parts: Parts
    folder: str


class _Bucket(NamedTuple):
    first: int
    last: int
    shards: int
    folder: str


def find_repeated(work: Work, documents: Documents, parts: Parts, table: Path) -> None:
    """Write the keys of parts that more than one document has, each with the document that keeps it, sorted by key.

    Two passes of tasks: every shard writes its keys in order; then every range of keys is gathered from all shards, so
    memory is bounded by a range (8 million parts) whatever the size of the corpus.
    """
    import numpy as np

    folder = str(table.parent)
    shards = [_Shard(number, str(path), parts, folder) for number, path in enumerate(documents.shards)]
    total = 0
    with open_pool(work.host, work) as pool, work.progress("comparing parts", len(shards), "shards") as bar:
        for count in pool.every(write_keys, shards, what="comparing parts"):
            total += count
            bar.advance()
        ranges = max(1, -(-total // _ENTRIES_A_BUCKET))
        edges = [(1 << 64) * at // ranges for at in range(ranges + 1)]
        buckets = [_Bucket(edges[at], edges[at + 1] - 1, len(shards), folder) for at in range(ranges)]
        found = [np.load(path) for path in pool.every(gather, buckets, what="comparing parts")]
    temporary = table.with_suffix(".tmp.npy")
    np.save(temporary, np.concatenate(found))
    temporary.replace(table)
    for path in table.parent.glob("*-[0-9]*.npy"):
        path.unlink()


def write_keys(task: _Shard) -> int:
    """Write the keys of one shard, sorted, each once a document, with its document and place; return how many."""
    import numpy as np
    import pyarrow.parquet as pq

    keys, owners = list[int](), list[int]()
    with pq.ParquetFile(task.path) as file:
        for batch in file.iter_batches(500, columns=["id", "text", "media_type"]):
            for id, text, media_type in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                mine = {key for _, key in task.parts.of(text, media_type)}
                keys += mine
                owners += [int(id, 16)] * len(mine)
    entries = np.zeros(len(keys), _FOUND)
    entries["key"], entries["owner"] = np.array(keys, np.uint64), np.array(owners, np.uint64)
    # Stable: of equal keys the first document of the shard stays first.
    np.save(Path(task.folder) / f"keys-{task.number:05d}.npy", entries[np.argsort(entries["key"], kind="stable")])
    return len(keys)


def gather(task: _Bucket) -> str:
    """Write the keys of one range that several documents have, each with the first of them; return the file's path."""
    import numpy as np

    found = []
    for number in range(task.shards):
        entries = np.load(Path(task.folder) / f"keys-{number:05d}.npy", mmap_mode="r")
        first = np.searchsorted(entries["key"], np.uint64(task.first), side="left")
        last = np.searchsorted(entries["key"], np.uint64(task.last), side="right")
        found.append(np.array(entries[first:last]))
    entries = np.concatenate(found)
    entries = entries[np.argsort(entries["key"], kind="stable")]
    fresh = np.ones(entries.size, bool)
    fresh[1:] = entries["key"][1:] != entries["key"][:-1]
    alone = fresh & np.append(fresh[1:], True)
    path = Path(task.folder) / f"repeated-{task.first:020d}.npy"
    np.save(path, entries[fresh & ~alone])
    return str(path)


@lru_cache(maxsize=1)
def _table(path: str) -> NDArray[np.void]:
    import numpy as np

    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def _lines(text: str) -> Iterator[Span]:
    at = 0
    for line in text.split("\n"):
        yield Span(at, at + len(line))
        at += len(line) + 1
