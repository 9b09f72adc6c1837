"""Whether the training was needed: the cheapest way of asking the base model that is not clearly worse.

Of every graded figure of the trade it is asked whether the baseline is worse than the final model, by the gate's own
test: signs of whole clusters are flipped, and Holm's method keeps the chance of one false "worse" over all
figures at 5%. "Not clearly worse" is not "as good": how much the intervals still allow is told beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from metier.core.errors import Failure, Mistake
from metier.core.types import Scores
from metier.evaluate.answer_log import AnswerLog
from metier.evaluate.compare import SETTING, Difference, Kind, compare
from metier.evaluate.gate import ALPHA, SOUGHT, Paired, chance, holm
from metier.evaluate.report.metrics import Subject

__all__ = ["SETTING", "Enough", "Rival", "Setting", "enough", "setting_of", "untrained"]


class Setting(NamedTuple):
    """How a model is asked: examples shown, passages shown, and the names of the figures not measured so."""

    shots: int = 0
    passages: int = 0
    skipped: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The setting in words; nothing for a model that is asked plainly."""
        parts = [f"few-shot ({self.shots})"] * bool(self.shots) + [f"RAG ({self.passages})"] * bool(self.passages)
        return " + ".join(parts)

    @property
    def suffix(self) -> str:
        """What is put behind a model's name: "+few-shot+RAG"."""
        return "+few-shot" * bool(self.shots) + "+RAG" * bool(self.passages)


class Rival(NamedTuple):
    """One baseline against the final model.

    `differences` are baseline - final, paired by item; `chances` are the one-sided p-values, by Holm's method, that the
    baseline is no worse.
    """

    label: str
    setting: Setting
    differences: list[Difference]
    chances: list[float]

    @property
    def worse(self) -> bool:
        """Whether it is clearly worse on some figure."""
        return min(self.chances) <= ALPHA

    @property
    def most(self) -> float:
        """The greatest loss that the intervals still allow, as a share: 0.12 is 12 points."""
        return max(0.0, *(-difference.low for difference in self.differences))

    @property
    def close(self) -> bool:
        """Whether it is shown to be as good, within 3 points on every figure, and not only not shown to be worse."""
        return not self.worse and self.most <= SOUGHT


class Enough(NamedTuple):
    """The baselines, cheapest first, held against the final model."""

    final: str
    rivals: list[Rival]

    @property
    def found(self) -> Rival | None:
        """The cheapest baseline that is not clearly worse; None where the training was needed."""
        return next((rival for rival in self.rivals if not rival.worse), None)

    @property
    def words(self) -> str:
        """The verdict in words."""
        best = self.found
        if best is None:
            names = ", ".join(rival.label for rival in self.rivals)
            return f"The training was needed: {names} {'is' if len(self.rivals) == 1 else 'are'} clearly worse."
        what = best.setting.words or "The base model as it is"
        if best.close:
            return f"{what} is enough: {best.label} is within {100 * SOUGHT:g} points of {self.final} on every figure."
        return (
            f"{what} may be enough: {best.label} is not clearly worse than {self.final}. "
            f"This exam cannot tell a loss of up to {100 * best.most:.0f} points; more items would."
        )


def enough(baselines: Mapping[str, Scores], final: Scores, label: str = "the final model") -> Enough:
    """Hold baselines, cheapest first, against the final model.

    Raises:
        Mistake: there is no baseline, they sat unlike exams, or the exam grades nothing of the trade.
        Failure: answers are missing.
    """
    if not baselines:
        raise Mistake(
            "there is no baseline to compare with", hint="examine the base model, also with shots and retrieval"
        )
    return Enough(label, [_rival(name, scores, final) for name, scores in baselines.items()])


def _rival(label: str, baseline: Scores, final: Scores) -> Rival:
    differences = [one for one in compare(final, baseline) if _of_the_trade(one)]
    if not differences:
        raise Mistake(
            "the exam grades nothing by which a baseline could be enough",
            found=f"no graded figure of the trade in {final.folder.name}",
            hint="give the exam `tasks` or `choices`",
        )
    before, after = (AnswerLog(scores.folder / "answers.jsonl").rows for scores in (final, baseline))
    chances = []
    for one in differences:
        places = [place for place in before if (place.name, place.split) == (one.name, one.split)]
        gains = [float(after[place]["score"]) - float(before[place]["score"]) for place in places]
        clusters = [before[place].get("cluster") or place.id for place in places]
        chances.append(chance(Paired(gains, [1.0] * len(gains), clusters)))
    return Rival(label, setting_of(baseline), differences, holm(chances))


def _of_the_trade(one: Difference) -> bool:
    metric = Subject(one.name, one.split).metric
    return one.kind is Kind.DIFFERENCE and not metric.forgetting and metric.higher_is_better is not False


def setting_of(scores: Scores) -> Setting:
    """Return how the model of an examination was asked; plainly where its folder does not say."""
    path = scores.folder / SETTING
    if not path.is_file():
        return Setting()
    try:
        told: dict[str, Any] = json.loads(path.read_text())
        return Setting(int(told["shots"]), int(told["passages"]), tuple(told["skipped"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(
            f"{path} cannot be read",
            found=f"{type(error).__name__}: {error}",
            hint=f"remove {scores.folder} and run again",
        ) from error


def untrained(models: Mapping[str, Scores]) -> dict[str, Scores]:
    """Return the examinations of the same model as the first one, cheapest first: plain, few-shot, RAG, both."""
    base = next(iter(models.values())).record.inputs.get("model")
    same = {label: scores for label, scores in models.items() if scores.record.inputs.get("model") == base}

    def cost(label: str) -> tuple[int, int]:
        setting = setting_of(same[label])
        return setting.passages, setting.shots

    return {label: same[label] for label in sorted(same, key=cost)}
