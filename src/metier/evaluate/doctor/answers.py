"""An examination as the doctor reads it: free answers with their references, and losses, of one model or of two."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from metier.core.errors import Failure, Mistake
from metier.core.types import Scores
from metier.evaluate.answer_log import Place
from metier.evaluate.compare import read_answers, require_one_setting
from metier.evaluate.examine import IN_SQL

Row = Mapping[str, Any]


class Pair(NamedTuple):
    """One item: what the model answered and, where there is another to hold it against, what that one answered."""

    place: Place
    row: Row
    before: Row | None

    @property
    def cluster(self) -> str:
        """Items of one cluster succeed and fail together."""
        return str(self.row.get("cluster") or self.row["id"])

    @property
    def general(self) -> bool:
        """Whether the request has nothing to do with the trade; the reference is then the origin's own reply."""
        return self.place.name == IN_SQL or self.place.split.startswith("general")

    @property
    def expected(self) -> str:
        """The reference."""
        return str(self.row.get("expected") or "")


class Sitting(NamedTuple):
    """An examination, item by item. `against` is the label of the other model, None if there is none."""

    model: str
    against: str | None
    card: dict[str, Any]
    pairs: list[Pair]

    @property
    def max_tokens(self) -> int | None:
        """Most tokens of an answer, as far as the exam says."""
        found = self.card.get("conditions", {}).get("max_tokens")
        return int(found) if found is not None else None

    def free(self, wanted: Callable[[Pair], bool] = lambda _: True) -> list[Pair]:
        """Return the items that were answered freely, with text that a person can read."""
        return [pair for pair in self.pairs if "finished" in pair.row and "answer" in pair.row and wanted(pair)]

    def losses(self, wanted: Callable[[Place], bool]) -> list[Pair]:
        """Return the items whose likelihood was measured."""
        return [pair for pair in self.pairs if "nats" in pair.row and wanted(pair.place)]


def read(scores: Scores, against: Scores | None) -> Sitting:
    """Read an examination, and that of the other model with the same exam.

    Raises:
        Mistake: the two sat unlike exams or were asked in unlike ways, or nothing was answered.
        Failure: answers are missing, or hold a number that is none.
    """
    card, rows = _card(scores), read_answers(scores.folder)
    if not rows:
        raise Mistake(f"{scores.folder.name} holds no answers", hint="give the doctor the result of an `examine` step")
    if against is None:
        return Sitting(_label(scores), None, card, [Pair(place, row, None) for place, row in rows.items()])
    other, before = _card(against), read_answers(against.folder)
    unlike = [key for key in ("conditions", "counts", "digest") if card.get(key) != other.get(key)]
    if unlike:
        raise Mistake(
            "results of unlike exams cannot be compared",
            found=f"{', '.join(unlike)} of {scores.folder.name} and {against.folder.name} differ",
            hint="examine both models with the same step and the same questions",
        )
    require_one_setting(scores, against)
    missing = [place for place in rows if place not in before]
    if missing:
        raise Failure(
            "two examinations with one exam hold different items",
            found=f"{missing[0].id} is not among the answers of {against.folder.name}",
            hint="remove both folders and run again",
        )
    pairs = [Pair(place, row, before[place]) for place, row in rows.items()]
    return Sitting(_label(scores), _label(against), card, pairs)


def _label(scores: Scores) -> str:
    figures = scores.figures()
    return figures[0].model if figures else scores.folder.name


def _card(scores: Scores) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads((scores.folder / "exam.json").read_text())
    except (OSError, ValueError) as error:
        raise Mistake(
            f"{scores.folder.name} does not say with which exam it was made",
            hint="give the doctor the result of an `examine` step",
        ) from error
    return card


def examples(pairs: Iterator[tuple[Pair, str]], most: int = 3) -> list[dict[str, str]]:
    """Return the first examples as evidence: where, what was said, what was expected, and why it counts."""
    return [
        {
            "where": "/".join(pair.place),
            "said": _short(str(pair.row.get("answer", ""))),
            "expected": _short(pair.expected),
            "why": why,
        }
        for (pair, why), _ in zip(pairs, range(most), strict=False)
    ]


def _short(text: str, most: int = 400) -> str:
    """Cut in the middle: how an answer begins and how it ends are both told."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"
