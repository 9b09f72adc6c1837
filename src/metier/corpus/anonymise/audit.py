"""What was found and what became of it, in numbers: never a value."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

_MOST_SOURCES = 200
_MOST_SHAPES = 5
_LONGEST_SHAPE = 40
OTHER = "(other sources)"
TOP = "(top folder)"


def shape(value: str) -> str:
    """Return what a value looks like: letters as X and x, digits as 9, Chinese characters as 字, runs of three at most.

    `anna.schmidt@firma.de` is `xxx.xxx@xxx.xx`: nothing of it can be told from that.
    """
    kinds = "".join(map(_kind, value[: 4 * _LONGEST_SHAPE]))
    short = re.sub(r"(.)\1{3,}", r"\1\1\1", kinds)
    return short if len(short) <= _LONGEST_SHAPE else short[:_LONGEST_SHAPE] + "…"


def _kind(character: str) -> str:
    if character.isdigit():
        return "9"
    if character.isupper():
        return "X"
    if character.islower():
        return "x"
    return "字" if character.isalpha() else " " if character.isspace() else character


def note_of(*parts: str) -> str:
    """Return the name under which the engine sums a count."""
    return "\t".join(part.replace("\t", " ") for part in parts)


def audit(notes: Mapping[str, int], documents: int, dropped: Mapping[str, int]) -> dict[str, Any]:
    """Return the report on a corpus from the engine's sums.

    Returns:
        `found`: for each kind its count, the counts by action, and its commonest shapes; `sources`: for each source
        (the first part of its path, or its host) the counts by kind, the 200 with most; `left_out`: documents by
        reason.
    """
    found: dict[str, dict[str, Any]] = {}
    sources: dict[str, Counter[str]] = {}
    shapes: dict[str, Counter[str]] = {}
    for name, count in notes.items():
        what, label, *rest = name.split("\t")
        if what == "shape":
            shapes.setdefault(label, Counter())[rest[0]] += count
            continue
        action, source = rest
        entry = found.setdefault(label, {"count": 0, "actions": Counter()})
        entry["count"] += count
        entry["actions"][action] += count
        sources.setdefault(source or TOP, Counter())[label] += count
    for label, entry in found.items():
        entry["actions"] = dict(sorted(entry["actions"].items()))
        entry["shapes"] = [name for name, _ in _commonest(shapes.get(label, Counter()), _MOST_SHAPES)]
    totals = Counter({source: counts.total() for source, counts in sources.items()})
    named = [source for source, _ in _commonest(totals, _MOST_SOURCES)]
    shown = {source: dict(sorted(sources[source].items())) for source in named}
    rest_of_them = sum((sources[source] for source in sources if source not in shown), Counter[str]())
    if rest_of_them:
        shown[OTHER] = dict(sorted(rest_of_them.items()))
    return {
        "documents": documents,
        "left_out": dict(sorted(dropped.items())),
        "found": dict(sorted(found.items(), key=lambda item: (-item[1]["count"], item[0]))),
        "sources": shown,
    }


def _commonest(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    """Return the largest counts, equal ones in the order of their names."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
