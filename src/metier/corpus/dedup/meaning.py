"""Leave out documents that say the same in other words: embeddings whose cosine is high."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from metier.core import LocalPath, Step, Work
from metier.core.types import Documents
from metier.corpus.dedup.near import Near, stand_ins
from metier.corpus.engine import apply, objected
from metier.corpus.engine.pool import open_pool
from metier.corpus.order.neighbours import SCALE, VectorTask, cell_count, cells, nearest_cell, sample

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SAME = "says the same as another"
_AT_A_TIME = 2_048  # documents compared with all of their cell at once: 16 MB of products for 2,000


class DedupMeaning(Step[Documents]):
    """Leave out documents whose embedding is nearly that of another: translations of style, paraphrases, reprints.

    Documents are put into cells of like meaning and compared within them (SemDeDup, Abbas et al. 2023), so a pair that
    falls on either side of a border is not seen. The longest of several stays, and of equally long ones the one with
    the smallest id; each left out is itself that near to the one that stands in for it. `duplicates.jsonl` lists them.
    """

    name: ClassVar[str] = "dedup-meaning"
    extras: ClassVar[tuple[str, ...]] = ("corpus", "train")

    corpus: Step[Documents] = Field(description="The documents; leave out near duplicates before.")
    embedder: LocalPath = Field(description="Folder of a Hugging Face text encoder.")
    threshold: float = Field(0.95, gt=0, le=1, description="Cosine from which two documents say the same.")
    tokens: int = Field(256, ge=1, description="Tokens at a document's beginning that are embedded.")
    seed: int = Field(0, description="Of the cells.")

    def run(self, work: Work) -> None:
        """Embed, compare within cells, and write the documents that stay."""
        from metier.corpus.order.by_model import embeddings

        documents = work.made(self.corpus)
        scratch = work.folder.absolute() / ".scratch-meaning"
        scratch.mkdir(exist_ok=True)
        tasks = [VectorTask(shard.absolute(), scratch / f"{at:05d}") for at, shard in enumerate(documents.shards)]
        embeddings(work, self.embedder.path, tasks, self.tokens)
        near = list(self._near(work, tasks))
        _write_list(documents, near, work.folder / "duplicates.jsonl", scratch / "gone.txt")
        totals = apply(work, documents, Without(str(scratch / "gone.txt")), "leaving out what says the same")
        work.count(
            "document", totals.came, totals.kept, totals.dropped, source="corpus", made={"document": totals.kept}
        )

    def _near(self, work: Work, tasks: Sequence[VectorTask]) -> Iterator[Copy]:
        """Yield the documents to leave out, by number, with the one that stands in for each."""
        import numpy as np

        some = sample(tasks)
        dense = [np.load(task.stem.with_suffix(".dense.npy"), mmap_mode="r") for task in tasks]
        total = sum(map(len, dense))
        centres = cells(some, cell_count(total), self.seed)
        home = np.concatenate([nearest_cell(np.asarray(part), centres) for part in dense])
        compare = Compare(tuple(str(task.stem) for task in tasks), self.threshold)
        groups = [members for members in _by_cell(home, len(centres)) if len(members) > 1]
        parts: list[Near] = []
        with (
            open_pool(work.host, work) as pool,
            work.progress("comparing meanings", sum(map(len, groups)), "documents") as bar,
        ):
            for members, found in zip(groups, pool.every(compare, groups, what="comparing meanings"), strict=True):
                parts.append(found)
                bar.advance(len(members))
        near = Near(*(np.concatenate(column) for column in zip(_none(), *parts, strict=True)))
        copies = stand_ins(near, [], _rank(work.made(self.corpus)), lambda _, others: np.zeros(len(others)))
        for number, kept, similarity in zip(*(column.tolist() for column in copies), strict=True):
            yield Copy(number, kept, similarity)


class Copy(NamedTuple):
    """A document to leave out, the one that stands in for it, both by number, and their cosine."""

    number: int
    kept: int
    similarity: float


@dataclass(frozen=True)
class Compare:
    """Compares the documents of one cell, all with all."""

    stems: tuple[str, ...]
    threshold: float

    def __call__(self, members: NDArray[np.int64]) -> Near:
        """Return the near pairs, by number, and their cosines."""
        import numpy as np

        parts = [np.load(Path(stem).with_suffix(".dense.npy"), mmap_mode="r") for stem in self.stems]
        starts = np.cumsum([0, *map(len, parts)])
        shard = np.searchsorted(starts, members, side="right") - 1
        rows = [parts[at][number - starts[at]] for number, at in zip(members.tolist(), shard.tolist(), strict=True)]
        vectors = np.array(rows, np.float32)
        found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        for first in range(0, len(members), _AT_A_TIME):
            cosines = vectors[first : first + _AT_A_TIME] @ vectors[first:].T / SCALE**2
            # Each pair once, and lengths that were cut to whole numbers: a copy has a cosine a little below 1.
            a, b = np.nonzero(np.triu(cosines >= self.threshold - 2 / SCALE, k=1))
            found.append((members[first + a], members[first + b], np.minimum(cosines[a, b], 1.0).astype(np.float64)))
        one, other, likeness = (np.concatenate(column) for column in zip(*found, strict=True))
        return Near(one, other, likeness)


@dataclass(frozen=True)
class Without:
    """The operator that objects to the documents whose ids stand in a file."""

    ids: str

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with REASON."""
        gone = _ids(self.ids)
        return objected(batch, [SAME if id in gone else None for id in batch.column("id").to_pylist()])


def _none() -> Near:
    import numpy as np

    return Near(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def _by_cell(home: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    import numpy as np

    order = np.argsort(home, kind="stable")
    return np.split(order, np.searchsorted(home[order], np.arange(1, count)))


def _rank(documents: Documents) -> NDArray[np.int64]:
    """Return the rank of each document, the longest first and then by id."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    lengths, ids = [], list[str]()
    for shard in documents.shards:
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(2000, columns=["id", "text"]):
                lengths.append(pc.utf8_length(batch.column("text")).to_numpy(zero_copy_only=False))
                ids += batch.column("id").to_pylist()
    rank = np.empty(len(ids), np.int64)
    rank[np.lexsort((np.array(ids), -np.concatenate(lengths).astype(np.int64)))] = np.arange(len(ids))
    return rank


def _write_list(documents: Documents, near: Sequence[Copy], path: Path, gone: Path) -> None:
    wanted = {number for copy in near for number in (copy.number, copy.kept)}
    known = {n: (d.id, d.source) for n, d in enumerate(documents.rows()) if n in wanted}
    with path.open("w", encoding="utf-8") as out:
        for copy in near:
            (id, source), (kept, kept_source) = known[copy.number], known[copy.kept]
            told = {"id": id, "source": source, "reason": SAME, "stands_in": kept, "stands_in_source": kept_source}
            out.write(json.dumps({**told, "similarity": round(copy.similarity, 4)}, ensure_ascii=False) + "\n")
    gone.write_text("\n".join(sorted(known[copy.number][0] for copy in near)))


@lru_cache(maxsize=1)
def _ids(path: str) -> frozenset[str]:
    return frozenset(Path(path).read_text().split())
