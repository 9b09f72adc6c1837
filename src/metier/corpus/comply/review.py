"""The review file: what was objected to, for a person to decide on, and the decisions that a person made.

One JSON object a line. A person writes `keep` or `drop` into `decision`, and gives the file to the step. `key` ties a
decision to the document's text: a text that changed since is undecided again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from metier.core import Mistake
from metier.corpus.scores import Row, Scores

Decision = Literal["keep", "drop"]
DECISIONS: tuple[Decision, ...] = ("keep", "drop")
REVIEW = "review.jsonl"


class Decided(NamedTuple):
    """What a person decided on a document, and the category that was told."""

    decision: Decision
    category: str
    line: int


def read_decisions(path: Path) -> dict[int, Decided]:
    """Return the decisions of a review file by the key of the document; those left open are not among them.

    Raises:
        Mistake: a line is no row of a review file, says something else than keep or drop, or contradicts another.
    """
    decided: dict[int, Decided] = {}
    try:
        lines = path.read_text("utf-8-sig").split("\n")  # a text may hold other ends of lines, such as U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"{path.name} cannot be read", found=str(error), hint="give a filled-in review.jsonl") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, decision, category = int(row["key"], 16), row["decision"], row["category"]
        except (ValueError, TypeError, KeyError) as error:
            raise Mistake(
                f"{path.name}:{number} is no row of a review file",
                found=f"{type(error).__name__}: {error}",
                hint="change nothing but `decision`",
            ) from error
        told = decision.strip().lower() if isinstance(decision, str) else decision
        if told in ("", None):
            continue
        if told not in DECISIONS:
            raise Mistake(
                f"{path.name}:{number} has a decision that is none", found=repr(decision), hint="write keep or drop"
            )
        before = decided.get(key)
        if before is not None and before.decision != told:
            raise Mistake(
                f"{path.name}:{number} contradicts line {before.line}",
                found=f"{before.decision}, then {told}, on one document",
                hint="leave one of the two lines",
            )
        decided[key] = Decided(told, str(category), number)
    return decided


def write_review(path: Path, scores: Scores, decided: Mapping[int, Decided]) -> int:
    """Write a line for each document that was objected to, the worst first, and return how many."""
    rows = [row for row in scores.rows() if row.detail]
    rows.sort(key=lambda row: (-(row.score or 0.0), row.id))
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            known = decided.get(row.key)
            told = {
                "decision": known.decision if known else "",
                "category": category_of(row),
                "score": round(row.score or 0.0, 3),
                "source": row.source,
                "part": row.part,
                "id": row.id,
                "key": f"{row.key:016x}",
                "objections": row.detail,
            }
            out.write(json.dumps(told, ensure_ascii=False) + "\n")
    return len(rows)


def category_of(row: Row) -> str:
    """Return the category of the worst objection to a document."""
    return str(row.detail[0]["category"])
