"""The report: one page for people and one list for programs, from examinations, trainings and ledgers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from metier.core import Artifact, Step, Work
from metier.core.types import Export, Model, Report, Scores


class WriteReport(Step[Report]):
    """Write the report: `report.html`, one self-contained page, and `report.json`, all figures as a list.

    Nothing on the page is judged by eye: what is called learnt or lost follows from intervals, the answers shown are
    chosen by a stated rule, and every ledger line is added up again.
    """

    name = "report"
    extras = ("evaluate",)

    models: dict[str, Step[Scores]] = Field(
        min_length=1, description="label → examination of that model, the base first and the final model last"
    )
    controls: dict[str, Step[Scores]] = Field(
        default={}, description="label → examination of a control, such as the same training on general text alone"
    )
    training: tuple[Step[Model], ...] = Field(default=(), description="trained models, for their loss curves")
    ledger: tuple[Step[Artifact], ...] = Field(
        default=(), description="steps whose ledgers lead from file to training token (documents, conversations, …)"
    )
    export: Step[Export] | None = Field(default=None, description="what leaves the house, for its parity")
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
        from metier.evaluate.report.page import Material, html
        from metier.evaluate.report.words import ENGLISH

        material = Material(
            title=self.title,
            page=work.folder.name,
            models=_made(work, self.models),
            controls=_made(work, self.controls),
            training=[work.made(step) for step in self.training],
            ledger=[_plain(work.made(step)) for step in self.ledger],
            export=work.made(self.export) if self.export is not None else None,
        )
        figures = material.figures()
        write_text_atomic(work.folder / "report.html", html(material, figures, ENGLISH))
        write_json_atomic(work.folder / "report.json", [row._asdict() for row in figures.rows])
        work.figure("rows", len(figures.rows))


def _made(work: Work, steps: Mapping[str, Step[Scores]]) -> dict[str, Scores]:
    return {label: work.made(step) for label, step in steps.items()}


def _plain(artifact: Artifact) -> Artifact:
    return artifact
