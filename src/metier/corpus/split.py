"""Hold documents out: whole documents, chosen by where they came from, and none that training would give away."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from metier.core import Mistake, Step, Work
from metier.core.types import HELD_OUT, TRAIN, Documents
from metier.corpus.documents import document_id
from metier.corpus.engine import apply
from metier.corpus.engine.pool import Pool, open_pool

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_MAX_SAMPLED = 40_000_000  # shingles of held-out documents in memory, 17 bytes each while they are compared
_PIECES = ("page", "sheet", "slide", "section")  # parts of one document; a row or a member of an archive is one itself


class Split(Step[Documents]):
    """Split documents into those to train on and those held out for the examination.

    A document's place is decided by a hash of its id: adding documents moves no other. Pages and sheets of one file
    have one place. A document of which training would give away `max_overlap` or more is not held out but trained on.
    """

    name: ClassVar[str] = "split"
    version: ClassVar[int] = 2
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents, deduplicated.")
    held_out: float = Field(0.1, gt=0.0, lt=1.0, description="Share of the documents to hold out.")
    at_least: int = Field(8, ge=1, description="Documents held out at the least, however small the share.")
    max_overlap: float = Field(
        0.3, gt=0.0, le=1.0, description="Share of a held-out document's word 5-grams that training may contain."
    )
    seed: int = Field(0, ge=0, description="Another seed holds out other documents.")

    def run(self, work: Work) -> None:
        """Write the documents with their split."""
        documents = work.made(self.corpus)
        shards = documents.shards
        with open_pool(work.host, work) as pool:
            units = dict(pair for part in pool.every(read_units, shards, what="reading ids") for pair in part)
            places = {unit: place(unit, self.seed) for unit in set(units.values())}
            if len(places) < 2 * self.at_least:
                raise Mistake(
                    f"{len(places)} documents are too few to hold {self.at_least} out",
                    found="a split needs at least twice as many documents as it holds out",
                    hint="add documents, or lower `at_least` of the step 'split'",
                )
            chosen = held_out_ids(places, self.held_out, self.at_least)
            ids = frozenset(id for id, unit in units.items() if unit in chosen)
            with work.progress("checking held-out documents", len(shards), "shards") as bar:
                shares = overlaps(pool, shards, ids, work.folder.absolute() / ".scratch-split", bar.advance)
        given_away = {units[id] for id, share in shares.items() if share >= self.max_overlap}
        rest = frozenset(id for id in ids if units[id] not in given_away)
        if not rest:
            raise Mistake(
                "no document can be held out",
                found=f"of all {len(ids)} chosen, {self.max_overlap:.0%} or more stands in the others too",
                hint="add documents of other kinds, or raise `max_overlap` of the step 'split'",
            )
        if len(rest) < self.at_least:
            lost = len(ids) - len(rest)
            work.warn(f"only {len(rest)} documents are held out: {lost} were too much like the others")
        totals = apply(work, documents, Assign(rest), "splitting")
        work.count(
            "document", totals.came, totals.kept, totals.dropped, source="corpus", made={"document": totals.kept}
        )
        alike = {"too much like training documents": len(ids) - len(rest)} if len(ids) > len(rest) else {}
        work.count("held-out candidate", len(ids), len(rest), alike)
        work.figure("documents", {TRAIN: totals.kept - len(rest), HELD_OUT: len(rest)})
        work.figure("held_out_overlap", round(sum(shares[id] for id in rest) / len(rest), 4))


def place(id: str, seed: int) -> float:
    """Return the fixed place of a document in 0..1; those below the share are held out."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{id}".encode()).digest()[:8], "big") / 2**64


def held_out_ids(places: Mapping[str, float], share: float, at_least: int) -> set[str]:
    """Return the ids whose place is below `share`, or the `at_least` lowest where those are more."""
    chosen = {id for id, at in places.items() if at < share}
    return chosen if len(chosen) >= at_least else set(sorted(places, key=lambda id: places[id])[:at_least])


def unit_of(id: str, source: str, part: str | None) -> str:
    """Return what is held out as a whole: the file of a page, slide or sheet, else the document itself."""
    whole, _, last = (part or "").rpartition("/")
    return document_id(source, whole) if last.split(" ")[0] in _PIECES else id


def read_units(shard: Path) -> list[tuple[str, str]]:
    """Return the id of every document of a shard, and what it is held out with."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(shard) as file:
        names = [name for name in ("id", "source", "part") if name in file.schema_arrow.names]
        columns = file.read(columns=names).to_pydict()
    parts = columns.get("part") or [None] * len(columns["id"])
    return [(id, unit_of(id, *where)) for id, *where in zip(columns["id"], columns["source"], parts, strict=True)]


@dataclass(frozen=True)
class Assign:
    """The operator that fills the column `split`."""

    held_out: frozenset[str]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with every document's split."""
        import pyarrow as pa

        split = [HELD_OUT if id in self.held_out else TRAIN for id in batch.column("id").to_pylist()]
        columns = {name: batch.column(name) for name in batch.schema.names} | {"split": pa.array(split, pa.string())}
        return pa.RecordBatch.from_pydict(columns, schema=batch.schema)


def overlaps(
    pool: Pool, shards: Iterable[Path], held_out: frozenset[str], scratch: Path, seen: Callable[[], None]
) -> dict[str, float]:
    """Return, by id, the share of each held-out document's shingles that stand in a document that is trained on.

    Memory grows with the held-out documents only, and beyond 40 million shingles not even so: then a sample by hash
    stands for all (FracMinHash, Irber et al. 2022).
    """
    import numpy as np

    shards = list(shards)
    sizes = Counter[str]()
    for part in pool.every(CountShingles(held_out), shards, what="counting shingles"):
        sizes.update(part)
    most = (2**64 - 1) // max(1, -(-sizes.total() // _MAX_SAMPLED))
    sets: dict[str, NDArray[np.uint64]] = {}
    for found in pool.every(TakeShingles(held_out, most), shards, what="reading held-out documents"):
        sets |= found
    index = np.unique(np.concatenate([np.zeros(0, np.uint64), *sets.values()]))
    scratch.mkdir(exist_ok=True)
    np.save(scratch / "held-out.npy", index)
    trained = np.zeros(index.size, dtype=bool)
    for places in pool.every(FindShingles(held_out, scratch / "held-out.npy", most), shards, what="comparing"):
        trained[places] = True
        seen()
    return {
        id: float(np.mean(trained[np.searchsorted(index, mine)])) if mine.size else 0.0 for id, mine in sets.items()
    }


class Shingles(NamedTuple):
    """The shingles of one document."""

    id: str
    held_out: bool
    values: NDArray[np.uint64]


def shingles(shard: Path, held_out: frozenset[str], most: int, which: bool | None) -> Iterable[Shingles]:
    """Yield the shingles of a shard's documents: of those held out, of the others, or of all."""
    import numpy as np
    import pyarrow.parquet as pq

    from metier.corpus.kernel import texts
    from metier.corpus.kernel.shingle import sets

    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(500, columns=["id", "text"]):
            out = [id in held_out for id in batch.column("id").to_pylist()]
            wanted = np.array([at for at, held in enumerate(out) if which is None or held is which], np.int64)
            found = sets(texts(batch.column("text")), wanted, most=most)
            for number, at in enumerate(wanted.tolist()):
                yield Shingles(batch.column("id")[at].as_py(), out[at], found.of(number))


@dataclass(frozen=True)
class CountShingles:
    """Counts the shingles of held-out documents."""

    held_out: frozenset[str]

    def __call__(self, shard: Path) -> dict[str, int]:
        """Return how many each held-out document of a shard has."""
        return {one.id: int(one.values.size) for one in shingles(shard, self.held_out, 2**64 - 1, True)}


@dataclass(frozen=True)
class TakeShingles:
    """Takes the shingles of held-out documents that are not above `most`."""

    held_out: frozenset[str]
    most: int

    def __call__(self, shard: Path) -> dict[str, NDArray[np.uint64]]:
        """Return them by document."""
        return {one.id: one.values.copy() for one in shingles(shard, self.held_out, self.most, True)}


@dataclass(frozen=True)
class FindShingles:
    """Looks for the shingles of held-out documents in those that are trained on."""

    held_out: frozenset[str]
    index: Path
    most: int

    def __call__(self, shard: Path) -> NDArray[np.int64]:
        """Return the places in the index of what the training documents of a shard say."""
        import numpy as np

        index, found = _index(self.index), [np.zeros(0, np.int64)]
        for one in shingles(shard, self.held_out, self.most, False) if index.size else ():
            at = np.minimum(np.searchsorted(index, one.values), index.size - 1)
            found.append(at[index[at] == one.values])
        return np.unique(np.concatenate(found))


@lru_cache(maxsize=1)
def _index(path: Path) -> NDArray[np.uint64]:
    import numpy as np

    return np.load(path)  # type: ignore[no-any-return]
