"""What a checkpoint belongs to, part by part, so that a training that has become another can be told how."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from metier.core import Step, Work
from metier.core.artifact import RECORD
from metier.train.distributed import cut as cut_over
from metier.train.options import Settings

_PACKAGES = ("metier", "torch", "transformers", "trl", "accelerate", "peft", "tokenizers")
_SHOWN = 12  # characters of a digest


class Identity(NamedTuple):
    """What makes a training the one it is.

    data: digests of rows, of their order, of the base model. settings: the step's fields and what they came to.
    place: what may be another when it is resumed, at the price of the last bits: how rows are cut into passes, the
    number format, the kind of device, the number of processes, package versions.
    """

    data: dict[str, str]
    settings: dict[str, Any]
    place: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """A digest of the data."""
        return hashlib.sha256(json.dumps(self.data, sort_keys=True).encode()).hexdigest()

    @property
    def layout(self) -> str:
        """How weights and moments are cut over processes, see `distributed.cut`."""
        return str(self.settings.get("layout", "whole"))

    def essentials(self, before: Identity) -> list[str]:
        """Return what of data and settings differs from `before`, as `name: before → now`."""
        data = [f"{name}: {_short(old)} → {_short(new)}" for name, old, new in _changed(before.data, self.data)]
        settings = [f"{name}: {old} → {new}" for name, old, new in _changed(before.settings, self.settings)]
        return data + settings

    def circumstances(self, before: Identity) -> list[str]:
        """Return what of the place differs from `before`, as `name: before → now`."""
        return [f"{name}: {_short(old)} → {_short(new)}" for name, old, new in _changed(before.place, self.place)]

    def told(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return self._asdict()

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Identity:
        """Return what `told` wrote. Raises KeyError if it did not."""
        return cls(*(dict(told[name]) for name in cls._fields))


def identity_of(
    data: Mapping[str, str], settings: Settings, work: Work, *, cut: str | None = None, precision: str | None = None
) -> Identity:
    """Return the identity of a training.

    Args:
        data: digests of what is trained on, by what they are of.
        settings: as resolved for this training; they stand above the step's fields of the same names. Whether passes
            are compiled is none of them: `auto` is decided after the training's identity is, and kept beside it.
        cut: a digest of how rows are laid into forward passes, which depends on the machine.
        precision: the number format that "auto" came to here.
    """
    known = dict(data)
    for held in work.step.held().get("base", []):
        base = work.made(held)
        if (base.folder / RECORD).is_file():  # the same recipe can have made another model elsewhere
            known["base"] = base.record.output_sha256
    own = {name: getattr(work.step, name) for name in type(work.step).model_fields}
    resolved = {name: value for name, value in settings._asdict().items() if name != "compile"}
    told = dict(_plain({**own, **resolved, "layout": cut_over()}))
    place: dict[str, Any] = {
        "passes": cut,
        "number format": precision,
        "device": "gpu" if work.host.gpus else "cpu",
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        **_versions(),
    }
    # As JSON gives it back, so that what was read compares equal.
    read: dict[str, Any] = json.loads(json.dumps(Identity(known, told, place).told()))
    return Identity.read(read)


def _plain(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what can be compared as text: no steps, whose artifacts the data speaks of, and no paths."""
    for name, value in values.items():
        if isinstance(value, BaseModel) and not isinstance(value, Step):
            yield from _plain({field: getattr(value, field) for field in type(value).model_fields}, f"{prefix}{name}.")
        elif value is None or isinstance(value, str | bool | int | float):
            yield prefix + name, value
        elif isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
            yield prefix + name, list(value)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    # What only one side knows belongs to another version of this program, which the versions tell.
    for name in now:
        if name in before and before[name] != now[name]:
            yield name, before[name], now[name]


def _short(value: Any) -> Any:
    return value[:_SHOWN] if isinstance(value, str) and len(value) == 64 else value


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
