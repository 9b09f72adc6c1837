"""Whether a release has lost something: every figure tested, item by item, with one bound on all false alarms together.

Of each figure it is asked whether the second model is worse than the first by more than a margin, one-sided. The test
flips the signs of the differences of whole clusters (Fisher 1935; for clusters Canay, Romano and Shaikh 2017): under
"neither is better" every pattern of signs is as likely, so its level is exact for few and for many items. Holm's method
(1979) keeps the chance of any false alarm over all figures at 5%, however the figures hang together.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from metier.core.errors import Mistake
from metier.core.types import Scores
from metier.evaluate.answer_log import AnswerLog
from metier.evaluate.compare import Difference, Kind, Rows, compare, require_one_setting
from metier.evaluate.perplexity import PER_BYTE, REPLY, REPLY_PER_BYTE, TEXT
from metier.evaluate.report.metrics import Subject
from metier.evaluate.statistics import cluster_sums, student_t

ALPHA = 0.05  # of any false alarm, over all figures
POWER = 0.8
SOUGHT = 0.03  # the loss for which a sample size is told: 3 points, or 3% of a perplexity
_LEAST_CLUSTERS = 8  # fewer do not tell how the items vary
_WORK = 4_000_000  # clusters x cells of the grid on which sums of differences are counted
_FINE = 8.0  # cells in the root mean square of the sums, at least


class Paired(NamedTuple):
    """What the second model gained over the first on each item of one figure; losses are negative.

    For a share it is the difference of grades, and `units` are ones; for a perplexity it is nats saved, and `units` are
    the item's tokens or bytes. `tolerated` is the loss per unit that is no alarm.
    """

    gains: Sequence[float]
    units: Sequence[float]
    clusters: Sequence[Hashable]
    tolerated: float = 0.0


class Checked(NamedTuple):
    """One figure at the gate.

    `p` is adjusted by Holm's method over all figures. `floor` is the smallest loss beyond the margin that an exam like
    this one finds with 80% power; None where it finds none, because the items come in too few clusters or the first
    model has not so much to lose. `items_needed` is how many items would find 3 points, None where the clusters are too
    few to tell. Margin and floor are shares (0.03 is 3 points, or 3% of a perplexity).
    """

    difference: Difference
    margin: float
    p: float
    floor: float | None
    items_needed: int | None

    @property
    def lost(self) -> bool:
        """Whether the second model is clearly worse."""
        return self.p <= ALPHA


def check(first: Scores, second: Scores, margins: Mapping[str, float] | None = None) -> list[Checked]:
    """Return every figure of `second` held against `first`'s, in the order of the exam.

    A text's perplexity is judged once, per byte: per token it is the same loss.

    Args:
        margins: losses that are no alarm, as shares, by "figure" or "figure/split"; "" stands for all others.

    Raises:
        Mistake: one is no examination, both are the same, they sat unlike exams or were asked in unlike ways (examples,
            passages), there is nothing to pair, or a margin names no figure.
        Failure: the answers of one are not all there, or hold a number that is none.
    """
    for scores in (first, second):
        if not all((scores.folder / name).is_file() for name in ("exam.json", "answers.jsonl")):
            raise Mistake(
                f"{scores.folder.name} is no finished examination",
                found="no exam.json with answers.jsonl beside it",
                hint="name what an `examine` step has made",
            )
    if first.folder.resolve() == second.folder.resolve():
        raise Mistake("an examination is held against itself", found=first.folder.name, hint="name two models' scores")
    require_one_setting(first, second)
    differences = [one for one in compare(first, second) if one.name != TEXT]
    margin_of = _margins(differences, margins or {})
    before, after = (list(AnswerLog(scores.folder / "answers.jsonl").rows.values()) for scores in (first, second))
    pairs = [_paired(one, before, after, margin) for one, margin in zip(differences, margin_of, strict=True)]
    level = ALPHA / len(pairs)  # of the first of Holm's ranks
    adjusted = holm([chance(pair) for pair in pairs])
    found = []
    for one, margin, pair, p in zip(differences, margin_of, pairs, adjusted, strict=True):
        ratio = one.kind is Kind.RATIO
        floor = noise_floor(pair, level)
        if floor is not None and ratio:
            floor = math.expm1(floor)
        elif floor is not None and margin + floor > (one.first if _rises(one) else 1 - one.first):
            floor = None
        needed = items_needed(pair, level, math.log1p(SOUGHT) if ratio else SOUGHT)
        found.append(Checked(one, margin, p, floor, needed))
    return found


def _rises(one: Difference) -> bool:
    """Whether more of a figure is better."""
    return Subject(one.name, one.split).metric.higher_is_better is not False


def _margins(differences: Sequence[Difference], margins: Mapping[str, float]) -> list[float]:
    known = {"", *(one.name for one in differences), *(f"{one.name}/{one.split}" for one in differences)}
    if unknown := [name for name in margins if name not in known]:
        raise Mistake(
            f"a margin is given for '{unknown[0]}', which is no figure of this exam",
            found=", ".join(dict.fromkeys(one.name for one in differences)),
            hint="name a figure, or figure/split",
        )
    if negative := [value for value in margins.values() if not 0 <= value < math.inf]:
        raise Mistake("a margin is a loss that is no alarm, so it is not below zero", found=f"{100 * negative[0]:g}")
    all_others = margins.get("", 0.0)
    return [margins.get(f"{one.name}/{one.split}", margins.get(one.name, all_others)) for one in differences]


def _paired(one: Difference, first: Rows, second: Rows, margin: float) -> Paired:
    name = {PER_BYTE: TEXT, REPLY_PER_BYTE: REPLY}.get(one.name, one.name)
    before, after = (
        [row for row in rows if (row["name"], row["split"]) == (name, one.split)] for rows in (first, second)
    )
    clusters = [row.get("cluster") or row["id"] for row in before]
    if one.kind is Kind.RATIO:
        gains = [a["nats"] - b["nats"] for a, b in zip(before, after, strict=True)]
        units = [float(row["tokens" if one.name == name else "bytes"]) for row in before]
        return Paired(gains, units, clusters, math.log1p(margin))
    sign = 1.0 if _rises(one) else -1.0
    gains = [sign * (float(b["score"]) - float(a["score"])) for a, b in zip(before, after, strict=True)]
    return Paired(gains, [1.0] * len(gains), clusters, margin)


def chance(pair: Paired) -> float:
    """Return the one-sided p-value of "not worse than tolerated": the share of sign patterns that lose as much.

    Clusters that differ by nothing have no say. Sums are counted on a grid fine enough that the whole sums of graded
    items fall on it; others are rounded, which costs some power and leaves the level as it is. Where there are so many
    clusters that the grid would be coarse, patterns are drawn instead, see `drawn_chance`.
    """
    shifted = [(gain + pair.tolerated * unit,) for gain, unit in zip(pair.gains, pair.units, strict=True)]
    sums = [total for (total,) in cluster_sums(shifted, pair.clusters) if abs(total) > 1e-12]
    if not all(total.is_integer() for total in sums) or len(sums) * math.fsum(map(abs, sums)) > _WORK:
        cells = min(16.0, _WORK / len(sums) ** 2)
        if cells < _FINE:
            return drawn_chance(sums)
        unit = math.sqrt(math.fsum(total * total for total in sums) / len(sums)) / cells
        sums = [round(total / unit) for total in sums]
    whole = [int(total) for total in sums if total]
    # The numbers of patterns for each gained sum stand side by side in one integer, `bits` wide each: adding a cluster
    # is a shift and a sum, and the tail is read off as a sum of digits, which is the remainder by (base - 1).
    bits, patterns = len(whole) + 2, 1
    for total in map(abs, whole):
        patterns += patterns << (bits * total)
    gained = sum(total for total in whole if total > 0)
    tail = patterns & ((1 << (bits * (gained + 1))) - 1)
    return float((tail % ((1 << bits) - 1)) / (1 << len(whole)))


def drawn_chance(sums: Sequence[float], flips: int = 100_000, seed: int = 0) -> float:
    """Return the p-value of `chance` for the sums of clusters, from `flips` random patterns of signs.

    The observed pattern counts as one of those drawn, so that the level holds for any number of flips, and however
    unlike the clusters are in size, which a normal tail takes for alike (Phipson and Smyth 2010: p is never 0). With
    100,000 of them a p of 0.001 has a standard error of 0.0001. Sums are taken as they are, not on a grid. The seed is
    fixed, so that the same answers give the same p.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    sizes = np.zeros(math.ceil(len(sums) / 8) * 8)
    sizes[: len(sums)] = np.abs(sums)
    signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)  # patterns of eight clusters
    gained = np.zeros(flips)
    for eight in sizes.reshape(-1, 8):  # one random byte decides for eight clusters
        gained += (signs @ eight)[rng.integers(256, size=flips, dtype=np.uint8)]
    # sums of grades are equal in many patterns: the rounding of floats may not part them
    observed = math.fsum(total for total in sums if total > 0) + 1e-9 * float(sizes.sum())
    return (1 + int((gained <= observed).sum())) / (1 + flips)


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that rejecting those of at most alpha keeps the family's level (Holm 1979)."""
    adjusted, highest = [0.0] * len(chances), 0.0
    for rank, at in enumerate(sorted(range(len(chances)), key=lambda at: chances[at])):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[at]))
        adjusted[at] = highest
    return adjusted


class _Spread(NamedTuple):
    """How uncertain the mean gain per unit is.

    `error` is its standard error over `groups` clusters (CR1). `flips` is 0 for perplexities and the design effect of
    clusters for grades, at least 1: a model that has lost 3 points answers 3% of the items otherwise than before, and
    its differences vary by as much more.
    """

    error: float
    flips: float
    groups: int


def noise_floor(pair: Paired, level: float) -> float | None:
    """Return the smallest loss per unit that a test at `level` finds with 80% power, None if there is too little."""
    spread = _spread(pair)
    if spread is None or 0.5**spread.groups > level:
        return None
    # `items_needed` solved for the loss; the clusters are the same ones, so what is uncertain of them counts once
    reach = _reach(level, spread.groups, math.inf)
    half = _flipped(spread, reach) / len(pair.gains) / 2
    return half + math.sqrt(half * half + (reach * spread.error) ** 2)


def items_needed(pair: Paired, level: float, loss: float) -> int | None:
    """Return how many items, in clusters like these, find a loss of `loss` per unit with 80% power at `level`.

    None where the clusters are too few to tell how the items vary.
    """
    spread = _spread(pair)
    if spread is None:
        return None
    # A test over few clusters has few patterns of signs, the rarest of which is one in 2 ** clusters.
    n = least = len(pair.gains) * math.ceil(math.log2(1 / level)) / spread.groups
    for _ in range(20):  # quantiles depend on the clusters that n items come in; this settles within a few rounds
        reach = _reach(level, spread.groups, spread.groups * n / len(pair.gains))
        n = max(least, len(pair.gains) * (reach * spread.error / loss) ** 2 + _flipped(spread, reach) / loss)
    return math.ceil(n)


def _reach(level: float, measured: int, tested: float) -> float:
    """Return how many standard errors a loss must have to be found with 80% power by a test at `level`.

    The spread is estimated twice, from the clusters it was `measured` on and from those `tested`: both make the
    quantiles those of Student's t (for the first, Julious and Owen 2006), and their uncertainties add up.
    Where the same are meant, `tested` is infinite.
    """
    freedom = max(3, round(1 / (1 / measured + 1 / tested)) - 1)
    return student_t(1 - level, freedom) + student_t(POWER, freedom)


def _flipped(spread: _Spread, reach: float) -> float:
    # + 2: sums of whole items come in steps (the continuity correction of sample sizes, Fleiss, Levin and Paik 2003)
    return reach**2 * spread.flips + 2 if spread.flips else 0.0


def _spread(pair: Paired) -> _Spread | None:
    units = math.fsum(pair.units)
    mean = math.fsum(pair.gains) / units
    apart = [gain - mean * unit for gain, unit in zip(pair.gains, pair.units, strict=True)]
    sums = cluster_sums([(value,) for value in apart], pair.clusters)
    groups = len(sums)
    if groups < _LEAST_CLUSTERS:
        return None
    error = math.sqrt(groups / (groups - 1) * math.fsum(total * total for (total,) in sums)) / units
    alone = math.sqrt(math.fsum(value * value for value in apart)) / units
    graded = all(unit == 1.0 for unit in pair.units)
    return _Spread(error, max(1.0, (error / alone) ** 2 if alone else 1.0) if graded else 0.0, groups)
