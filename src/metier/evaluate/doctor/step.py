"""The step that says what is wrong with a trained model, and which fields of the recipe mend it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from metier.core import Artifact, Estimate, Failure, Step, Work
from metier.core.types import Conversations, Documents, Exam, Model, Preferences, Scores

if TYPE_CHECKING:
    from metier.core.chat import Message
    from metier.core.host import Host
    from metier.evaluate.doctor.faults import Seen

VERSION = 1  # of diagnosis.json
_ROWS_RENDERED = 500  # of each source: one template renders them all


class Diagnosis(Artifact):
    """What is wrong with a model: `diagnosis.json`, and `diagnosis.md` for people."""

    def read(self) -> dict[str, Any]:
        """Return the diagnosis as `Doctor` describes it. Raises Failure if it cannot be read."""
        path = self.folder / "diagnosis.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise Failure(f"{self.folder.name} holds no diagnosis that can be read", found=str(error)) from error
        if found.get("version") != VERSION:
            raise Failure(
                f"the diagnosis in {self.folder.name} is of another version of Metier",
                found=f"version {found.get('version')}, this one reads {VERSION}",
                hint="run the `doctor` step again",
            )
        return found


class Doctor(Step[Diagnosis]):
    """Say what is wrong with a trained model, from its examination and its training data; the model does not run.

    Seven faults are looked for: a missing end token, repetition, forgetting, contamination, and drift of length,
    refusals and form. Each has a bound with its reason, an interval and a test; over all of them together a healthy
    model is called ill in at most 5 of 100 diagnoses. `metier fix` writes the remedies into the recipe.

    `diagnosis.json`: {"version", "model", "against", "healthy", "level", "exam", "faults": [{"fault", "title", "found",
    "checked", "words", "measured", "bound", "unit", "interval", "n", "p", "sees", "checks": [...], "reason",
    "evidence": [{"where", "said", "expected", "why"}], "remedy": {"kind", "why", "changes": [{"step", "field", "from",
    "to"} | {"insert": {"name", "entry"}, "after"}]}, "alternatives": [...]}], "recipe": {name: folder}}.
    """

    name: ClassVar[str] = "doctor"
    version: ClassVar[int] = 2  # one rule with `leak-check` of what of an exam is looked for in training data
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    model: Step[Model] = Field(description="The model; of its folder only the tokenizer and the end tokens are read.")
    scores: Step[Scores] = Field(description="Its examination.")
    against: Step[Scores] | None = Field(
        None, description="The examination of the model it came from, with the same exam; without it less is seen."
    )
    exam: Step[Exam] | None = Field(None, description="That exam, to look for its items in the training data.")
    trained_on: tuple[Step[Artifact], ...] = Field(
        (), description="The training data: documents, conversations or preference pairs, as they were trained on."
    )
    training: tuple[Step[Model], ...] = Field(
        (), description="The steps that trained it, whose fields the remedies change."
    )

    @model_validator(mode="after")
    def _readable(self) -> Doctor:
        for step in self.trained_on:
            if not issubclass(step.makes, Documents | Conversations | Preferences):
                raise ValueError(
                    f"`trained_on` takes documents, conversations or preferences; '{step.name}' makes "
                    f"{step.makes.__name__}: name what it was made from"
                )
        return self

    def run(self, work: Work) -> None:
        """Write diagnosis.json and diagnosis.md."""
        from metier.core.files import write_json_atomic, write_text_atomic
        from metier.core.recipe import import_rooms
        from metier.evaluate.doctor.diagnosis import diagnose
        from metier.evaluate.doctor.faults import look
        from metier.evaluate.doctor.lineage import Lineage
        from metier.evaluate.doctor.words import markdown

        import_rooms()  # the remedies name steps of other rooms, where these are installed
        seen = self._seen(work)
        exam = [self.exam] if self.exam is not None else []
        lineage = Lineage(work, self.training, [*self.trained_on, *exam])
        found = diagnose(look(seen), seen, lineage, list(self.trained_on), self.exam)
        write_json_atomic(work.folder / "diagnosis.json", found)
        write_text_atomic(work.folder / "diagnosis.md", markdown(found))
        faults = [fault["fault"] for fault in found["faults"] if fault["found"]]
        work.figure("faults", faults)
        work.count("answer", len(seen.sitting.pairs), len(seen.sitting.pairs), made={"diagnosis": 1})
        for fault in found["faults"]:
            if fault["found"]:
                work.warn(f"{fault['title'].lower()}: {fault['words']}")

    def estimate(self, host: Host) -> Estimate | None:
        """Return that it takes a minute at the most for data of the usual size: nothing is asked of the model."""
        return Estimate(seconds=60)

    def _seen(self, work: Work) -> Seen:
        from metier.core.engine.chat import load_tokenizer
        from metier.evaluate.doctor import answers, faults, trained_on
        from metier.evaluate.leak_check import generated
        from metier.evaluate.material import read_material

        folder = work.made(self.model).model_folder
        tokenizer = load_tokenizer(folder)
        against = work.made(self.against) if self.against is not None else None
        sitting = answers.read(work.made(self.scores), against)
        sources: list[Artifact] = [work.made(step) for step in self.trained_on]
        ends = trained_on.ends(tokenizer, folder, _some_conversations(sources)) if sources else None
        leaked, asked, questions = None, 0, 0
        with work.progress("reading the training data", 2 * len(sources), "sources") as bar:
            repeats = []
            for source in sources:
                repeats.append(trained_on.repeats(trained_on.learnt(source)))
                bar.advance()
            if self.exam is not None and sources:
                exam = work.made(self.exam).folder
                material = read_material(exam)
                _check_exam(material.digest, sitting.card)
                items = trained_on.asked(material, generated(exam))
                questions = sum(part.reworded for part in items.values())
                leaked, asked = trained_on.leaked(items, sources), len(items)
            bar.advance(len(sources))
        taught = any(step.name in ("sft", "dpo") for step in self.training)
        taught = taught or any(isinstance(source, Conversations | Preferences) for source in sources)
        return faults.Seen(
            sitting,
            lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]),
            ends,
            repeats if sources else None,
            leaked,
            asked,
            questions,
            taught,
        )


def _some_conversations(sources: Sequence[Artifact]) -> Iterator[list[Message]]:
    from metier.evaluate.doctor import trained_on

    for source in sources:
        yield from islice(trained_on.conversations(source), _ROWS_RENDERED)


def _check_exam(digest: str, card: dict[str, Any]) -> None:
    from metier.core import Mistake

    if digest != card.get("digest"):
        raise Mistake(
            "the doctor was given another exam than the model sat",
            found=f"{digest[:12]} and {str(card.get('digest'))[:12]}",
            hint="name the exam of the `examine` step",
        )
