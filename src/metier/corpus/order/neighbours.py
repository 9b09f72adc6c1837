"""Vectors of documents and the cells of like documents that they fall into.

A vector is the document's TF-IDF over hashed words, its 64 heaviest ones, and their random projection into 256
dimensions, by which cells are found. Or both are an embedding by a model. Vectors are kept in whole numbers and their
products are exact in float32 (below 2^24), so that the result depends neither on the number of threads nor on the
order in which a library adds up.

For n documents in cells of some 2,000: 900 bytes of disk each; n² / 2000 × 512 operations to find the cells (a tenth of
an hour of one core for ten million), n × 2000 products of sparse vectors within them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metier.core.permutation import Permutation
from metier.corpus.engine.shards import read_batches, spans
from metier.corpus.order.curriculum import save_array

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

CELL = 2_000
"""Documents of a cell, on the average: they are compared with each other, all with all."""

MOST_IN_CELL = 4_000
SCALE = 4_000  # of vectors of length 1: the product of two is at most 16,000,000, which float32 holds exactly

_TERMS = 64  # 0.264 of mean similarity in the walk over the SQLite manual, with 32 terms 0.256, with 128 0.266
_DIMENSIONS = 256  # 0.506 on 6,000 documents in 12 cells, with 128 dimensions 0.496, with 64 0.476
_SIGNS = 4  # dimensions in which a term is projected
_BITS = 22  # of a term's hash
_BYTES_READ = 65_536  # of a document; what it is about shows by then
_IDF_SHARDS = 64
_CENTROIDS = 8_192
_SAMPLE = 131_072
_ROUNDS = 6
_MIX, _MIX_AGAIN = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9  # of splitmix64


class VectorTask(NamedTuple):
    """A shard, and the stem of the files for its vectors."""

    shard: Path
    stem: Path


def count_terms(task: VectorTask) -> None:
    """Write in how many documents of a shard each term occurs, and after the last term how many documents there are."""
    import numpy as np

    out = task.stem.with_suffix(".frequency.npy")
    if out.is_file():
        return
    frequency = np.zeros((1 << _BITS) + 1, np.int32)
    for batch in read_batches(task.shard, spans(task.shard)):
        for terms, _ in _terms(batch.column("text")):
            frequency[terms] += 1
        frequency[-1] += batch.num_rows
    save_array(out, frequency)


def rarity(tasks: Sequence[VectorTask], out: Path) -> None:
    """Write how rare each term is, ln(documents / documents with it), 0 where only one document has it.

    Args:
        tasks: counted before; at most 64 of them, evenly spread, are looked at.
    """
    import numpy as np

    total = np.zeros((1 << _BITS) + 1, np.int64)
    for task in idf_tasks(tasks):
        total += np.load(task.stem.with_suffix(".frequency.npy"))
    frequency, documents = total[:-1], max(int(total[-1]), 1)
    # A term of one document makes it like no other; but of a sample of shards the rest is not known.
    floor = 1 if len(idf_tasks(tasks)) == len(tasks) else 0
    weights = np.where(frequency > floor, np.log(documents / np.maximum(frequency, 1)), 0.0)
    save_array(out, weights.astype(np.float32))


def idf_tasks(tasks: Sequence[VectorTask]) -> list[VectorTask]:
    """Return the tasks whose terms are counted."""
    step = max(1, math.ceil(len(tasks) / _IDF_SHARDS))
    return list(tasks[::step])


@dataclass(frozen=True)
class Vectors:
    """Writes a shard's vectors: `stem.terms.npy` and `stem.weights.npy` [documents, 64], `stem.dense.npy` [.., 256]."""

    rarity: Path

    def __call__(self, task: VectorTask) -> None:
        """Write the vectors of a shard, unless they are there."""
        import numpy as np

        out = task.stem.with_suffix(".dense.npy")
        if out.is_file():
            return
        rarity = np.load(self.rarity, mmap_mode="r")
        found = [
            _heaviest(*one, rarity)
            for batch in read_batches(task.shard, spans(task.shard))
            for one in _terms(batch.column("text"))
        ]
        terms = np.array([one[0] for one in found], np.uint32).reshape(-1, _TERMS)
        weights = np.array([one[1] for one in found], np.uint16).reshape(-1, _TERMS)
        save_array(task.stem.with_suffix(".terms.npy"), terms)
        save_array(task.stem.with_suffix(".weights.npy"), weights)
        save_array(out, projected(terms, weights))


def _terms(texts: pa.Array) -> list[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
    """Return the distinct terms of each text and how often each occurs."""
    import numpy as np
    import pyarrow.compute as pc

    from metier.corpus.kernel import texts as buffers
    from metier.corpus.kernel.classify import ngram_buckets

    starts, buckets = ngram_buckets(buffers(pc.utf8_slice_codeunits(texts, 0, _BYTES_READ)), _BITS, 1)
    return [np.unique(buckets[a:b], return_counts=True) for a, b in pairwise(starts)]


def _heaviest(
    terms: NDArray[np.uint32], counts: NDArray[np.int64], rarity: NDArray[np.float32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """Return the heaviest terms of a document and their weights, of length SCALE together; padded with weight 0."""
    import numpy as np

    weights = (1.0 + np.log(counts)) * rarity[terms].astype(float)
    chosen = np.argsort(-weights, kind="stable")[:_TERMS]
    norm = math.sqrt(float(np.square(weights[chosen]).sum()))
    padded, scaled = np.zeros(_TERMS, np.uint32), np.zeros(_TERMS, np.uint16)
    padded[: chosen.size] = terms[chosen]
    if norm:
        scaled[: chosen.size] = np.floor(weights[chosen] * (SCALE / norm))
    return padded, scaled


def projected(terms: NDArray[np.uint32], weights: NDArray[np.uint16]) -> NDArray[np.int16]:
    """Return random projections of sparse vectors, [documents, 256], of length SCALE.

    Each term adds its weight, with a sign, in 4 dimensions drawn by its hash: Weinberger et al. 2009, "Feature Hashing
    for Large Scale Multitask Learning".
    """
    import numpy as np

    found = np.zeros(len(terms) * _DIMENSIONS, np.int64)
    rows = np.arange(len(terms))[:, None] * _DIMENSIONS
    for draw in range(_SIGNS):
        hashed = (terms.astype(np.uint64) * np.uint64(_SIGNS) + np.uint64(draw + 1)) * np.uint64(_MIX)
        hashed ^= hashed >> np.uint64(29)
        hashed *= np.uint64(_MIX_AGAIN)
        hashed ^= hashed >> np.uint64(32)
        place = (hashed % np.uint64(_DIMENSIONS)).astype(np.int64) + rows
        signed = np.where(hashed >> np.uint64(40) & np.uint64(1), 1, -1) * weights.astype(np.int64)
        found += np.bincount(place.reshape(-1), signed.reshape(-1), found.size).astype(np.int64)
    return of_length(found.reshape(-1, _DIMENSIONS))


def of_length(vectors: NDArray[np.generic]) -> NDArray[np.int16]:
    """Return vectors scaled to the length SCALE, in whole numbers; a zero vector stays zero."""
    import numpy as np

    vectors = vectors.astype(np.float64)
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    scaled = vectors * np.divide(SCALE, norms, out=np.zeros_like(norms), where=norms > 0)
    found: NDArray[np.int16] = np.trunc(scaled).astype(np.int16)
    return found


def cells(dense: NDArray[np.int16], count: int, seed: int) -> NDArray[np.int16]:
    """Return the centres of `count` cells of like vectors, so that centres next to each other are alike.

    Spherical k-means (Dhillon and Modha 2001) in a few rounds, then a walk over the centres.
    """
    import numpy as np

    chosen = Permutation(len(dense), f"cells/{seed}").whole()[:count]
    centres = dense[np.sort(chosen)]
    for _ in range(_ROUNDS if count > 1 else 0):
        nearest = nearest_cell(dense, centres)
        order = np.argsort(nearest, kind="stable")
        ends = np.searchsorted(nearest[order], np.arange(count + 1)).tolist()
        sums = [dense[order[a:b]].sum(axis=0, dtype=np.int64) for a, b in pairwise(ends)]
        # A cell that lost all its documents keeps its centre.
        centres = np.array(
            [of_length(one[None])[0] if one.any() else old for one, old in zip(sums, centres, strict=True)]
        )
    return centres[_walk_over(centres)]


def nearest_cell(dense: NDArray[np.int16], centres: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return which centre each vector is nearest to; of equally near ones the first."""
    import numpy as np

    columns = centres.astype(np.float32).T
    step = max(1, (1 << 24) // len(centres))
    parts = [(dense[at : at + step].astype(np.float32) @ columns).argmax(axis=1) for at in range(0, len(dense), step)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _walk_over(centres: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return the centres in an order in which each is followed by the nearest of those that are left."""
    import numpy as np

    columns = centres.astype(np.float32)
    open_, order = np.ones(len(centres), bool), [0]
    open_[0] = False
    while len(order) < len(centres):
        nearness = np.where(open_, columns @ columns[order[-1]], -np.inf)
        order.append(int(nearness.argmax()))
        open_[order[-1]] = False
    return np.array(order)


def sample(tasks: Sequence[VectorTask]) -> NDArray[np.int16]:
    """Return dense vectors evenly spread over all shards, at most 131,072."""
    import numpy as np

    maps = [np.load(task.stem.with_suffix(".dense.npy"), mmap_mode="r") for task in tasks]
    step = max(1, math.ceil(sum(map(len, maps)) / _SAMPLE))
    return np.concatenate([np.array(one[::step]) for one in maps])


def cell_count(documents: int) -> int:
    """Return into how many cells so many documents fall; one where all can be compared with all."""
    return 1 if documents <= MOST_IN_CELL else min(_CENTROIDS, math.ceil(documents / CELL))
