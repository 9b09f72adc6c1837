"""The Python half of shingle.py: what `shingle.c` does, call for call and bit for bit, at about 3 MB/s.

Follow it to see what the kernel computes. Arrays of uint64 wrap as C's do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from metier.corpus.kernel import Texts
from metier.corpus.kernel.unicode import CJK, SPACE, WORD, character_set, lower

if TYPE_CHECKING:
    from numpy.typing import NDArray

_K0, _K1, _K2, _K3 = (
    np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
)
_BLOCK = 16
_EMPTY_BIN = np.uint32(0xFFFFFFFF)
_HELD = 4096


class Kernel(Protocol):
    """What both halves offer. Outputs are written into arrays of the caller, or left out where that is None."""

    def measure(
        self,
        offsets: NDArray[np.int64],
        data: Any,
        width: int,
        bands: int,
        rows: int,
        keys: NDArray[np.uint64] | None,
        sketches: NDArray[np.uint8] | None,
        simhash: NDArray[np.uint64] | None,
        tokens: NDArray[np.int64],
    ) -> None:
        """Fill in keys (texts, bands), sketches (texts, bands * rows), SimHashes and numbers of tokens."""
        ...

    def sets(
        self,
        offsets: NDArray[np.int64],
        data: Any,
        which: NDArray[np.int64],
        width: int,
        most: int,
        values: NDArray[np.uint64],
        ends: NDArray[np.int64],
    ) -> int:
        """Fill in the sets one after another and where each ends; return how many hashes they are in all."""
        ...

    def shared(
        self,
        values: NDArray[np.uint64],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        one: NDArray[np.int64],
        other: NDArray[np.int64],
        least: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> None:
        """Fill in how many hashes each pair of sets shares, -1 for fewer than `least`."""
        ...

    def alike(
        self,
        sketches: NDArray[np.uint8],
        size: int,
        one: NDArray[np.int64],
        other: NDArray[np.int64],
        counts: NDArray[np.uint16],
    ) -> None:
        """Fill in how many bytes two rows of `sketches`, `size` each, have in common."""
        ...

    def order(self, keys: NDArray[np.uint64], out: NDArray[np.int64]) -> None:
        """Fill in the places of the keys in the order of their upper 33 bits, equal ones as they come."""
        ...

    def distinct(self, words: NDArray[np.uint64]) -> int:
        """Sort in place, leave each word once, and return how many are left."""
        ...

    def exact(self, offsets: NDArray[np.int64], data: Any, hashes: NDArray[np.uint64]) -> None:
        """Fill in the exact hashes (texts, 2)."""
        ...


def measure(
    offsets: NDArray[np.int64],
    data: Any,
    width: int,
    bands: int,
    rows: int,
    keys: NDArray[np.uint64] | None,
    sketches: NDArray[np.uint8] | None,
    simhash: NDArray[np.uint64] | None,
    tokens: NDArray[np.int64],
) -> None:
    """Fill in keys, SimHashes and numbers of tokens."""
    if not (1 <= width <= 64 and bands >= 1 and rows >= 1 and bands * rows <= 1024):
        raise ValueError("width is 1 to 64, bands * rows at most 1024")
    for number, hashes in enumerate(_token_hashes(Texts(offsets, data), np.arange(len(offsets) - 1))):
        tokens[number] = len(hashes)
        shingles = _shingles(hashes, width)
        if keys is not None or sketches is not None:
            sketch = _sketch(shingles, bands * rows)
            if keys is not None:
                keys[number] = _keys(sketch, bands, rows)
            if sketches is not None:
                sketches[number] = sketch.astype(np.uint8)
        if simhash is not None:
            simhash[number] = _simhash(shingles)


def sets(
    offsets: NDArray[np.int64],
    data: Any,
    which: NDArray[np.int64],
    width: int,
    most: int,
    values: NDArray[np.uint64],
    ends: NDArray[np.int64],
) -> int:
    """Fill in the sets and their ends, and return how many hashes they are."""
    if not 1 <= width <= 64:
        raise ValueError("the width is 1 to 64")
    used = 0
    for at, hashes in enumerate(_token_hashes(Texts(offsets, data), which)):
        found = np.unique(_shingles(hashes, width))
        found = found[found <= np.uint64(most)]
        if used + len(found) > len(values):
            raise ValueError("there is too little room for the shingles")
        values[used : used + len(found)] = found
        used += len(found)
        ends[at] = used
    return used


def shared(
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    least: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Fill in how many hashes each pair of sets shares, -1 for fewer than `least`."""
    for at, (a, b) in enumerate(zip(one, other, strict=True)):
        both = np.intersect1d(values[starts[a] : ends[a]], values[starts[b] : ends[b]], assume_unique=True)
        counts[at] = both.size if both.size >= least[at] else -1


def alike(
    sketches: NDArray[np.uint8],
    size: int,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    counts: NDArray[np.uint16],
) -> None:
    """Fill in how many bytes two rows have in common."""
    rows = sketches.reshape(-1, size)
    counts[:] = (rows[one] == rows[other]).sum(axis=1)


def order(keys: NDArray[np.uint64], out: NDArray[np.int64]) -> None:
    """Fill in the order of the keys' upper 33 bits."""
    out[:] = np.argsort(keys >> np.uint64(31), kind="stable")


def distinct(words: NDArray[np.uint64]) -> int:
    """Sort in place, leave each word once, and return how many are left."""
    found = np.unique(words)
    words[: len(found)] = found
    return len(found)


def exact(offsets: NDArray[np.int64], data: Any, hashes: NDArray[np.uint64]) -> None:
    """Fill in the exact hashes."""
    texts = Texts(offsets, data)
    for number in range(len(texts)):
        plain = _white_space().sub(" ", texts.decoded(number)).strip(" ").encode()
        stripes = np.frombuffer(plain + b"\0" * (-len(plain) % 64), "<u8").reshape(-1, 8)
        lanes = np.arange(1, 9, dtype=np.uint64) * _K3
        for stripe in stripes:
            lanes = (lanes ^ stripe) * _K0
            lanes ^= lanes >> np.uint64(32)
        length = np.array([len(plain)], np.uint64)
        first, second = length * _K1, ~length
        for lane in lanes:
            first = _mix(first ^ lane)
            second = _mix(_rotate(second, 23) ^ (lane * np.ones(1, np.uint64) * _K1))
        hashes[number] = first[0], second[0]


@cache
def _tokens() -> re.Pattern[str]:
    return re.compile(f"[{character_set(CJK)}]|[{character_set(WORD, without=CJK)}]+")


@cache
def _white_space() -> re.Pattern[str]:
    return re.compile(f"[{character_set(SPACE)}]+")


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ x >> np.uint64(32)) * _K2
    return x ^ x >> np.uint64(29)


def _rotate(x: NDArray[np.uint64], by: int) -> NDArray[np.uint64]:
    return x << np.uint64(by % 64) | x >> np.uint64(-by % 64)


def _token_hashes(texts: Texts, which: NDArray[np.int64]) -> Iterator[NDArray[np.uint64]]:
    known: dict[str, np.uint64] = {}
    for number in which:
        tokens = _tokens().findall(lower(texts.decoded(int(number))))
        if new := [token for token in set(tokens) if token not in known]:
            if len(known) > 500_000:
                known.clear()
                new = list(set(tokens))
            known.update(zip(new, _hash_tokens(new), strict=True))
        yield np.array([known[token] for token in tokens], np.uint64)


def _hash_tokens(tokens: list[str]) -> NDArray[np.uint64]:
    coded = [token.encode() for token in tokens]
    sizes = np.array([len(code) for code in coded])
    hashes = np.zeros(len(coded), np.uint64)
    for at in range(0, int(sizes.max()), _BLOCK):
        longer = np.flatnonzero(sizes > at)
        blocks = b"".join(coded[token][at : at + _BLOCK].ljust(_BLOCK, b"\0") for token in longer)
        words = np.frombuffer(blocks, "<u8").reshape(-1, 2).astype(np.uint64)
        hashes[longer] = _mix(hashes[longer] ^ words[:, 0] * _K0 ^ _rotate(words[:, 1] * _K1, 32))
    return hashes


def _shingles(tokens: NDArray[np.uint64], width: int) -> NDArray[np.uint64]:
    width = min(width, len(tokens))
    count = len(tokens) - width + 1 if width else 0
    mixed = np.zeros(count, np.uint64)
    for next in range(width):
        mixed ^= _rotate(tokens[next : next + count], 13 * next)
    return _mix(mixed)


def _sketch(shingles: NDArray[np.uint64], bins: int) -> NDArray[np.uint32]:
    """Return the MinHash sketch: see sketch.h."""
    found = np.full(bins, _EMPTY_BIN, np.uint32)
    if not len(shingles):
        return found
    np.minimum.at(found, _bins(shingles, bins), shingles.astype(np.uint32))
    shingles = np.unique(shingles)
    for turn in range(1, 2 * bins):
        full = found != _EMPTY_BIN
        if full.all() or len(shingles) > _HELD:
            break
        hashes = _mix(shingles + np.uint64(turn * int(_K3) % 2**64))
        places = _bins(hashes, bins) if turn < bins else np.full(len(hashes), turn - bins)
        fresh = ~full[places]
        np.minimum.at(found, places[fresh], hashes[fresh].astype(np.uint32))
    return found


def _bins(hashes: NDArray[np.uint64], bins: int) -> NDArray[np.int64]:
    return ((hashes >> np.uint64(32)) * np.uint64(bins) >> np.uint64(32)).astype(np.int64)


def _keys(sketch: NDArray[np.uint32], bands: int, rows: int) -> NDArray[np.uint64]:
    keys = np.arange(1, bands + 1, dtype=np.uint64) * _K1
    for row in sketch.reshape(bands, rows).T:
        keys = _mix(keys ^ row)
    return keys


def _simhash(shingles: NDArray[np.uint64]) -> int:
    bits = np.unpackbits(shingles.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    wanted = 2 * bits.sum(axis=0, dtype=np.int64) > len(shingles)
    return int(np.packbits(wanted, bitorder="little").view("<u8")[0])
