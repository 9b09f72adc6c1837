"""The page's languages: each a mapping with the same keys, so that no word stands anywhere else."""

from __future__ import annotations

from collections.abc import Mapping

from metier.evaluate.report import words_en, words_zh
from metier.evaluate.report.metrics import Subject

Words = Mapping[str, str]

LANGUAGES: Mapping[str, Words] = {"en": words_en.ENGLISH, "zh": words_zh.CHINESE}
CALLED = {"en": "English", "zh": "中文"}
"""What each language calls itself."""

_NAMES = {"en": words_en.NAMES, "zh": words_zh.NAMES}
_METRICS = {"en": words_en.METRICS, "zh": words_zh.METRICS}


def counted(count: int, unit: str, words: Words) -> str:
    """Return "1 document" or "1,424 conversations"; ledgers name their units in the singular."""
    if words["lang"] == "zh":
        return f"{count:,} {unit_of(unit, words)}"
    return f"{count:,} {unit}" + ("" if count == 1 else "s")


def unit_of(unit: str, words: Words) -> str:
    """Return what a language calls a ledger's unit; an unknown one keeps its own name."""
    return words_zh.UNITS.get(unit, unit) if words["lang"] == "zh" else unit


def name_of(subject: Subject, words: Words) -> str:
    """Return what the page calls a figure; an unknown one keeps its own name, as does an unknown split."""
    known = _NAMES[words["lang"]].get(subject)
    if known:
        return known[0]
    return f"{_METRICS[words['lang']].get(subject.name, subject.name)} ({subject.split})".replace("_", " ")


def axis_of(subject: Subject, words: Words) -> str:
    """Return the short label of a figure on the radar, in two lines at most."""
    known = _NAMES[words["lang"]].get(subject)
    return known[1] if known else f"{subject.name}\n{subject.split}".replace("_", " ")


def dimension_of(name: str, words: Words) -> str:
    """Return what the page calls a dimension; a kind of task keeps its own name."""
    if name.startswith("task:"):
        return words["dim_task"].format(task=name.removeprefix("task:").strip().replace("_", " "))
    return words.get(f"dim_{name}", name.replace("_", " "))
