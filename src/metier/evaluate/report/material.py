"""The finished artifacts that a report is made from, and what is read out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from metier.core.artifact import Artifact
from metier.core.types import Export, Model, Scores
from metier.evaluate.baselines import Enough, Setting, enough, setting_of, untrained
from metier.evaluate.report import answers, benchmarks
from metier.evaluate.report.figures import Figures
from metier.evaluate.report.metrics import Kind
from metier.evaluate.report.pairing import pairing


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that a report was given. `page` is what its own folder is called."""

    page: str
    models: Mapping[str, Scores]
    controls: Mapping[str, Scores] = field(default_factory=dict)
    benchmarks: Sequence[Scores] = ()
    training: Sequence[Model] = ()
    ledger: Sequence[Artifact] = ()
    export: Export | None = None
    doctor: Artifact | None = None
    leaks: Artifact | None = None
    decoding: Artifact | None = None
    speed: Sequence[Artifact] = ()
    judge: Scores | None = None
    title: str | None = None

    @cached_property
    def examinations(self) -> dict[str, Scores]:
        """Models and controls by label."""
        return {**self.models, **self.controls}

    @cached_property
    def items(self) -> Mapping[str, answers.Items]:
        """The graded items of each model and control. Raises Failure where they are not all there."""
        return {label: answers.read_items(one.folder, label, one.figures()) for label, one in self.examinations.items()}

    @cached_property
    def settings(self) -> Mapping[str, Setting]:
        """How each model and control was asked."""
        return {label: setting_of(scores) for label, scores in self.examinations.items()}

    @cached_property
    def figures(self) -> Figures:
        """All figures. Raises Failure if answers are missing, Mistake if the models sat unlike exams."""
        models = {label: scores.figures() for label, scores in self.models.items()}
        controls = {label: scores.figures() for label, scores in self.controls.items()}
        figures = Figures(models, controls, self._asked())
        if self.items:  # read, and so known to be whole, before anything is compared
            figures.compare = pairing(self.examinations)
        return figures

    def _asked(self) -> dict[str, str | None]:
        """Return which examinations showed examples or passages, and as what the same model was asked plainly."""
        by_model = {label: scores.record.inputs.get("model") for label, scores in self.models.items()}
        plain = [label for label in self.models if not self.settings[label].words]
        return {
            label: next((one for one in plain if by_model[one] == by_model[label]), None)
            for label in self.models
            if label not in plain
        }

    @cached_property
    def benchmark_figures(self) -> Figures | None:
        """The figures of public benchmarks under the same labels, None where none were taken."""
        return benchmarks.figures(self.benchmarks, self.models) if self.benchmarks else None

    @cached_property
    def needed(self) -> Enough | None:
        """Whether asking the base in another way would have done; None where that was not tried."""
        figures = self.figures
        baselines = untrained(self.models)
        graded = [s.metric for s in figures.subjects if s.metric.kind is Kind.SHARE and not s.metric.forgetting]
        if not any(metric.higher_is_better for metric in graded) or figures.final in baselines:
            return None
        if not any(self.settings[label].words for label in baselines):
            return None
        return enough(baselines, self.models[figures.final], figures.final)

    @cached_property
    def exam(self) -> Mapping[str, Any]:
        """What the base's examination says about itself in its record: conditions, chance levels."""
        return next(iter(self.models.values())).record.figures

    def everything(self) -> list[Artifact]:
        """Return every artifact once, in the order in which they were given."""
        found = [*self.ledger, *self.training, *self.examinations.values(), *self.benchmarks, *self.speed]
        found += [one for one in (self.judge, self.doctor, self.leaks, self.decoding, self.export) if one is not None]
        return list({artifact.folder: artifact for artifact in found}.values())
