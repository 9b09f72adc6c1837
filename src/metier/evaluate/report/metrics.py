"""What the figures of an examination mean: which way is better, how a change is told, where it stands on the radar."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How a figure is measured, and so how it is written and compared."""

    SHARE = "share"  # of items, 0..1; compared by difference
    PERPLEXITY = "perplexity"  # 1 or more, lower is better; compared by ratio
    OTHER = "other"  # not known to this page; compared by difference


class Metric(NamedTuple):
    """What one figure says. `higher_is_better` is None where the page does not know it."""

    kind: Kind
    higher_is_better: bool | None
    forgetting: bool = False  # it tells what was lost of the base model rather than what was learnt
    radar: str | None = None  # how it is turned into 0..1; a key of the words


KNOWN: dict[str, Metric] = {
    "perplexity": Metric(Kind.PERPLEXITY, False, radar="against_base"),
    "perplexity_per_byte": Metric(Kind.PERPLEXITY, False, radar="against_base"),
    "multiple_choice": Metric(Kind.SHARE, True, radar="as_is"),
    "execution": Metric(Kind.SHARE, True, radar="as_is"),
    "agreement": Metric(Kind.SHARE, True, radar="as_is"),
    "program": Metric(Kind.SHARE, True, radar="as_is"),
    "chat_reply_perplexity": Metric(Kind.PERPLEXITY, False, forgetting=True, radar="kept"),
    "chat_reply_perplexity_per_byte": Metric(Kind.PERPLEXITY, False, forgetting=True, radar="kept"),
    "sql_to_general_prompts": Metric(Kind.SHARE, False, forgetting=True, radar="unwanted"),
}
"""In the order in which the page shows them. Figures that are not here are shown after them, without a judgement."""

BENCHMARKED = frozenset(
    (
        *("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "f1"),
        *("mc1", "mc2", "contains", "include", "pass@1"),
        *("prompt_level_strict_acc", "prompt_level_loose_acc", "inst_level_strict_acc", "inst_level_loose_acc"),
    )
)
"""Metrics of public benchmarks that are shares of 0..1. Their figures are named (benchmark, metric)."""

SPLITS = ("held_out", "seen_wording", "new_wording", "new_kind", "repair", "general", "general_prompts")


class Subject(NamedTuple):
    """What is measured: the figure's name and the split."""

    name: str
    split: str

    @property
    def metric(self) -> Metric:
        """What it means."""
        known = KNOWN.get(self.name)
        if self.name.startswith("pass@"):
            return Metric(Kind.SHARE, True, radar="as_is")
        if self.split.split(",")[0] in BENCHMARKED:
            return Metric(Kind.SHARE, True, forgetting=True)
        if known is None:
            return Metric(Kind.PERPLEXITY, False) if "perplexity" in self.name else Metric(Kind.OTHER, None)
        # Raw general text is nobody's trade: a change there is something lost or kept.
        return known._replace(forgetting=True) if self.split == "general" else known

    @property
    def order(self) -> tuple[int, bool, int, int, str, str]:
        """Sort key: known figures first, the trade before what was lost, in their fixed order."""
        names = list(KNOWN)
        name = names.index(self.name) if self.name in KNOWN else len(names)
        split = SPLITS.index(self.split) if self.split in SPLITS else len(SPLITS)
        unknown = int(self.metric.higher_is_better is None)
        return (unknown, self.metric.forgetting, name, split, self.name, self.split)


def each_once(subjects: list[Subject]) -> list[Subject]:
    """Return `subjects` without what measures the same again: of a text's two perplexities, that per token stays."""
    twice = {Subject("perplexity_per_byte", subject.split) for subject in subjects if subject.name == "perplexity"}
    return [subject for subject in subjects if subject not in twice]


def radar_value(subject: Subject, value: float, base: float | None) -> float | None:
    """Return where `value` stands between 0 (centre) and 1 (rim, best), or None where it needs a base that is missing.

    - as_is: the share itself; unwanted: 1 - share.
    - against_base: 1 - value / (2 base), so that 0.5 is the base's perplexity, 0.6 is 20% below it.
    - kept: base / value, so that 1 is nothing forgotten and 0.5 is twice the base's perplexity.
    """
    rule = subject.metric.radar
    if rule == "as_is":
        found = value
    elif rule == "unwanted":
        found = 1 - value
    elif base is None or base <= 0 or value <= 0 or rule is None:
        return None
    else:
        found = base / value if rule == "kept" else 1 - value / (2 * base)
    return min(1.0, max(0.0, found))
