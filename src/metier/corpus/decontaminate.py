"""Leave out documents that give an exam or a benchmark away, so that its figures mean something."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.types import Conversations, Documents
from metier.corpus.engine import apply, noted, objected
from metier.corpus.engine.pool import open_pool

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

VERBATIM = "holds a run of words of an exam"
NEAR = "says most of what an item of an exam says"
_NEAR_WIDTH = 5
_FEWEST_TOKENS = 8  # "What is the capital of France?" has six: too little to say that a text was copied
_FEWEST_SHARED = 8
_TABLE = "items.npz"


class Decontaminate(Step[Documents]):
    """Leave out documents that hold the text of exams or benchmarks, word for word or nearly so.

    Word for word: a run of `ngram` words of an item, as for GPT-3 (Brown et al. 2020, appendix C), unless that run
    stands in more than `common` documents, which makes it a phrase. Nearly: at least `near` of an item's word 5-grams
    stand in the document, and eight of them or all. `hits.jsonl` lists the items that were found, and how often.
    """

    name: ClassVar[str] = "decontaminate"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    exams: tuple[LocalPath, ...] = Field((), description="Exam files: .jsonl, .csv, .tsv or .parquet, one item a row.")
    tasks: tuple[Step[Conversations], ...] = Field((), description="Conversations whose held-out splits are exams.")
    columns: tuple[str, ...] = Field((), description="Columns of the exam files to look for; all with text if none.")
    ngram: int = Field(13, ge=5, le=50, description="Words in a row that count as copied; items of fewer count whole.")
    common: int = Field(10, ge=1, description="Documents that may hold a run of words before it counts as a phrase.")
    near: float | None = Field(0.6, gt=0.2, le=1, description="Share of an item's word 5-grams; null looks for none.")

    def run(self, work: Work) -> None:
        """Index the items, see which of their runs are common phrases, and write the documents that hold none."""
        documents = work.made(self.corpus)
        items = list(self._items(work))
        if not items:
            raise Mistake(
                "there is nothing to look for",
                found="no exam has an item with text",
                hint="name exam files: exams: [exam.jsonl]",
            )
        index = build_index([item.text for item in items], self.ngram)
        short = len(items) - len(set(index.owners.tolist()))
        work.count("exam item", len(items), len(items) - short, {"too short to look for": short} if short else {})
        scratch = work.folder / ".scratch-items"
        scratch.mkdir(exist_ok=True)
        table = scratch / _TABLE
        index.save(table)
        index.without(self._common(work, documents, table)).save(table)
        operator = Contaminated(str(table), self.ngram, self.near)
        totals = apply(work, documents, operator, "looking for exam items")
        work.count(
            "document", totals.came, totals.kept, totals.dropped, source="corpus", made={"document": totals.kept}
        )
        found = {int(number): times for number, times in totals.notes.items()}
        write_hits(work.folder / "hits.jsonl", items, found)
        work.figure("items_found", len(found))
        work.figure("items", len(items))

    def _items(self, work: Work) -> Iterator[Item]:
        from metier.corpus.table import rows

        for file in self.exams:
            for number, row in enumerate(rows(file.path), 1):
                missing = [name for name in self.columns if name not in row]
                if missing:
                    raise Mistake(
                        f"{file.path.name}:{number} has no '{missing[0]}'",
                        found=", ".join(row),
                        hint="name the columns to look for: columns: [question, answer]",
                    )
                chosen = {name: row[name] for name in self.columns} if self.columns else row
                yield Item(file.path.name, str(number), " ".join(_texts(chosen)))
        for step in self.tasks:
            for talk in work.made(step).rows():
                if talk.split != "train":
                    yield Item(step.name, talk.id, " ".join(message.content for message in talk.messages))

    def _common(self, work: Work, documents: Documents, table: Path) -> NDArray[np.uint64]:
        """Return the runs of words that stand in more than `common` documents."""
        import numpy as np

        seen: Counter[int] = Counter()
        tasks = [(str(shard), str(table), self.ngram) for shard in documents.shards]
        with open_pool(work.host, work) as pool, work.progress("counting phrases", len(tasks), "shards") as bar:
            for counts in pool.every(count_runs, tasks, what="counting phrases"):
                seen.update(counts)
                bar.advance()
        return np.array(sorted(run for run, times in seen.items() if times > self.common), np.uint64)


class Item(NamedTuple):
    """One row of an exam: its file, its number or id there, and all its text."""

    file: str
    number: str
    text: str


class Index(NamedTuple):
    """What is looked for, by sorted hash.

    runs: distinct n-grams. run_items: an item that has each. shingles: word 5-grams, and `owners` the item of each; a
    shingle of several items stands once for each. sizes: 5-grams an item, by item.
    """

    runs: NDArray[np.uint64]
    run_items: NDArray[np.int64]
    shingles: NDArray[np.uint64]
    owners: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write the index whole or not at all."""
        import numpy as np

        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **self._asdict())
        temporary.replace(path)

    def without(self, runs: NDArray[np.uint64]) -> Index:
        """Return the index without some n-grams."""
        import numpy as np

        stays = ~np.isin(self.runs, runs)
        return self._replace(runs=self.runs[stays], run_items=self.run_items[stays])


def build_index(texts: list[str], ngram: int) -> Index:
    """Return the index of some texts. Those of fewer than 8 tokens are not in it.

    An item of fewer than `ngram` tokens is one run of its own length only as far as its 5-grams say, by `near`.
    """
    import numpy as np

    near = shingles_of(texts, _NEAR_WIDTH)
    long_enough = [mine.size > _FEWEST_TOKENS - _NEAR_WIDTH for mine in near]
    runs = [
        mine if some.size > ngram - _NEAR_WIDTH else mine[:0]
        for mine, some in zip(shingles_of(texts, ngram), near, strict=True)
    ]
    every = np.concatenate(runs) if runs else np.zeros(0, np.uint64)
    items = np.repeat(np.arange(len(texts)), [mine.size for mine in runs])
    distinct, first = np.unique(every, return_index=True)
    kept = [mine if long_enough[at] else mine[:0] for at, mine in enumerate(near)]
    shingles = np.concatenate(kept) if kept else np.zeros(0, np.uint64)
    owners = np.repeat(np.arange(len(texts)), [mine.size for mine in kept])
    order = np.argsort(shingles, kind="stable")
    sizes = np.array([mine.size for mine in kept], np.int64)
    return Index(distinct, items[first], shingles[order], owners[order], sizes)


@dataclass(frozen=True)
class Contaminated:
    """The operator that objects to documents with text of the exams; its notes count documents by item."""

    table: str
    ngram: int
    near: float | None

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with REASON and NOTES."""
        texts = batch.column("text")
        runs = shingles_of(texts, self.ngram)
        near = shingles_of(texts, _NEAR_WIDTH) if self.near is not None else [None] * len(texts)
        index = _index(self.table)
        reasons, notes = list[str | None](), list[Mapping[str, int] | None]()
        for mine, shingles in zip(runs, near, strict=True):
            verbatim = {int(item) for item in index.run_items[_places(index.runs, mine)]}
            alike = _alike(index, shingles, self.near) if shingles is not None and self.near is not None else set[int]()
            reasons.append(VERBATIM if verbatim else NEAR if alike else None)
            notes.append({str(item): 1 for item in sorted(verbatim | alike)} or None)
        return noted(objected(batch, reasons), notes)


def count_runs(task: tuple[str, str, int]) -> dict[int, int]:
    """Return in how many documents of a shard each run of words of the exams stands."""
    import pyarrow.parquet as pq

    shard, table, ngram = task
    index, seen = _load(table), Counter[int]()
    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(500, columns=["text"]):
            for mine in shingles_of(batch.column("text"), ngram):
                seen.update(index.runs[_places(index.runs, mine)].tolist())
    return dict(seen)


def shingles_of(column: pa.Array | list[str], width: int) -> list[NDArray[np.uint64]]:
    """Return the sorted, distinct hashes of each text's runs of `width` words."""
    from metier.corpus.kernel import texts
    from metier.corpus.kernel.shingle import sets

    found = sets(texts(column), width=width)
    return [found.of(number) for number in range(len(column))]


def write_hits(path: Path, items: list[Item], found: Mapping[int, int]) -> None:
    """Write the items that were found, those in most documents first."""
    with path.open("w", encoding="utf-8") as out:
        for number, times in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])):
            item = items[number]
            told = {"exam": item.file, "item": item.number, "documents": times, "text": item.text[:200]}
            out.write(json.dumps(told, ensure_ascii=False) + "\n")


def _places(known: NDArray[np.uint64], mine: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return where in the sorted `known` the shared hashes stand. Looks for the fewer in the more."""
    import numpy as np

    if known.size == 0 or mine.size == 0:
        return np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(known, mine), known.size - 1)
    found: NDArray[np.int64] = at[known[at] == mine]
    return found


def _alike(index: Index, mine: NDArray[np.uint64], near: float) -> set[int]:
    import numpy as np

    first = np.searchsorted(index.shingles, mine, side="left")
    last = np.searchsorted(index.shingles, mine, side="right")
    shared = [index.owners[a:b] for a, b in zip(first, last, strict=True) if b > a]
    if not shared:
        return set()
    counts = np.bincount(np.concatenate(shared), minlength=index.sizes.size)
    # A short question shares most of its words with many sentences: of few 5-grams all must be there.
    wanted = np.maximum(near * index.sizes, np.minimum(index.sizes, _FEWEST_SHARED))
    return set(np.flatnonzero((counts > 0) & (counts >= wanted)).tolist())


@lru_cache(maxsize=1)
def _index(path: str) -> Index:
    return _load(path)


def _load(path: str) -> Index:
    import numpy as np

    with np.load(path) as found:
        return Index(**{name: found[name] for name in Index._fields})


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
