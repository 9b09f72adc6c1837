"""The report: one page for people and one object for programs, from examinations, trainings and ledgers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from metier.core import Artifact, Step, Work
from metier.core.types import Export, Model, Report, Scores


class WriteReport(Step[Report]):
    """Write the report: `report.html`, one self-contained page in English and Chinese, and `report.json`, all of it.

    Nothing on the page is judged by eye: what is called learnt or lost follows from intervals, the answers shown are
    chosen by a stated rule, and every ledger line is added up again. What is not given is not on the page.
    """

    name = "report"
    version = 3  # the gate is on the page, and what explains it is folded
    extras = ("evaluate",)

    models: dict[str, Step[Scores]] = Field(
        min_length=1,
        description="label → examination of that model, the base first and the final model last; those of the base with"
        " shots or retrieval are its baselines",
    )
    controls: dict[str, Step[Scores]] = Field(
        default={}, description="label → examination of a control, such as the same training on general text alone"
    )
    benchmarks: tuple[Step[Scores], ...] = Field(
        default=(), description="public benchmarks of the same models, held against the base's"
    )
    training: tuple[Step[Model], ...] = Field(default=(), description="trained models, for their loss curves and cost")
    ledger: tuple[Step[Artifact], ...] = Field(
        default=(), description="steps whose ledgers lead from file to training token (documents, conversations, …)"
    )
    export: Step[Export] | None = Field(default=None, description="what leaves the house, for its parity")
    doctor: Step[Artifact] | None = Field(default=None, description="the doctor's diagnosis of the final model")
    leaks: Step[Artifact] | None = Field(default=None, description="the leak check of the exam that the models sat")
    decoding: Step[Artifact] | None = Field(default=None, description="the search for the best decoding")
    speed: tuple[Step[Artifact], ...] = Field(default=(), description="inference benchmarks")
    judge: Step[Scores] | None = Field(default=None, description="what a judge made of the models' answers")
    language: Literal["en", "zh"] = Field(
        default="en", description="the language that the page opens in; the other is one click away"
    )
    title: str | None = Field(default=None, description="the page's title")

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        twice = self.models.keys() & self.controls.keys()
        if twice:
            raise ValueError(f"models and controls both have {', '.join(sorted(twice))}")
        return self

    def run(self, work: Work) -> None:
        """Read what was made, check that it fits together, and write the two files."""
        from metier.core.files import write_json_atomic, write_text_atomic
        from metier.evaluate.report.facts import as_json, gather
        from metier.evaluate.report.material import Material
        from metier.evaluate.report.page import html

        facts = gather(
            Material(
                title=self.title,
                page=work.folder.name,
                models=_made(work, self.models),
                controls=_made(work, self.controls),
                benchmarks=[work.made(step) for step in self.benchmarks],
                training=[work.made(step) for step in self.training],
                ledger=_each(work, self.ledger),
                export=work.made(self.export) if self.export is not None else None,
                doctor=work.made(self.doctor) if self.doctor is not None else None,
                leaks=work.made(self.leaks) if self.leaks is not None else None,
                decoding=work.made(self.decoding) if self.decoding is not None else None,
                speed=_each(work, self.speed),
                judge=work.made(self.judge) if self.judge is not None else None,
            )
        )
        write_text_atomic(work.folder / "report.html", html(facts, self.language))
        write_json_atomic(work.folder / "report.json", as_json(facts))
        work.figure("rows", len(facts.figures.rows))


def _made(work: Work, steps: Mapping[str, Step[Scores]]) -> dict[str, Scores]:
    return {label: work.made(step) for label, step in steps.items()}


def _each(work: Work, steps: Iterable[Step[Artifact]]) -> list[Artifact]:
    return [work.made(step) for step in steps]
