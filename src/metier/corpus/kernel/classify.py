"""Sums of linear text classifiers: over hashed n-grams of tokens, and over the features of a byte automaton.

`classify.c` and the Python below do the same, to the bit: all sums are of integers.

A token is a run of letters, marks and numbers in lower case, each run of digits as at most four zeros; one Han or kana
character; a run of one punctuation character, counted up to three; the end of a line, or several of them with white
space between ("a paragraph ends"); or a run of anything else that is no white space.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metier.corpus.kernel import Texts, compiled
from metier.corpus.kernel.unicode import CJK, DIGIT, PUNCT, SPACE, WORD, class_table, lower

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_MULTIPLIER = 0x9E3779B97F4A7C15
_SEED_WORD, _SEED_CJK, _SEED_PUNCT = 0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0
_LINE, _BREAK, _OTHER = 0x082EFA98EC4E6C89, 0x452821E638D01377, 0xBE5466CF34E90C6C
_MOST_DIGITS, _MOST_PUNCT = 4, 3


class Automaton(NamedTuple):
    """A byte automaton whose states may stand for features, and what each feature says of each class.

    State s reads byte b and goes to `moves[rows[s] << 8 | b]`; `outputs[s]` is a feature, or negative. A feature that
    is met n times counts `damping[n]`, or the last of `damping`.
    """

    moves: NDArray[np.uint32]
    rows: NDArray[np.uint32]
    outputs: NDArray[np.int32]
    weights: NDArray[np.uint8]  # features, classes
    damping: NDArray[np.int32]


def ngram_sums(texts: Texts, weights: NDArray[np.int32], order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each text, the sum of the weights of its n-grams of 1 to `order` tokens, and how many they are.

    Args:
        weights: by bucket; a power of two of them.
    """
    bits = _bits(weights)
    sums, counts = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    kernel = compiled("_classify")
    if kernel is not None:
        kernel.ngram_sums(texts.offsets, texts.data, np.ascontiguousarray(weights, np.int32), bits, order, sums, counts)
        return sums, counts
    for number in range(len(texts)):
        buckets = _buckets(_tokens(texts.decoded(number)), bits, order)
        sums[number], counts[number] = weights[buckets].sum(dtype=np.int64), buckets.size
    return sums, counts


def ngram_buckets(texts: Texts, bits: int, order: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return the buckets of the n-grams of all texts, one after the other, and where each text's begin.

    Text i has `buckets[starts[i] : starts[i + 1]]`. Takes 4 × order bytes for each byte of text while it runs.
    """
    kernel = compiled("_classify")
    if kernel is not None:
        starts = np.zeros(len(texts) + 1, np.int64)
        room = np.empty(int(texts.offsets[-1] - texts.offsets[0]) * order, np.uint32)
        kernel.ngram_buckets(texts.offsets, texts.data, bits, order, starts, room)
        return starts, room[: starts[-1]].copy()
    found = [_buckets(_tokens(texts.decoded(number)), bits, order) for number in range(len(texts))]
    starts = np.concatenate([[0], np.cumsum([one.size for one in found], dtype=np.int64)]).astype(np.int64)
    return starts, np.concatenate([*found, np.zeros(0, np.uint32)]).astype(np.uint32)


def named_ngrams(text: str, bits: int, order: int) -> Iterator[tuple[int, str]]:
    """Yield the bucket and the words of every n-gram of a text, in the order of `ngram_buckets`."""
    tokens = [found[0] for found in _pattern().finditer(text)]
    names = [_shown(token) for token in tokens]
    buckets = iter(_buckets(tokens, bits, order).tolist())
    for at in range(len(tokens)):
        for size in range(1, min(order, at + 1) + 1):
            yield next(buckets), " ".join(names[at - size + 1 : at + 1])


def automaton_scores(texts: Texts, automaton: Automaton) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sum of each text's features for each class [texts, classes], and how many different features it has.

    Takes 4 bytes for each byte of the longest eight texts while it runs.

    Raises:
        ValueError: the automaton's tables point outside themselves.
    """
    classes = automaton.weights.shape[1]
    kernel = compiled("_classify")
    if kernel is not None:
        scores, distinct = np.zeros((len(texts), classes), np.int64), np.zeros(len(texts), np.int64)
        kernel.automaton_scores(
            texts.offsets, texts.data, automaton.moves, automaton.rows, automaton.outputs, automaton.weights,
            automaton.damping, classes, scores, distinct,
        )  # fmt: skip
        return scores, distinct
    visits = [
        _visits(automaton, bytes(texts.data[a:b])) for a, b in zip(texts.offsets, texts.offsets[1:], strict=False)
    ]
    scores = np.stack([_sum(automaton, found) for found in visits]) if visits else np.zeros((0, classes), np.int64)
    return scores, np.array([len(found) for found in visits], np.int64)


def _visits(automaton: Automaton, data: bytes) -> Counter[int]:
    moves, rows, outputs = automaton.moves, automaton.rows, automaton.outputs
    state, found = 0, Counter[int]()
    try:
        for byte in data:
            state = int(moves[int(rows[state]) << 8 | byte])
            if (output := int(outputs[state])) >= 0:
                found[output] += 1
    except IndexError:
        raise ValueError("the automaton's tables point outside themselves") from None
    return found


def _sum(automaton: Automaton, found: Counter[int]) -> NDArray[np.int64]:
    features = np.fromiter(found, np.int64, len(found))
    times = np.minimum(np.fromiter(found.values(), np.int64, len(found)), automaton.damping.size - 1)
    if features.size and features.max() >= len(automaton.weights):
        raise ValueError("the automaton's tables point outside themselves")
    total: NDArray[np.int64] = automaton.damping[times].astype(np.int64) @ automaton.weights[features].astype(np.int64)
    return total


def _bits(weights: NDArray[np.int32]) -> int:
    bits = weights.size.bit_length() - 1
    if weights.size != 1 << bits or bits < 1:
        raise ValueError(f"{weights.size} weights are no power of two")
    return bits


@cache
def _pattern() -> re.Pattern[str]:
    table = class_table()
    word, cjk = table & WORD != 0, table & CJK != 0
    space, punct = table & SPACE != 0, table & PUNCT != 0
    known = word | space | punct
    return re.compile(
        f"[{_inside(word & ~cjk)}]+|[{_inside(cjk)}]|([{_inside(punct & ~word)}])\\1*|\n[{_inside(space & ~word)}]*"
        f"|[{_inside(~known)}]+"
    )


@cache
def _digits() -> re.Pattern[str]:
    return re.compile(f"([{_inside(class_table() & DIGIT != 0)}])+")


def _inside(chosen: NDArray[np.bool_]) -> str:
    """Return code points as the inside of a regular expression's brackets."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return "".join(f"\\U{first:08x}-\\U{end - 1:08x}" for first, end in zip(edges[::2], edges[1::2], strict=True))


def _tokens(text: str) -> list[str]:
    return [found[0] for found in _pattern().finditer(text)]


def _shown(token: str) -> str:
    """Return a token as a person is shown it."""
    kind = _kind(token)
    if kind == "line":
        return "¶" if token.count("\n") > 1 else "⏎"
    return {"word": _plain_word(token), "punct": token[:_MOST_PUNCT], "other": "�"}.get(kind, token)


def _kind(token: str) -> str:
    flags = int(class_table()[ord(token[0])])
    if flags & WORD:
        return "cjk" if flags & CJK else "word"
    return "line" if flags & SPACE else "punct" if flags & PUNCT else "other"


def _plain_word(token: str) -> str:
    return _digits().sub(lambda run: "0" * min(len(run[0]), _MOST_DIGITS), lower(token))


@lru_cache(maxsize=200_000)
def _hash(token: str) -> int:
    kind = _kind(token)
    if kind == "line":
        return _BREAK if token.count("\n") > 1 else _LINE
    if kind == "other":
        return _OTHER
    seed = {"word": _SEED_WORD, "cjk": _SEED_CJK, "punct": _SEED_PUNCT}[kind]
    for character in _plain_word(token) if kind == "word" else token[:_MOST_PUNCT]:
        mixed = (seed ^ ord(character)) * _MULTIPLIER & _MASK
        seed = mixed ^ mixed >> 29
    return seed


def _stirred(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = (one ^ other) * np.uint64(_MULTIPLIER)
    return mixed ^ mixed >> np.uint64(29)


def _buckets(tokens: list[str], bits: int, order: int) -> NDArray[np.uint32]:
    one = np.fromiter((_hash(token) for token in tokens), np.uint64, len(tokens))
    grams = np.zeros((one.size, order), np.uint64)  # row i: the n-grams that end with token i
    grams[:, 0] = one
    if order >= 2 and one.size >= 2:
        grams[1:, 1] = _stirred(one[:-1], one[1:])
    if order >= 3 and one.size >= 3:
        grams[2:, 2] = _stirred(one[:-2], grams[2:, 1])
    there = np.arange(one.size)[:, None] >= np.arange(order)[None, :]
    hashes = grams[there] * np.uint64(_MULTIPLIER) >> np.uint64(64 - bits)
    return hashes.astype(np.uint32)
