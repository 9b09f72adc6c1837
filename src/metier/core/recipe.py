"""Recipes: named steps in YAML, for people. The same steps in Python have the same keys."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from metier.core.errors import Mistake
from metier.core.step import STEPS, LocalPath, Step

_ROOMS = "metier.rooms"


def import_rooms() -> None:
    """Import every installed room, so that the steps in it are known. Other packages may add rooms by entry point."""
    for entry in importlib.metadata.entry_points(group=_ROOMS):
        importlib.import_module(entry.value)


class Recipe:
    """Named steps.

    Args:
        steps: what was written, in its order.
        file: where it was read from, if it was.
    """

    def __init__(self, steps: Mapping[str, Step[Any]], file: Path | None = None) -> None:
        self.steps = dict(steps)
        self.file = file
        self.names = {id(step): name for name, step in self.steps.items()}

    def step(self, name: str) -> Step[Any]:
        """Return the step called `name`. Raises Mistake naming the nearest if there is none."""
        if name not in self.steps:
            raise Mistake(f"the recipe has no '{name}'", *_nearest(name, self.steps))
        return self.steps[name]

    def targets(self) -> list[Step[Any]]:
        """Return the steps that no other step holds: what the recipe is for."""
        held = {id(inner) for step in self.steps.values() for steps in step.held().values() for inner in steps}
        return [step for step in self.steps.values() if id(step) not in held]


def load_recipe(file: Path, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        file: YAML, `name: {step: ..., field: value, other: $name}`.
        changes: overrides such as `sft.learning_rate=1e-5`.

    Raises:
        Mistake: the file cannot be read, a step or key is unknown (the nearest is named), a reference is missing or
            goes round in a circle, or a value does not fit its field.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Mistake(f"there is no recipe {file}", hint="`metier init FOLDER` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"the recipe {file} cannot be read", found=str(error)) from error
    try:
        written = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise Mistake(f"{file} is not valid YAML", found=" ".join(str(error).split())) from error
    if not isinstance(written, dict) or not written:
        raise Mistake(
            f"{file} holds no steps",
            found=type(written).__name__,
            hint="write `name: {step: read, folder: docs/}`",
        )
    for change in changes:
        _apply(change, written)
    return build_recipe(written, file.parent.absolute(), file)


def build_recipe(written: Mapping[str, Any], folder: Path, file: Path | None = None) -> Recipe:
    """Turn a recipe's mapping into steps; local paths are relative to `folder`. Raises Mistake as `load_recipe`."""
    import_rooms()
    built: dict[str, Step[Any]] = {}

    def build(name: str, trail: tuple[str, ...]) -> Step[Any]:
        if name in trail:
            circle = " → ".join((*trail[trail.index(name) :], name))
            raise Mistake("the recipe goes round in a circle", found=circle, hint="one of these must not hold the next")
        if name not in built:
            built[name] = _build_step(name, written[name], folder, lambda ref: resolve(ref, name, trail))
        return built[name]

    def resolve(reference: str, user: str, trail: tuple[str, ...]) -> Step[Any]:
        if reference not in written:
            raise Mistake(f"'{user}' refers to ${reference}, which is not in the recipe", *_nearest(reference, written))
        return build(reference, (*trail, user))

    for name in written:
        build(str(name), ())
    return Recipe({name: built[name] for name in written}, file)


def _build_step(name: str, entry: Any, folder: Path, resolve: Any) -> Step[Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("step"), str):
        raise Mistake(
            f"'{name}' does not say which step it is",
            found=repr(entry)[:80],
            hint=f"{name}: {{step: read, ...}}",
        )
    kind = STEPS.get(entry["step"])
    if kind is None:
        raise Mistake(f"'{name}' names an unknown step '{entry['step']}'", *_nearest(entry["step"], STEPS))
    fields = {str(field): _resolved(value, resolve) for field, value in entry.items() if field != "step"}
    for field in fields:
        if field not in kind.model_fields:
            raise Mistake(f"'{name}' has an unknown key '{field}'", *_nearest(field, kind.model_fields))
    try:
        return kind.model_validate(fields, context={"folder": folder})
    except ValidationError as error:
        raise _as_mistake(name, kind, error) from error


def _resolved(value: Any, resolve: Any) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return resolve(value[1:])
    if isinstance(value, list):
        return [_resolved(item, resolve) for item in value]
    if isinstance(value, dict):
        return {key: _resolved(item, resolve) for key, item in value.items()}
    return value


def _as_mistake(name: str, kind: type[Step[Any]], error: ValidationError) -> Mistake:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "it"
    found = first.get("input")
    if first["type"] == "missing":
        return Mistake(f"'{name}' ({kind.name}) lacks '{field}'", hint=_field_help(kind, field))
    said = first["msg"].removeprefix("Value error, ")
    if isinstance(found, Step):
        made = found.makes.__name__
        return Mistake(
            f"'{name}.{field}' cannot hold a '{found.name}', which makes {made}",
            hint=_field_help(kind, field),
        )
    return Mistake(
        f"'{name}.{field}' does not fit: {said}",
        found=repr(found)[:120],
        hint=_field_help(kind, field),
    )


def _field_help(kind: type[Step[Any]], field: str) -> str | None:
    info = kind.model_fields.get(field.split(".")[0])
    return f"{field}: {info.description}" if info is not None and info.description else None


def _nearest(name: str, known: Iterable[str]) -> tuple[str, str]:
    names = [str(item) for item in known]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return name, f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(names)}"


def _apply(change: str, written: dict[str, Any]) -> None:
    path, equals, value = change.partition("=")
    name, dot, field = path.strip().partition(".")
    if not (equals and dot and field):
        raise Mistake(f"--set {change} is not of the form name.field=value", hint="--set sft.learning_rate=1e-5")
    if not isinstance(written.get(name), dict):
        raise Mistake(f"--set names '{name}', which is not in the recipe", *_nearest(name, written))
    *parents, last = field.split(".")
    place = written[name]
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise Mistake(f"--set {path}: '{parent}' holds no fields", found=repr(place)[:80])
    try:
        place[last] = yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise Mistake(f"--set {path}: the value is not valid YAML", found=value) from error


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML that loads to the same keys. Local paths are written absolute."""
    entries = {name: {"step": step.name, **_written(step, recipe.names)} for name, step in recipe.steps.items()}
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)


def _written(model: BaseModel, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        field: _plain(getattr(model, field), names)
        for field, info in type(model).model_fields.items()
        if info.is_required() or getattr(model, field) != info.get_default(call_default_factory=True, validated_data={})
    }


def _plain(value: Any, names: Mapping[int, str]) -> Any:
    if isinstance(value, Step):
        if id(value) not in names:
            raise ValueError(f"a '{value.name}' step has no name in the recipe")
        return f"${names[id(value)]}"
    if isinstance(value, LocalPath):
        return str(value.path)
    if isinstance(value, BaseModel):
        return _written(value, names)
    if isinstance(value, Mapping):
        return {key: _plain(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, names) for item in value]
    return value


class _Loader(yaml.SafeLoader):
    """YAML whose mappings refuse a key written twice: the second would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
