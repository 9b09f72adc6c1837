"""The tensors of a Hugging Face folder, read one at a time: a 70B model is never loaded whole.

Files are read, not mapped: pages of a mapped file count as this process's memory until the system wants them back.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metier.core import Mistake

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
BLOCK_VALUES = 8 << 20
"""Values of one tensor that are read at once: 32 MB in float32, of each model, and again for what is made of them."""

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Number formats by their names in safetensors files."""


class Span(NamedTuple):
    """Rows of a tensor, `end` not among them."""

    first: int
    end: int


class Place(NamedTuple):
    """Where a tensor lies in a file: `start` is in bytes from the file's beginning. dtype as safetensors names it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


class Weights:
    """The tensors of one model folder, by name.

    Args:
        folder: holds model.safetensors, or shards and their index, or adapter_model.safetensors.
        called: what to call the folder to the user.

    Raises:
        Mistake: a shard is missing or cut, or the weights are stored in a quantised format.
    """

    def __init__(self, folder: Path, called: str | None = None) -> None:
        self.folder, self.called = folder, called or folder.name
        self.places: dict[str, Place] = {}
        for file in _files(folder, self.called):
            for name, place in header(file).items():
                if name in self.places:
                    raise Mistake(
                        f"{self.called} holds the tensor {name} twice",
                        found=f"{self.places[name].file.name} and {file.name}",
                        hint="leave only the files that the index names",
                    )
                self.places[name] = place
        strange = next((name for name, place in self.places.items() if place.dtype not in DTYPES), None)
        if strange is not None:
            raise Mistake(
                f"{self.called} is stored in a format that weights cannot be reckoned in",
                found=f"{strange} is {self.places[strange].dtype}",
                hint="take the model's 16-bit weights",
            )

    def __contains__(self, name: str) -> bool:
        return name in self.places

    @property
    def bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(place.size for place in self.places.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one tensor."""
        return self.places[name].shape

    def read(self, name: str, span: Span | None = None) -> torch.Tensor:
        """Return the rows `span` of one tensor, or all of it, in its own format.

        Raises:
            Mistake: a number in it is not finite, or the file ends too early.
            ValueError: the tensor has no such rows; what lies there is the file's next tensor.
        """
        place = self.places[name]
        shape, start, size = place.shape, place.start, place.size
        if span is not None:
            if not 0 <= span.first <= span.end <= shape[0]:
                raise ValueError(f"rows {span.first} to {span.end} of {name}, which has {shape[0]}")
            row = size // shape[0]
            shape, start, size = (
                (span.end - span.first, *shape[1:]),
                start + span.first * row,
                (span.end - span.first) * row,
            )
        raw = torch.empty(size, dtype=torch.uint8)
        with place.file.open("rb") as stream:
            stream.seek(start)
            got = stream.readinto(raw.numpy().data)
        if got != size:
            raise _cut(place.file, f"{got:,} of {size:,} bytes of {name}")
        tensor = raw.view(DTYPES[place.dtype]).reshape(shape)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Mistake(
                f"{self.called} holds numbers that are not finite",
                found=f"NaN or infinity in {name} ({place.file.name})",
                hint="its file is damaged, or its training diverged: take an earlier model",
            )
        return tensor


def spans(shape: tuple[int, ...], values: int = BLOCK_VALUES) -> list[Span | None]:
    """Return the rows of a tensor in spans of at most `values` values, or None where it is taken whole."""
    if not shape or math.prod(shape) <= values:
        return [None]
    rows = max(1, values // (math.prod(shape) // shape[0]))
    return [Span(first, min(first + rows, shape[0])) for first in range(0, shape[0], rows)]


def header(file: Path) -> dict[str, Place]:
    """Return where each tensor of a safetensors file lies.

    Format: 8 bytes, little-endian, give the length of a JSON header; tensors follow it without gaps.

    Raises:
        Mistake: it is no such file, or it is cut.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= size - 8:
            raise _cut(file, f"{size:,} bytes")
        try:
            told: dict[str, Any] = json.loads(stream.read(length))
        except ValueError as error:
            raise _cut(file, "a header that is not JSON") from error
    places, ends = {}, [0]
    for name, one in told.items():
        if name != "__metadata__":
            first, end = one["data_offsets"]
            places[name] = Place(file, one["dtype"], tuple(one["shape"]), 8 + length + first, end - first)
            ends.append(end)
            if one["dtype"] in DTYPES and end - first != math.prod(one["shape"]) * DTYPES[one["dtype"]].itemsize:
                raise _cut(file, f"{end - first:,} bytes for {name} of shape {one['shape']}")
    if 8 + length + max(ends) > size:
        raise _cut(file, f"{size:,} bytes; its header speaks of {8 + length + max(ends):,}")
    return places


def _cut(file: Path, found: str) -> Mistake:
    return Mistake(
        f"{file.name} is damaged or cut short",
        found=f"{found}, in {file.parent}",
        hint="copy or download the file again",
    )


def _files(folder: Path, called: str) -> list[Path]:
    index = folder / INDEX
    if index.is_file():
        try:
            named = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise Mistake(
                f"the index of {called} cannot be read", found=str(error), hint=f"copy {INDEX} again"
            ) from error
        missing = [name for name in named if not (folder / name).is_file()]
        if missing:
            raise Mistake(
                f"{called} lacks {len(missing)} of its {len(named)} shards",
                found=f"{missing[0]} is not in {folder}",
                hint="copy or download the missing files",
            )
        return [folder / name for name in named]
    found = [folder / name for name in (WEIGHTS, "adapter_model.safetensors") if (folder / name).is_file()]
    if not found:
        there = ", ".join(sorted(path.name for path in folder.glob("*"))[:8]) if folder.is_dir() else "no such folder"
        hint = "give a folder with model.safetensors, or with shards and their index"
        if folder.is_dir() and any(path.suffix in (".bin", ".pt", ".pth") for path in folder.iterdir()):
            hint = "pickled weights are not read, as reading them runs code: save the model as safetensors"
        raise Mistake(f"{called} has no weights", found=there or "an empty folder", hint=hint)
    return found[:1]
