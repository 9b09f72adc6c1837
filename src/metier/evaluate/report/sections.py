"""What other steps found, for the page: the doctor, the search for a decoding, the speed, the judge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metier.core.artifact import Artifact
from metier.core.errors import Failure, Mistake
from metier.core.types import Score, Scores


def read_json(artifact: Artifact, name: str, field: str) -> dict[str, Any]:
    """Return what `name` in an artifact's folder holds.

    Raises:
        Mistake: there is no such file: another kind of step was named.
        Failure: it cannot be read.
    """
    path = artifact.folder / name
    if not path.is_file():
        step = artifact.record.step
        raise Mistake(
            f"the report's '{field}' holds no {name}", found=f"a '{step}' step", hint=f"see `{field}` of report"
        )
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return told
    except ValueError as error:
        raise Failure(f"{path} cannot be read", found=str(error), hint="remove its folder and run again") from error


def diagnosis(artifact: Artifact) -> dict[str, Any]:
    """Return the doctor's diagnosis, each remedy's changes as lines that a recipe could be changed by."""
    told = read_json(artifact, "diagnosis.json", "doctor")
    faults = [{**dict.fromkeys(_FAULT), **fault, "changes": changes(fault.get("remedy"))} for fault in told["faults"]]
    return {**told, "faults": faults}


_FAULT = ("measured", "bound", "unit", "interval", "n", "evidence", "remedy")


def changes(remedy: Mapping[str, Any] | None) -> list[str]:
    """Return a remedy's changes to a recipe, one a line: "cpt.replay_share: 0.1 → 0.3".

    >>> changes({"changes": [{"step": "cpt", "field": "replay_share", "from": 0.1, "to": 0.3}]})
    ['cpt.replay_share: 0.1 → 0.3']
    """
    found = []
    for change in (remedy or {}).get("changes") or []:
        if "insert" in change:
            entry = change["insert"]["entry"]
            fields = ", ".join(f"{name}: {value}" for name, value in entry.items())
            found.append(f"+ {change['insert']['name']}: {{{fields}}}")
        else:
            before = change.get("from")
            old = "–" if before is None else _told(before)
            found.append(f"{change['step']}.{change['field']}: {old} → {_told(change.get('to'))}")
    return found


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def leaks(artifact: Artifact, exam: str | None, most: int = 5) -> dict[str, Any]:
    """Return how many of the exam's questions leak, by kind, and the first `most` of them with their evidence.

    Args:
        exam: the digest of the exam that the models sat.

    Raises:
        Mistake: it is no leak check, or it looked at another exam.
        Failure: what it found cannot be read.
    """
    told = read_json(artifact, "report.json", "leaks")
    path = artifact.folder / "leaks.jsonl"
    if not path.is_file() or "questions" not in told:
        raise Mistake("the report's 'leaks' is no leak check", found=f"a '{artifact.record.step}' step")
    if exam is not None and told.get("exam") != exam:
        raise Mistake(
            "the leak check looked at another exam than the models sat",
            found=f"{artifact.folder.name} is of exam {str(told.get('exam'))[:16]}, the models sat {exam[:16]}",
            hint="name the same `exam` step in both",
        )
    try:
        # Only "\n" ends a row: JSON leaves other ends of lines (U+2028, U+0085) in a text as they are.
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except ValueError as error:
        raise Failure(f"{path} cannot be read", found=str(error), hint="remove its folder and run again") from error
    return {"questions": told["questions"], "leaks": told["leaks"], "shown": rows[:most]}


def decoding(artifact: Artifact) -> dict[str, Any]:
    """Return what the search for a decoding found, the best candidates first, as it ranks them."""
    return {"confirmed": None, **read_json(artifact, "decoding.json", "decoding")}


def speed(artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Return what each inference benchmark measured."""
    found = []
    for artifact in artifacts:
        told = read_json(artifact, "speed.json", "speed")
        cells = [{**dict.fromkeys(_CELL), **cell} for cell in told["cells"]]
        found.append({"machine": "", **told, "cells": cells})
    return found


_CELL = ("tokens_per_second", "first_token_seconds", "memory_bytes", "gpu_bytes", "errors", "reason", "repeats")
"""What a cell that could not be measured may lack."""


class Judged(NamedTuple):
    """What one judge found: its own account, and its figures by model."""

    judge: str
    told: dict[str, Any]
    models: list[dict[str, Any]]

    @property
    def contradicts(self) -> bool:
        """Whether it decided too many pairs otherwise when the answers changed places; a coin does so in half."""
        disagreed = (self.told.get("bias") or {}).get("disagreed")
        return disagreed is not None and disagreed["value"] >= self.told.get("max_disagreed", 0.5)

    @property
    def columns(self) -> list[str]:
        """The names of its figures, in their order."""
        return list(dict.fromkeys(name for row in self.models for name in row["figures"]))


def judged(artifact: Scores) -> Judged:
    """Return what a judge found, the strongest model first."""
    told = read_json(artifact, "judge.json", "judge")
    rows: dict[str, dict[str, Score]] = {}
    for figure in artifact.figures():
        rows.setdefault(figure.model, {})[figure.name.removeprefix("judge_")] = figure
    strongest = sorted(rows, key=lambda label: -_strength(rows[label]))
    models: list[dict[str, Any]] = [{"model": label, "figures": rows[label]} for label in strongest]
    return Judged(str(artifact.record.figures.get("judge", "?")), told, models)


def _strength(figures: Mapping[str, Score]) -> float:
    best = figures.get("elo") or figures.get("grade_all")
    return best.value if best is not None else 0.0
