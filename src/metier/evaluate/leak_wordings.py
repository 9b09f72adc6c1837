"""Texts of an exam in other words.

Terms are weighed by their information: -log2 of how often they occur, less what common words have. A text is looked at
closely where much of the information of its rarest terms stands together; `leak_stretch` then says whether the stretch
says the same. That survives synonyms for ordinary words, another order, other endings, words put in between and other
figures. It does not survive a translation into another language, nor a wording that keeps none of the terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metier.evaluate.leak_stretch import (
    AROUND,
    LEAST_SHARE,
    LIKELY,
    LIKELY_IN_CHARACTERS,
    Wording,
    likeness,
    stretches,
    word_pairs,
)
from metier.evaluate.leak_terms import NUMBER, excerpt, names, pair_of_characters, pairs, term, tokens
from metier.evaluate.leaks import Evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metier.evaluate.leaks import Batch

LEAST_BITS = 20.0
"""Texts of less information are not looked for in other words: what they say is said everywhere."""

_COMMON_BITS = 5.0  # a term of so little information, one word in 32, says nothing
_PRIOR_TOKENS = 2_000  # of a text in which no term of the exam stands: few training texts make no term common
_KEYS = 12  # a text's rarest terms, or the rarer half of many
_KEY_SHARE = 0.4  # of their information must stand together before a text is looked at closely
_SPREAD, _SLACK = 1.7, 6  # a stretch is so much longer than the exam's text
_MARGIN = 6  # words before and behind a stretch that may belong to it
_COUNTED = 64  # batches counted at every stride before the stride doubles
_KNOWN_WORDS = 400_000  # words of the training texts remembered at once


class Hits(NamedTuple):
    """The terms of a batch: ids, and places in words, those of different texts more than `gap` apart.

    Both in the order of places; `by_term` and `places_by_term` in that of terms.
    """

    ids: NDArray[np.int64]
    places: NDArray[np.int64]
    gap: int
    by_term: NDArray[np.int64]
    places_by_term: NDArray[np.int64]

    def between(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return the terms from one place to another, with their places."""
        first, last = np.searchsorted(self.places, [low, high + 1])
        return list(zip(self.ids[first:last].tolist(), self.places[first:last].tolist(), strict=True))

    def around(self, first: int, last: int, id: int) -> int:
        """Return how often a term stands within AROUND words of a stretch, but not in it."""
        own = self.places_by_term[slice(*np.searchsorted(self.by_term, [id, id + 1]))]
        low, start, end, high = np.searchsorted(own, [first - AROUND, first, last + 1, last + AROUND + 1])
        return int(high - low - (end - start))


class Wordings:
    """The terms of some texts and the likest stretch of training text seen for each.

    Args:
        texts: of the exam; an empty one is not looked for.
        training: read once, to count terms. Of many texts a sample is counted.
    """

    def __init__(self, texts: Sequence[str], training: Iterable[Batch]) -> None:
        words = [tokens(text) for text in texts]
        found = [_terms(own) for own in words]
        self._ids = {name: id for id, name in enumerate(dict.fromkeys(chain(*found)))}
        self._words = _Words(self._ids)
        own = [sorted({self._ids[name] for name in names}) for names in found]
        self._bits = self._information(training, own, sum(map(len, words)))
        numbers = frozenset(id for name, id in self._ids.items() if name.startswith(NUMBER))
        self._wordings = [self._wording(terms, numbers, found) for terms, found in zip(own, words, strict=True)]
        self._widths = np.array([wording.width for wording in self._wordings], np.int64)
        self._key_bits = np.full(len(texts), math.inf)
        self._first, self._owners = self._keys()
        self._best: dict[int, tuple[float, Evidence]] = {}

    def look(self, batch: Batch) -> None:
        """Keep what the batch has that is liker than what was seen."""
        hits = self._hits(batch)
        for number, places in self._candidates(hits):
            wording, done = self._wordings[number], -1
            for place in places:
                if place > done:
                    done = place + wording.width // 2
                    self._judge(batch, hits, number, place)

    def found(self, number: int) -> Evidence | None:
        """Return where a text stands in other words, or None."""
        likely, evidence = self._best.get(number, (-math.inf, None))
        return evidence if likely >= self._wordings[number].likely else None

    def likeness(self, number: int) -> float:
        """Return the likeness of the likest stretch, -inf where none was looked at."""
        return self._best.get(number, (-math.inf, None))[0]

    def _judge(self, batch: Batch, hits: Hits, number: int, place: int) -> None:
        wording = self._wordings[number]
        near = [hit for hit in hits.between(place - wording.width, place + wording.width) if hit[0] in wording.bits]
        stretch = stretches(wording, near)
        if stretch is None or stretch.share < LEAST_SHARE:
            return
        text, first = divmod(stretch.first, hits.gap)
        last = stretch.last - stretch.first + first
        words = batch.words[text][max(0, first - _MARGIN) : last + _MARGIN + 1]
        found = likeness(wording, stretch, words, partial(hits.around, stretch.first, stretch.last))
        if found > self.likeness(number):
            where, whole = batch.texts[text]
            shown = excerpt(whole, first) if found >= wording.likely else ""
            self._best[number] = found, Evidence(round(stretch.share, 3), where, shown)

    def _wording(self, terms: Sequence[int], numbers: frozenset[int], words: Sequence[str]) -> Wording:
        own = {id: float(self._bits[id]) for id in terms if self._bits[id] > 0}
        total = math.fsum(bit for id, bit in own.items() if id not in numbers)
        ids = {name: self._ids[name] for name in names(words) if name in self._ids}
        in_characters = sum(1 for _ in pairs(list(words))) > len(words) / 2
        likely = LIKELY_IN_CHARACTERS if in_characters else LIKELY
        width = int(_SPREAD * len(words)) + _SLACK
        return Wording(own, numbers & own.keys(), total, width, word_pairs(words), ids, likely)

    def _information(self, training: Iterable[Batch], own: Sequence[Sequence[int]], length: int) -> NDArray[np.float64]:
        """Return the information of each term: how rare it is in the training texts and among the exam's own."""
        counts, total = np.zeros(len(self._ids), np.int64), 0
        for batch in _sample(training):
            for _, ids in self._terms_of(batch):
                counts += np.bincount(ids, minlength=counts.size)
            total += sum(map(len, batch.words))
        # What the exam's questions have in common ("which", "sentence", "documentation") says nothing of one of them.
        shared = np.bincount(np.array(list(chain(*own)), np.int64), minlength=counts.size)
        seen = counts + np.maximum(shared - 1, 0) + 1.0
        bits = np.maximum(0.0, np.log2((total + length + _PRIOR_TOKENS) / seen) - _COMMON_BITS)
        # A Chinese character is told three times: by itself and in the pairs with its neighbours.
        scale = np.array([0.5 if pair_of_characters(name) else 1.0 for name in self._ids], np.float64)
        return np.asarray(bits * scale, np.float64)

    def _keys(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where the texts begin of which each term is a key, and these texts, term after term."""
        keys: list[list[int]] = [[] for _ in self._bits]
        for number, wording in enumerate(self._wordings):
            if wording.total < LEAST_BITS:
                continue
            by_rarity = sorted(wording.bits.keys() - wording.numbers, key=lambda id: (-wording.bits[id], id))
            rarest = by_rarity[: max(_KEYS, len(by_rarity) // 2)]
            self._key_bits[number] = sum(wording.bits[id] for id in rarest)
            for id in rarest:
                keys[id].append(number)
        starts = np.concatenate([[0], np.cumsum([len(owners) for owners in keys])]).astype(np.int64)
        return starts, np.array(list(chain(*keys)), np.int64)

    def _terms_of(self, batch: Batch) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the places and ids of each text's terms."""
        for text, words in zip(batch.texts, batch.words, strict=True):
            ids = np.fromiter(map(self._words.__getitem__, words), np.int64, len(words))
            places = np.flatnonzero(ids >= 0)
            ids = ids[places]
            if not text.text.isascii():
                joined = [(place, self._ids[pair]) for place, pair in pairs(words) if pair in self._ids]
                places = np.concatenate([places, np.array([place for place, _ in joined], np.int64)])
                ids = np.concatenate([ids, np.array([id for _, id in joined], np.int64)])
            yield places, ids

    def _hits(self, batch: Batch) -> Hits:
        gap = max(map(len, batch.words)) + 2 * max(AROUND, int(self._widths.max())) + 2
        found = [(places + number * gap, ids) for number, (places, ids) in enumerate(self._terms_of(batch))]
        places, ids = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
        kept = self._bits[ids] > 0
        places, ids = places[kept], ids[kept]
        order = np.argsort(places, kind="stable")
        places, ids = places[order], ids[order]
        by_term = np.argsort(ids, kind="stable")
        return Hits(ids, places, gap, ids[by_term], places[by_term])

    def _candidates(self, hits: Hits) -> Iterator[tuple[int, list[int]]]:
        """Yield the texts of which enough of the keys stand together somewhere, and the places."""
        counts = self._first[hits.ids + 1] - self._first[hits.ids]
        keyed = np.flatnonzero(counts)
        if keyed.size == 0:
            return
        times = counts[keyed]
        ids, places = np.repeat(hits.ids[keyed], times), np.repeat(hits.places[keyed], times)
        inner = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        owners = self._owners[self._first[ids] + inner]
        # All on one line, one text of the exam behind another: a stretch of it is a stretch of the line.
        line = owners * (int(hits.places[-1]) + int(self._widths.max()) + 1) + places
        order = np.argsort(line, kind="stable")
        line, owners, places = line[order], owners[order], places[order]
        sums = np.concatenate([[0.0], np.cumsum(self._bits[ids[order]])])
        inside = sums[1:] - sums[np.searchsorted(line, line - self._widths[owners])]
        near = inside >= _KEY_SHARE * self._key_bits[owners]
        chosen, where = owners[near], places[near]
        cuts = np.flatnonzero(np.diff(chosen)) + 1
        for owned, found in zip(np.split(chosen, cuts), np.split(where, cuts), strict=True):
            if owned.size:
                yield int(owned[0]), found.tolist()


class _Words(dict[str, int]):
    """The id of each word's term, -1 where the exam has no such term; words are looked up once."""

    def __init__(self, ids: dict[str, int]) -> None:
        super().__init__()
        self._terms = ids

    def __missing__(self, word: str) -> int:
        if len(self) >= _KNOWN_WORDS:
            self.clear()
        name = term(word)
        id = self[word] = -1 if name is None else self._terms.get(name, -1)
        return id


def _terms(words: list[str]) -> list[str]:
    found = [name for word in words if (name := term(word)) is not None]
    return found + [pair for _, pair in pairs(words)]


def _sample(training: Iterable[Batch]) -> Iterator[Batch]:
    """Yield every batch at first, then every second, every fourth: as many of each."""
    stride, counted = 1, 0
    for number, batch in enumerate(training):
        if number % stride == 0:
            yield batch
            counted += 1
            if counted % _COUNTED == 0:
                stride *= 2
