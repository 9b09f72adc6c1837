"""Leave out what the corpus already says: exact copies, near duplicates and compilations.

A corpus of any size, in constant memory apart from what is said below, on all cores or a cluster. Stages, each a map
over files in the step's folder that goes on where a killed attempt stopped:

1. every shard is measured: exact hashes, MinHash keys and sketches of its documents (`scratch`)
2. exact copies are dropped; band by band documents that share a key are paired, and pairs put together (`pairs`)
3. the shingles of documents in pairs are written, and the pairs compared exactly (`sets`)
4. who stands in for whom is decided, in the order of rank (`near`), and compilations are found (`contained`)
5. every shard is written without what is left out

Nothing depends on the number of workers or on the order in which they finish. Memory of this process: 300 MB, and at
most 60 bytes a document (600 MB for ten million), 24 a near pair, 200 a document in a crowd; of each worker: 300 MB and
8 bytes a document. Files open: 200. Disk: 300 bytes a document, and the shingles of those in pairs, as large as their
text. Pages of one template, all in one bucket, take time in proportion to their number: 0.1 ms each for 100,000.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from metier.core import Step, Work
from metier.core.types import Documents
from metier.corpus.dedup.scratch import FORMAT, Measured, MeasureTask, Method, Settings, measure_shard
from metier.corpus.dedup.search import Search

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.core.progress import Bar
    from metier.corpus.engine.pool import Pool

EXACT = "exact duplicate"
NEAR = "near duplicate"
COMPILATION = "made of other documents"
_REASONS = (None, EXACT, NEAR, COMPILATION)
_SCRATCH = f".scratch-dedup-{FORMAT}"

Keep = Literal["longest", "first", "last"]


class Verdicts(NamedTuple):
    """What is left out, by document number. `reason` is 0 for what stays, else a place in the list of reasons.

    stands_in: the number of the copy that stays, -1 where there is no single one: a compilation's `similarity` is the
    share of it that other documents say.
    """

    reason: NDArray[np.uint8]
    stands_in: NDArray[np.int64]
    similarity: NDArray[np.float32]


class Dedup(Step[Documents]):
    """Leave out exact duplicates, near duplicates and compilations of other documents.

    Of several copies the longest is kept, and of equally long ones the one with the smallest id (`keep` has other
    rules). A near duplicate is one whose word 5-grams have a Jaccard similarity of at least `threshold` with a kept
    document: MinHash bands propose, the exact similarity decides. Every document left out is in `duplicates.jsonl`,
    with reason and stand-in.
    """

    name: ClassVar[str] = "dedup"
    version: ClassVar[int] = 2
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    threshold: float = Field(0.9, gt=0.5, le=1.0, description="Jaccard similarity from which two are near duplicates.")
    compilation: float | None = Field(
        0.7, gt=0.0, le=1.0, description="Share said by other documents from which one is left out; null keeps them."
    )
    keep: Keep = Field(
        "longest",
        description="Which of several copies stays: the longest (then the smallest id), or the first or last as they "
        "come; where sources are in the order of their dates, last is the newest.",
    )
    width: int = Field(5, ge=1, le=64, description="Words in a shingle; a Chinese or Japanese character is a word.")
    method: Method = Field(
        "minhash", description="What proposes pairs: minhash, or simhash, which is smaller and misses more."
    )
    hamming: int = Field(6, ge=0, le=10, description="Bits in which two SimHashes may differ, of 64.")
    verify: bool = Field(
        True, description="Whether the exact similarity decides about what simhash proposes, or its bits alone."
    )

    def run(self, work: Work) -> None:
        """Write the documents that stay, and the list of those that do not."""
        from metier.corpus.dedup.write import write_kept, write_list
        from metier.corpus.engine.pool import open_pool

        documents = work.made(self.corpus)
        shards = [shard.absolute() for shard in documents.shards]
        settings = Settings(self.threshold, self.width, self.method, self.hamming, self.verify)
        scratch = work.folder.absolute() / _SCRATCH
        total = documents.record.ledger.made("document")
        with open_pool(work.host, work) as pool:
            with work.progress("comparing documents", total, "documents") as bar:
                verdicts = find(shards, scratch, settings, self.keep, self.compilation, pool, bar)
            write_list(work.folder / "duplicates.jsonl", shards, verdicts, _REASONS)
            with work.progress("writing documents", total, "documents") as bar:
                kept = write_kept(work.folder.absolute(), shards, verdicts.reason, _REASONS, pool, bar)
        counts = Counter(_REASONS[reason] for reason in verdicts.reason[verdicts.reason > 0].tolist())
        dropped = {reason: counts[reason] for reason in (EXACT, NEAR, COMPILATION) if counts[reason]}
        work.count("document", len(verdicts.reason), kept, dropped, source="corpus", made={"document": kept})


def find(
    shards: Sequence[Path],
    scratch: Path,
    settings: Settings,
    keep: Keep,
    compilation: float | None,
    pool: Pool,
    bar: Bar | None = None,
) -> Verdicts:
    """Return what to leave out of the documents in `shards`: exact copies, near duplicates, and then compilations.

    Args:
        shards: Parquet files with columns `id` and `text`.
        scratch: a folder for what is on the way; a later call with the same arguments goes on from what is in it.
    """
    import numpy as np

    scratch.mkdir(parents=True, exist_ok=True)
    folders = [scratch / "measured" / f"{at:06d}" for at in range(len(shards))]
    tasks = [MeasureTask(shard, folder, settings) for shard, folder in zip(shards, folders, strict=True)]
    for rows in pool.every(measure_shard, tasks, what="comparing documents"):
        if bar is not None:
            bar.advance(rows)
    measured = Measured(folders)
    rank = ranks(measured, keep)
    count = measured.count
    verdicts = Verdicts(np.zeros(count, np.uint8), np.full(count, -1), np.zeros(count, np.float32))
    _leave_out(verdicts, 1, *_exact_copies(measured, rank))
    alive = (verdicts.reason == 0) & (measured.column("tokens") > 0)
    search = Search(shards, measured, scratch, settings, pool, alive, compilation is not None)
    _leave_out(verdicts, 2, *search.stand_ins(rank))
    if compilation is not None:
        from metier.corpus.dedup.contained import compilations

        found = compilations(search.samples(verdicts.reason == 0), search.share, compilation)
        numbers = np.fromiter(found, np.int64, len(found))
        shares = np.fromiter(found.values(), np.float64, len(found))
        _leave_out(verdicts, 3, numbers, np.full(len(found), -1), shares)
    return verdicts


def _leave_out(
    verdicts: Verdicts,
    reason: int,
    numbers: NDArray[np.int64],
    stands_in: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    verdicts.reason[numbers] = reason
    verdicts.stands_in[numbers] = stands_in
    verdicts.similarity[numbers] = similarity


def ranks(measured: Measured, keep: Keep) -> NDArray[np.int64]:
    """Return the rank of every document: of several copies that with the lowest stays.

    Ids are compared by their first 16 bytes, and where those are the same the first comes first.
    """
    import numpy as np

    count = measured.count
    if keep == "first":
        return np.arange(count)
    if keep == "last":
        return np.arange(count)[::-1].copy()
    ids = measured.ids()
    order = np.lexsort((ids[:, 1], ids[:, 0], -measured.column("lengths")))
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    return rank


def _exact_copies(
    measured: Measured, rank: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the exact copies of others, which of them stays, and 1 for each."""
    import numpy as np

    exact = measured.exact()
    order = np.lexsort((rank, exact[:, 1], exact[:, 0]))
    again = np.append(False, (exact[order[1:]] == exact[order[:-1]]).all(axis=1))[: len(order)]
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
    return order[again], order[first[again]], np.ones(int(again.sum()))
