"""The search for near duplicates over all shards, stage by stage, on the workers of a pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from metier.corpus.dedup.contained import Samples, sampled_share
from metier.corpus.dedup.pairs import join, join_tasks, propose, propose_tasks, read_crowds, write_file
from metier.corpus.dedup.scratch import Measured, Settings
from metier.corpus.dedup.sets import SetsTask, StoredSets, VerifyTask, verify, write_sets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.corpus.dedup.near import Comparison, Near, StandIns
    from metier.corpus.engine.pool import Pool


class Search:
    """The near duplicates among the documents marked in `alive`.

    Args:
        sampled: whether shingles of all of them are wanted too, for `samples`.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        measured: Measured,
        scratch: Path,
        settings: Settings,
        pool: Pool,
        alive: NDArray[np.bool_],
        sampled: bool,
    ) -> None:
        self._shards, self._measured, self._scratch = shards, measured, scratch
        self._settings, self._pool, self._alive, self._sampled = settings, pool, alive, sampled

    @cached_property
    def share(self) -> int:
        """One in how many shingles is in `samples`."""
        return sampled_share(int(self._measured.column("tokens")[self._alive].sum()))

    @property
    def _most(self) -> int:
        return (2**64 - 1) // self.share

    def stand_ins(self, rank: NDArray[np.int64]) -> StandIns:
        """Return the documents to drop, and which stands in for each."""
        import numpy as np

        from metier.corpus.dedup.near import stand_ins

        folders, scratch, settings = self._measured.folders, self._scratch, self._settings
        write_file(scratch / "alive", self._alive)
        tasks = propose_tasks(folders, scratch, self._measured.count, settings)
        proposed = list(self._pool.every(propose, tasks, what="pairing documents"))
        pair_files = [file for made in proposed for file in made.pairs]
        crowds = read_crowds([file for made in proposed for file in made.crowds])
        joins = join_tasks(folders, pair_files, scratch, self._measured.count, settings)
        joined = list(self._pool.every(join, joins, what="pairing documents"))
        if settings.method == "simhash" and not settings.verify:
            return self._by_hamming(joined, crowds, rank)
        crowded = np.unique(np.concatenate([np.zeros(0, np.int64), *crowds]))
        stored = self._stored(joined, crowded)
        tasks_to_verify = [
            VerifyTask(file, self._set_folders, self._measured.starts, settings.threshold, file.with_suffix(".near"))
            for file in joined
        ]
        parts = [_read_near(folder) for folder in self._pool.every(verify, tasks_to_verify, what="comparing documents")]
        try:
            return stand_ins(_together(parts), crowds, rank, self._comparison(stored, crowded))
        finally:
            stored.close()

    @property
    def _set_folders(self) -> list[Path]:
        return [self._scratch / "sets" / folder.name for folder in self._measured.folders]

    def _stored(self, joined: Sequence[Path], crowded: NDArray[np.int64]) -> StoredSets:
        """Write the shingles of all documents in pairs and crowds, and samples of the others if they are wanted."""
        import numpy as np

        from metier.corpus.dedup.buckets import unpacked

        wanted = np.where(self._alive & self._sampled, 2, 0).astype(np.uint8)
        wanted[crowded] = 1
        for file in joined:
            for side in unpacked(np.fromfile(file, np.uint64)):
                wanted[side] = 1
        place = self._scratch / "wanted"
        write_file(place, wanted)
        tasks = [
            SetsTask(shard, folder, place, first, self._settings.width, self._most)
            for shard, folder, first in zip(
                self._shards, self._set_folders, self._measured.starts[:-1].tolist(), strict=True
            )
        ]
        for _ in self._pool.every(write_sets, tasks, what="comparing documents"):
            pass
        return StoredSets(self._set_folders, self._measured.starts)

    def _comparison(self, stored: StoredSets, crowded: NDArray[np.int64]) -> Comparison:
        import numpy as np

        from metier.corpus.dedup.near import Comparison

        row_of = np.full(self._measured.count, -1, np.int32)
        row_of[crowded] = np.arange(len(crowded))
        return Comparison(stored, self._settings.threshold, self._measured.sketches(crowded), row_of)

    def _by_hamming(
        self, joined: Sequence[Path], crowds: Sequence[NDArray[np.int64]], rank: NDArray[np.int64]
    ) -> StandIns:
        """Return what SimHash alone says: similarity is the share of bits that are equal."""
        import numpy as np

        from metier.corpus.dedup.buckets import unpacked
        from metier.corpus.dedup.hamming import BITS, different
        from metier.corpus.dedup.near import Near, stand_ins

        hashes = self._measured.hashes(0)
        parts = []
        for file in joined:
            one, other = unpacked(np.fromfile(file, np.uint64))
            parts.append(Near(one, other, 1 - different(hashes[one], hashes[other]) / BITS))

        def compare(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
            apart = different(hashes[one], hashes[other])
            return np.where(apart <= self._settings.hamming, 1 - apart / BITS, 0.0)

        return stand_ins(_together(parts), crowds, rank, compare)

    def samples(self, wanted: NDArray[np.bool_]) -> Iterator[Samples]:
        """Yield samples of the shingles of the documents marked in `wanted`, a shard at a time."""
        import numpy as np

        for at, folder in enumerate(self._set_folders):
            first = int(self._measured.starts[at])
            values, ends = np.fromfile(folder / "values", np.uint64), np.fromfile(folder / "ends", np.int64)
            owners = np.repeat(np.arange(first, first + len(ends)), np.diff(ends, prepend=0))
            mine = wanted[owners] & (values <= np.uint64(self._most))
            yield Samples(values[mine], owners[mine])


def _read_near(folder: Path) -> Near:
    import numpy as np

    from metier.corpus.dedup.near import Near

    return Near(
        np.fromfile(folder / "one", np.int64),
        np.fromfile(folder / "other", np.int64),
        np.fromfile(folder / "similarity", np.float64),
    )


def _together(parts: Sequence[Near]) -> Near:
    import numpy as np

    from metier.corpus.dedup.near import Near

    return Near(
        np.concatenate([np.zeros(0, np.int64), *(part.one for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.other for part in parts)]),
        np.concatenate([np.zeros(0), *(part.similarity for part in parts)]),
    )
