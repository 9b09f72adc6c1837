"""Whether a stretch of training text says what a text of the exam says: its rare terms, and words in its order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from metier.evaluate.leak_terms import names

LIKELY, LIKELY_IN_CHARACTERS = 0.42, 0.7
"""A stretch says the same from this likeness on, in words and in Chinese or Japanese characters, which have more in
common by chance; chosen on the tuning set of `benchmarks.evaluate.leaks`."""

LEAST_SHARE = 0.4
"""Stretches with less of a text's information are passed over."""

AROUND = 1_000
"""Words on either side of a stretch that say how surprising its terms are there."""

_BITS = 70.0  # so much information beyond what a page on the same matter has weighs as much as all words in order
_REACH = 3  # words ahead that a word makes a pair with


class Wording(NamedTuple):
    """One text that is looked for.

    bits: the information of each term. numbers: which terms are figures; they are not in `total`. width: of a stretch,
    in words. pairs: pairs of words at most three apart, in order. ids: of those words that are terms. likely: the
    likeness from which a stretch says the same.
    """

    bits: dict[int, float]
    numbers: frozenset[int]
    total: float
    width: int
    pairs: frozenset[tuple[str, str]]
    ids: Mapping[str, int]
    likely: float


class Stretch(NamedTuple):
    """A stretch of training text: places of its first and last term, the terms, and their share of information."""

    first: int
    last: int
    terms: frozenset[int]
    share: float


def stretches(wording: Wording, hits: Sequence[tuple[int, int]]) -> Stretch | None:
    """Return the stretch of at most `width` words with most of a text's information among (term, place) pairs.

    Figures that differ cost nothing, and figures that agree count on both sides.
    """
    inside: dict[int, int] = {}
    words = figures = best = 0.0
    found: tuple[int, int] | None = None
    start = 0
    for end, (id, place) in enumerate(hits):
        inside[id] = inside.get(id, 0) + 1
        if inside[id] == 1:
            words, figures = _moved(wording, id, 1, words, figures)
        while hits[start][1] < place - wording.width:
            gone = hits[start][0]
            inside[gone] -= 1
            if inside[gone] == 0:
                words, figures = _moved(wording, gone, -1, words, figures)
            start += 1
        share = (words + figures) / (wording.total + figures)
        if share > best + 1e-9:
            best, found = share, (start, end)
    if found is None:
        return None
    chosen = hits[found[0] : found[1] + 1]
    return Stretch(chosen[0][1], chosen[-1][1], frozenset(id for id, _ in chosen), best)


def likeness(wording: Wording, stretch: Stretch, words: Sequence[str], around: Callable[[int], int]) -> float:
    """Return how much alike a stretch and a text of the exam are: about 0 on one matter, 1 and more for copies.

    The share of the text's word pairs that stand in the stretch in their order, each counted by the information of its
    words, and what information the stretch has of the text beyond two fifths. On a page about transactions that word
    says little: with a rate of r a word around a stretch of w words, -log2(1 - exp(-r w)).

    Args:
        words: of the stretch, with some before and behind it.
        around: how often a term stands within 1,000 words of the stretch, but not in it.
    """
    bits = dict(wording.bits)
    for id in stretch.terms:
        if expected := around(id) * wording.width / (2 * AROUND):
            bits[id] = min(bits[id], -math.log2(1 - math.exp(-expected)))
    weights = {name: bits.get(id, 0.0) for name, id in wording.ids.items()}
    told = {pair: 1.0 + weights.get(pair[0], 0.0) + weights.get(pair[1], 0.0) for pair in wording.pairs}
    order = sum(told[pair] for pair in wording.pairs & word_pairs(words)) / max(1.0, sum(told.values()))
    found = sum(bits[id] for id in stretch.terms)
    return order + (found - LEAST_SHARE * wording.total) / _BITS


def word_pairs(words: Sequence[str]) -> frozenset[tuple[str, str]]:
    """Return the pairs of words at most three apart, in order, by their stems."""
    return frozenset(_pairs(names(words)))


def _pairs(found: Sequence[str]) -> Iterator[tuple[str, str]]:
    for ahead in range(1, _REACH + 1):
        yield from zip(found, found[ahead:], strict=False)


def _moved(wording: Wording, id: int, sign: int, words: float, figures: float) -> tuple[float, float]:
    bit = sign * wording.bits[id]
    return (words, figures + bit) if id in wording.numbers else (words + bit, figures)
