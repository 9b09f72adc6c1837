"""The faults judged together and written down, each with its evidence and its remedies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from metier.core import Step
from metier.evaluate.doctor.arithmetic import Measured, adjusted
from metier.evaluate.doctor.faults import Looked, Seen
from metier.evaluate.doctor.lineage import Lineage
from metier.evaluate.doctor.remedies import Remedy, named, remedies
from metier.evaluate.doctor.step import VERSION
from metier.evaluate.gate import ALPHA


def judged(faults: Sequence[Looked]) -> list[Looked]:
    """Return the faults with p-values adjusted over all tests of all faults; counted facts take no part in that."""
    tests = adjusted([test for looked in faults for test in looked.tests if test.interval is not None])
    left = iter(tests)
    return [
        looked._replace(tests=[next(left) if test.interval is not None else test for test in looked.tests])
        for looked in faults
    ]


def is_found(test: Measured) -> bool:
    """Whether a test finds its fault. Its p-value is one-sided, so the measure lies beyond the bound."""
    return test.p <= ALPHA


def diagnose(
    faults: Sequence[Looked], seen: Seen, lineage: Lineage, sources: Sequence[Step[Any]], exam: Step[Any] | None
) -> dict[str, Any]:
    """Return the diagnosis as JSON values."""
    told = []
    steps: set[str] = set()
    for looked in judged(faults):
        found = any(map(is_found, looked.tests))
        ways = remedies(looked, seen, lineage, sources, exam) if found else []
        for way in ways:
            steps |= {name for change in way.changes for name in named(change)}
        told.append(_told(looked, found, ways))
    folders = {name: folder for folder, name in lineage.names.items()}
    return {
        "version": VERSION,
        "model": seen.sitting.model,
        "against": seen.sitting.against,
        "healthy": not any(fault["found"] for fault in told),
        "level": ALPHA,
        "exam": seen.sitting.card.get("digest"),
        "faults": told,
        "recipe": {name: folders[name] for name in sorted(steps & folders.keys())},
    }


def _told(looked: Looked, found: bool, ways: list[Remedy]) -> dict[str, Any]:
    worst = min(looked.tests, key=lambda test: (test.p, test.interval is None), default=None)
    told = [worst.words] if worst is not None else []
    told += [f"not checked: {looked.unchecked}"] if looked.unchecked else []
    return {
        "fault": looked.fault,
        "title": looked.title,
        "found": found,
        "checked": worst is not None,
        "words": "; ".join(told),
        **_measure(worst),
        "checks": [
            {"name": test.name, "what": test.what, "found": is_found(test), **_measure(test), "words": test.words}
            for test in looked.tests
        ],
        "reason": looked.reason,
        "evidence": looked.evidence if found else [],
        "remedy": ways[0]._asdict() if ways else None,
        "alternatives": [way._asdict() for way in ways[1:]],
    }


def _measure(test: Measured | None) -> dict[str, Any]:
    if test is None:
        return dict.fromkeys(("measured", "bound", "unit", "interval", "n", "p", "sees"))
    exact = test.interval is None
    return {
        "measured": test.measured,
        "bound": test.bound,
        "unit": test.unit,
        # JSON knows no infinity: an interval of too few clusters has no end there
        "interval": [end if math.isfinite(end) else None for end in test.interval] if test.interval else None,
        "n": test.n,
        "p": None if exact else test.p,
        "sees": test.sees,
    }
