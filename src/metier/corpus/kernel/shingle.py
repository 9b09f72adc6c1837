"""Word shingles of texts: sketches to find near duplicates by, sets to compare them exactly, and exact hashes.

`shingle.c` does the work where it was compiled, with AVX-512, AVX2 or neither; `shingle_python.py` where it was not.
All give the same to the bit, so which of them ran shows in no result. What is computed is said in `tokens.h` (tokens
and hashes), `sketch.h` (MinHash) and here.

One core of a server with AVX-512, documentation in five languages: sketches 1.2 GB/s, sets 0.8, SimHash 1.7, exact
hashes 3.8; with AVX2 0.7, 0.6, 1.0 and 2.3; without either 0.5, 0.4, 0.6 and 1.3; in Python 3 MB/s. Memory: half a
megabyte, and what is returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metier.corpus.kernel import compiled, shingle_python

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metier.corpus.kernel import Texts

WIDTH = 5
ALL_HASHES = 2**64 - 1


class Bands(NamedTuple):
    """How a MinHash sketch is cut: two texts share a key if all `rows` bins of one of the `bands` are equal."""

    bands: int
    rows: int


class Measures(NamedTuple):
    """What `measure` finds, by text.

    tokens: how many each has; without any it is near nothing. keys: (texts, bands). sketches: the lowest byte of every
    bin, (texts, bands * rows). simhash: 64 bits each.
    """

    tokens: NDArray[np.int64]
    keys: NDArray[np.uint64] | None
    sketches: NDArray[np.uint8] | None
    simhash: NDArray[np.uint64] | None


class Sets(NamedTuple):
    """Sets of shingles: set `i` is `values[starts[i] : ends[i]]`, ascending and each once."""

    values: NDArray[np.uint64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Shingles in each set."""
        return self.ends - self.starts

    def of(self, number: int) -> NDArray[np.uint64]:
        """Return one set."""
        return self.values[self.starts[number] : self.ends[number]]


def measure(texts: Texts, bands: Bands | None = None, *, simhash: bool = False, width: int = WIDTH) -> Measures:
    """Read texts once and return their tokens, MinHash keys and sketches, and SimHashes, where they are wanted.

    SimHash (Charikar 2002): a bit is set if it is in more than half of the text's shingles, each as often as it occurs.

    Args:
        width: tokens in a shingle, 1 to 64; a text with fewer is one shingle, and one without any has none.
    """
    count, made = len(texts), bands or Bands(1, 1)
    found = Measures(
        np.zeros(count, np.int64),
        np.zeros((count, made.bands), np.uint64) if bands is not None else None,
        np.zeros((count, made.bands * made.rows), np.uint8) if bands is not None else None,
        np.zeros(count, np.uint64) if simhash else None,
    )
    _kernel().measure(texts.offsets, texts.data, width, *made, found.keys, found.sketches, found.simhash, found.tokens)
    return found


def sets(
    texts: Texts,
    which: NDArray[np.int64] | None = None,
    *,
    width: int = WIDTH,
    most: int = ALL_HASHES,
    room: NDArray[np.uint64] | None = None,
) -> Sets:
    """Return the sets of shingles of texts, or of those numbered in `which`.

    Args:
        most: larger hashes are left out: a share of most / 2**64 of all shingles, the same in every text (FracMinHash).
        room: memory for the result, used again: as many words as these texts have tokens are enough.
    """
    numbers = np.arange(len(texts), dtype=np.int64) if which is None else np.ascontiguousarray(which, np.int64)
    if room is None:  # no token is shorter than two bytes, its separator among them
        room = np.empty(int(((texts.offsets[numbers + 1] - texts.offsets[numbers] + 1) // 2).sum()), np.uint64)
    ends = np.zeros(len(numbers), np.int64)
    used: int = _kernel().sets(texts.offsets, texts.data, numbers, width, most, room, ends)
    return Sets(room[:used], np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(ends) else ends, ends)


def shared(
    found: Sets, one: NDArray[np.int64], other: NDArray[np.int64], least: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each pair of sets how many shingles they share, or -1 where it is fewer than `least` of that pair."""
    counts = np.zeros(len(one), np.int64)
    starts, ends, one, other, least = (
        np.ascontiguousarray(words, np.int64) for words in (found.starts, found.ends, one, other, least)
    )
    _kernel().shared(found.values, starts, ends, one, other, least, counts)
    return counts


def alike(sketches: NDArray[np.uint8], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Return in how many bins pairs of sketches (rows of the matrix) agree: of `bins`, bins * Jaccard are expected.

    Bins that differ have an equal byte once in 256 times.
    """
    counts = np.zeros(len(one), np.uint16)
    one, other = np.ascontiguousarray(one, np.int64), np.ascontiguousarray(other, np.int64)
    _kernel().alike(np.ascontiguousarray(sketches), sketches.shape[1], one, other, counts)
    return counts


def order(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the places of keys (fewer than 2**31) ordered by their upper 33 bits, equal ones as they come.

    That is enough to bring equal keys together, and three quarters of the work of ordering them: of ten million
    random keys, 6,000 pairs that differ fall together.
    """
    places = np.zeros(len(keys), np.int64)
    _kernel().order(np.ascontiguousarray(keys), places)
    return places


def distinct(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the words in ascending order, each once; it overwrites the array it is given."""
    return words[: _kernel().distinct(words)]


def exact(texts: Texts) -> NDArray[np.uint64]:
    """Return a 128-bit hash of each text with its white space made even (`" ".join(text.split())`): (texts, 2)."""
    hashes = np.zeros((len(texts), 2), np.uint64)
    _kernel().exact(texts.offsets, texts.data, hashes)
    return hashes


def _kernel() -> shingle_python.Kernel:
    return compiled("_shingle") or shingle_python
