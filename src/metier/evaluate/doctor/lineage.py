"""Where a model comes from: the steps that trained it, what they hold, and what the recipe calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from metier.core import Artifact, Problem, Step, Work
from metier.core.step import LocalPath, dependencies_first


class Lineage:
    """The steps behind a model, by name.

    A step is known by the folder of its artifact, which its key names: steps that are equal are one step. Its name is
    what the recipe called it when it was made, else that of its kind.

    Args:
        training: the steps that trained the model, in the recipe's order or any other.
        others: further steps that a remedy may name (training data, the exam).
    """

    def __init__(self, work: Work, training: Sequence[Step[Any]], others: Sequence[Step[Any]] = ()) -> None:
        self._work = work
        order = dependencies_first([*training, *others])
        self.steps: dict[str, Step[Any]] = {}  # folder → step, inputs first
        for step in order:
            self.steps.setdefault(self.folder(step), step)
        self.names: dict[str, str] = {}
        for folder, step in self.steps.items():
            called = _called(work, step) or step.name
            self.names[folder] = called if called not in self.names.values() else folder
        trained = {self.folder(step) for step in training}
        self.training = [step for folder, step in self.steps.items() if folder in trained]

    def folder(self, step: Step[Any]) -> str:
        """Return the name of the step's folder: its kind and the beginning of its key."""
        made: Artifact = self._work.made(step)
        return made.folder.name

    def name(self, step: Step[Any]) -> str:
        """Return what the recipe calls a step."""
        return self.names[self.folder(step)]

    def stages(self, *kinds: str) -> list[Any]:
        """Return the training steps of some kinds, in the order in which the model went through them.

        Their fields are those of another room, so they carry no types here.
        """
        return [step for step in self.training if step.name in kinds]

    def origin(self) -> Step[Any] | None:
        """Return the step that the training began with, or None if no training is known."""
        step = self.training[0] if self.training else None
        while step is not None and isinstance(getattr(step, "base", None), Step):
            step = step.base  # type: ignore[attr-defined]  # any step may have such a field
        return step

    def holders(self, wanted: Step[Any]) -> Iterator[tuple[Step[Any], str]]:
        """Yield the steps behind the model that hold `wanted`, with the field."""
        folder = self.folder(wanted)
        behind = {self.folder(step) for step in dependencies_first(list(self.training))}
        for at, step in self.steps.items():
            for field, held in step.held().items() if at in behind else ():
                if any(self.folder(one) == folder for one in held):
                    yield step, field

    def behind(self, step: Step[Any], kind: str) -> Any | None:
        """Return the nearest step of a kind among all that `step` is made from, or None."""
        found = [one for one in dependencies_first([step]) if one.name == kind]
        return found[-1] if found else None

    def plain(self, value: Any) -> Any:
        """Return a field's value as the recipe writes it: steps as $name."""
        if isinstance(value, Step):
            return f"${self.name(value)}"
        if isinstance(value, LocalPath):
            return value.written
        if isinstance(value, BaseModel):
            return {field: self.plain(getattr(value, field)) for field in value.model_fields_set}
        if isinstance(value, Mapping):
            return {key: self.plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in value]
        return value


def _called(work: Work, step: Step[Any]) -> str | None:
    made: Artifact = work.made(step)
    try:
        return made.record.called
    except Problem:  # an input whose folder was cleared away; its result stands
        return None
