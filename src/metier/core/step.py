"""A step says how to make one artifact. Its fields, and nothing else, are its identity."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import PydanticUndefined, core_schema

from metier.core.artifact import Artifact
from metier.core.digests import Digests

if TYPE_CHECKING:
    from metier.core.host import Host
    from metier.core.work import Work

A = TypeVar("A", bound=Artifact, covariant=True)

STEPS: dict[str, type[Step[Any]]] = {}
"""Every step class whose module was imported, by its name in recipes. Filled by the classes themselves."""


class Estimate(NamedTuple):
    """What a step is expected to need on a host. None where it cannot be said."""

    seconds: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None


class LocalPath(os.PathLike[str]):
    """A local file or folder that a step reads: hashed by content, never by name.

    In a recipe it is relative to the recipe's folder, in Python to the current one.
    """

    def __init__(self, path: str | os.PathLike[str], folder: Path | None = None) -> None:
        self.written = os.fspath(path)
        self.path = (folder or Path.cwd()) / Path(self.written).expanduser()

    def __fspath__(self) -> str:
        return str(self.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalPath) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"LocalPath({self.written!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._validate)

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> LocalPath:
        if isinstance(value, LocalPath):
            return value
        if not isinstance(value, str | os.PathLike):
            raise ValueError(f"a path is wanted, not {type(value).__name__}")
        return cls(value, (info.context or {}).get("folder"))


class Step(BaseModel, ABC, Generic[A]):
    """How to make one artifact.

    A subclass gives its name in recipes, its fields, and `run`. `version` is raised when the same fields
    give other bytes. Adding a field with a default changes no key. `on_all_processes` says that `run` shares its work
    among all processes of a run (see `Work`); any other step is made by the first while the others wait.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    extras: ClassVar[tuple[str, ...]] = ()
    on_all_processes: ClassVar[bool] = False
    makes: ClassVar[type[Artifact]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            return
        for base in cls.__mro__[1:]:
            arguments = getattr(base, "__pydantic_generic_metadata__", {}).get("args") or ()
            if arguments and isinstance(arguments[0], type) and issubclass(arguments[0], Artifact):
                cls.makes = arguments[0]
                break
        known = STEPS.get(cls.name)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise TypeError(f"two steps are called '{cls.name}': {known.__qualname__} and {cls.__qualname__}")
        STEPS[cls.name] = cls

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        # A field typed `Step[Documents]` takes any step that makes documents, as it is: it is not a model to be filled.
        metadata = cls.__pydantic_generic_metadata__
        if metadata["origin"] is None:
            return handler(source)
        return core_schema.no_info_plain_validator_function(partial(_checked, metadata["args"][0]))

    @abstractmethod
    def run(self, work: Work) -> None:
        """Make the artifact in `work.folder`, going on from what a killed attempt left there."""

    def estimate(self, host: Host) -> Estimate | None:
        """Return what the step will need on `host`, or None where that is not known."""
        return None

    def held(self) -> dict[str, list[Step[Any]]]:
        """Return the steps held in this step's fields, by field name: its inputs."""
        found = {field: list(_steps_in(getattr(self, field))) for field in type(self).model_fields}
        return {field: steps for field, steps in found.items() if steps}

    def local_inputs(self) -> dict[str, list[LocalPath]]:
        """Return the local files and folders named in this step's fields, by field name."""
        found = {field: list(_paths_in(getattr(self, field))) for field in type(self).model_fields}
        return {field: paths for field, paths in found.items() if paths}


class Keys:
    """Work out keys, each once.

    key = SHA-256 of the step's name, its version, its fields that differ from their default, the content of its
    local inputs and the keys of the steps it holds, as canonical JSON.
    """

    def __init__(self, digests: Digests | None = None) -> None:
        self._digests = digests or Digests()
        self._known: dict[int, tuple[Step[Any], str]] = {}

    def of(self, step: Step[Any]) -> str:
        """Return the key of `step`, 64 hexadecimal digits. Raises Mistake if a local input is not there."""
        known = self._known.get(id(step))
        if known is None:
            text = json.dumps(self.identity(step), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            known = self._known[id(step)] = (step, hashlib.sha256(text.encode()).hexdigest())
        return known[1]

    def identity(self, step: Step[Any]) -> dict[str, Any]:
        """Return what the key is the hash of, as JSON values."""
        return {"step": step.name, "version": step.version, "fields": self._told(step)}

    def _told(self, model: BaseModel) -> dict[str, Any]:
        told = {}
        for field, info in type(model).model_fields.items():
            value = getattr(model, field)
            default = info.get_default(call_default_factory=True, validated_data={})
            if default is PydanticUndefined or value != default:
                told[field] = self._canonical(value)
        return told

    def _canonical(self, value: Any) -> Any:
        if isinstance(value, Step):
            return {"made_by": self.of(value)}
        if isinstance(value, LocalPath):
            return {"content": self._digests.of(value.path)}
        if isinstance(value, BaseModel):
            return self._told(value)
        if isinstance(value, Mapping):
            # In its order: the models of a report are shown in the order in which they are written.
            return [[str(name), self._canonical(item)] for name, item in value.items()]
        if isinstance(value, list | tuple):
            return [self._canonical(item) for item in value]
        if value is None or isinstance(value, str | bool | int | float):
            return value
        raise TypeError(f"a step's field holds a {type(value).__name__}, which has no canonical form")


def dependencies_first(targets: list[Step[Any]], names: Mapping[int, str] | None = None) -> list[Step[Any]]:
    """Return `targets` and all that they hold, each once, inputs before the steps that need them.

    Args:
        names: the recipe's names by `id` of the step; where inputs leave a choice, its order is kept.
    """
    if names:
        closure = {id(step): step for step in dependencies_first(targets)}
        targets = [*(closure[number] for number in names if number in closure), *targets]
    order: dict[int, Step[Any]] = {}
    stack: list[tuple[Step[Any], bool]] = [(step, False) for step in reversed(targets)]
    while stack:
        step, inputs_done = stack.pop()
        if id(step) in order:
            continue
        if inputs_done:
            order[id(step)] = step
        else:
            stack.append((step, True))
            inputs = [held for steps in step.held().values() for held in steps]
            stack += [(held, False) for held in reversed(inputs)]
    return list(order.values())


def _checked(wanted: Any, value: Any) -> Step[Any]:
    """Return `value` if it is a step that makes the wanted kind of artifact."""
    kind = wanted.__name__ if isinstance(wanted, type) and issubclass(wanted, Artifact) else "something"
    if not isinstance(value, Step):
        raise ValueError(f"a step that makes {kind} is wanted, as in $name")
    if isinstance(wanted, type) and issubclass(wanted, Artifact) and not issubclass(value.makes, wanted):
        raise ValueError(f"a step that makes {kind} is wanted, and '{value.name}' makes {value.makes.__name__}")
    return value


def _steps_in(value: Any) -> Iterator[Step[Any]]:
    if isinstance(value, Step):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _steps_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _steps_in(item)


def _paths_in(value: Any) -> Iterator[LocalPath]:
    if isinstance(value, LocalPath):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths_in(item)
