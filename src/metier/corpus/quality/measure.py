"""How good a classifier is on texts it has not seen, and whether it learnt more than a text's length or language."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metier.corpus.quality.examples import Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metier.corpus.quality.fit import Shares

_Z = 1.959964  # two-sided 95%
FOLDS = 5
_HASHES, _BANDS = 64, 16  # bands of 4: two texts that share 0.8 of their n-grams meet in one of 16 with 1 - 2e-4
_ALIKE = 0.8
_STRATUM = 5  # examples of either class that a comparison within a stratum needs


class Interval(NamedTuple):
    """A share with its 95% interval (Wilson 1927)."""

    value: float
    low: float
    high: float


def wilson(right: float, n: int) -> Interval:
    """Return the share `right` of `n` with its interval; n = 0 gives 0.5 with the whole of 0..1."""
    if n == 0:
        return Interval(0.5, 0.0, 1.0)
    middle, width = right + _Z**2 / (2 * n), _Z * math.sqrt(right * (1 - right) / n + _Z**2 / (4 * n * n))
    low, high = (middle - width) / (1 + _Z**2 / n), (middle + width) / (1 + _Z**2 / n)
    return Interval(right, max(0.0, low), min(1.0, high))


def balanced(right: NDArray[np.bool_], good: NDArray[np.bool_]) -> float:
    """Return the mean of the two classes' shares of right answers."""
    return float((right[good].mean() + right[~good].mean()) / 2)


def accuracy(probabilities: NDArray[np.float64], good: NDArray[np.bool_]) -> Interval:
    """Return the balanced accuracy at a threshold of 0.5, with the interval of twice the smaller class."""
    share = balanced((probabilities >= 0.5) == good, good)
    return wilson(share, 2 * int(min(good.sum(), (~good).sum())))


def rank_share(scores: NDArray[np.float64], good: NDArray[np.bool_]) -> float:
    """Return the probability that a good text scores above a bad one, ties counting half: the area under the ROC."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    some, other = int(good.sum()), int((~good).sum())
    return float((ranks[good].sum() - some * (some + 1) / 2) / (some * other))


def folds(matrix: Shares) -> NDArray[np.int64]:
    """Return a fold for each text; near copies of each other are in one, so that none gives away another.

    Copies are found by MinHash bands over their n-grams, and are what agrees in four fifths of the digests.
    """
    count = matrix.shape[0]
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 1 << 63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    starts = np.searchsorted(matrix.rows, np.arange(count))
    digests = np.zeros((_HASHES, count), np.uint64)
    there = np.bincount(matrix.rows, minlength=count) > 0
    if there.any():
        for number, factor in enumerate(factors):
            mixed = (matrix.columns.astype(np.uint64) + np.uint64(1)) * factor
            digests[number, there] = np.minimum.reduceat(mixed ^ mixed >> np.uint64(31), starts[there])
    group = list(range(count))

    def head(text: int) -> int:
        while group[text] != text:
            group[text] = group[group[text]]
            text = group[text]
        return text

    for band in digests.reshape(_BANDS, -1, count):
        first: dict[bytes, int] = {}
        for text in range(count):
            rival = first.setdefault(band[:, text].tobytes(), text)
            if (digests[:, rival] == digests[:, text]).mean() >= _ALIKE:
                one, other = head(rival), head(text)
                group[max(one, other)] = min(one, other)
    heads = np.array([head(text) for text in range(count)])
    places = np.zeros(count, np.int64)
    # Examples come in the order of their hashes, so dealing groups out in turn is as good as a draw.
    for number, one in enumerate(np.unique(heads)):
        places[heads == one] = number % FOLDS
    return places


class Suspect(NamedTuple):
    """What may stand behind the classes instead of quality: a stratum for each text, or None where it is not known."""

    name: str
    strata: Sequence[Hashable]


def suspects(examples: Sequence[Example]) -> list[Suspect]:
    """Return the length, language, kind and source of texts, as far as they are known."""
    from metier.corpus.langid import identify

    lengths = np.array([math.log(len(one.text)) for one in examples])
    edges = np.quantile(lengths, np.arange(1, 8) / 8)
    languages = identify([one.text for one in examples])
    found = [
        Suspect("length", np.searchsorted(edges, lengths).tolist()),
        Suspect("language", [one.language or told for one, told in zip(examples, languages, strict=True)]),
        Suspect("kind of file", [one.media_type for one in examples]),
        Suspect("source", [_origin(one.source) for one in examples]),
    ]
    return [suspect for suspect in found if len(set(suspect.strata)) > 1]


def _origin(source: str | None) -> str | None:
    """Return the site of a URL or the first folder of a path; a mere file name says nothing of where a text is from."""
    if not source:
        return None
    first, slash, _ = source.rpartition("://")[2].partition("/")
    return first if slash or "://" in source else None


class Finding(NamedTuple):
    """How well a suspect alone tells the classes apart, and how well the classifier does among texts that are alike.

    Balanced accuracies; `among` is None where no stratum has enough of both classes.
    """

    name: str
    alone: float
    among: float | None
    guilty: bool


def investigate(
    suspect: Suspect, right: NDArray[np.bool_], good: NDArray[np.bool_], places: NDArray[np.int64]
) -> Finding:
    """Return what a suspect explains.

    It is guilty if it alone comes to four fifths of the classifier's lead over chance, unless the classifier keeps
    most of that lead among texts that do not differ in it.
    """
    names = sorted(set(suspect.strata), key=str)
    strata = np.array([names.index(one) for one in suspect.strata])
    told = np.zeros(len(good), bool)
    for fold in np.unique(places):
        learnt = places != fold
        for_good = np.bincount(strata[learnt & good], minlength=len(names)) / max((learnt & good).sum(), 1)
        for_bad = np.bincount(strata[learnt & ~good], minlength=len(names)) / max((learnt & ~good).sum(), 1)
        told[~learnt] = (for_good > for_bad)[strata[~learnt]]
    alone, whole = balanced(told == good, good), balanced(right, good)
    within = []
    for stratum in range(len(names)):
        mine = strata == stratum
        if min((mine & good).sum(), (mine & ~good).sum()) >= _STRATUM:
            within.append((int(mine.sum()), balanced(right[mine], good[mine])))
    weight = sum(size for size, _ in within)
    among = sum(size * share for size, share in within) / weight if weight else None
    keeps = among is not None and weight >= len(good) // 4 and among - 0.5 >= 0.8 * (whole - 0.5)
    guilty = alone > 0.6 and alone - 0.5 >= 0.8 * (whole - 0.5) and not keeps
    return Finding(suspect.name, round(alone, 4), None if among is None else round(among, 4), guilty)


def telling(matrix: Shares, good: NDArray[np.bool_], weights: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return the buckets that part the classes most: first `count` for good, then `count` for bad, strongest first."""
    size = matrix.shape[1]
    entries = good[matrix.rows]
    for_good = np.bincount(matrix.columns[entries], matrix.values[entries], size) / max(int(good.sum()), 1)
    for_bad = np.bincount(matrix.columns[~entries], matrix.values[~entries], size) / max(int((~good).sum()), 1)
    parts = weights * (for_good - for_bad)
    order = np.argsort(-parts, kind="stable")
    order = order[parts[order] > 0]
    return np.concatenate([order[weights[order] > 0][:count], order[weights[order] < 0][:count]])


def names_of(
    buckets: NDArray[np.int64], matrix: Shares, texts: Sequence[str], named: Callable[[str], Any]
) -> dict[int, str]:
    """Return what each bucket's n-gram is, as found in one of the texts that have it: the most frequent there."""
    names: dict[int, str] = {}
    for bucket in buckets.tolist():
        if bucket in names:
            continue
        holders = matrix.rows[matrix.columns == bucket]
        if not holders.size:
            continue
        values = matrix.values[matrix.columns == bucket]
        for found, name in named(texts[int(holders[values.argmax()])]):
            if found in buckets:
                names.setdefault(found, name)
    return names
