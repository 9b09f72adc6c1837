"""The metadata of a GGUF file, read in milliseconds: vocabularies are passed over.

Follows the GGUF specification, version 3 (little endian). The `gguf` library reads the same, and every one of a
vocabulary's tokens with it, which takes seconds.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from metier.core.errors import Mistake

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
ALIGNMENT = 32
"""Tensors begin at multiples of this many bytes unless `general.alignment` says otherwise."""
_LONGEST_ARRAY = 1024


class Tensor(NamedTuple):
    """One tensor of a GGUF file: `shape` has the row length first, `offset` is from the beginning of the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


class Header(NamedTuple):
    """What stands before the weights.

    metadata: by key; arrays of more than 1024 items are left out. places: where in the file each value stands.
    end: where in the file the metadata ends and the list of tensors begins.
    """

    metadata: dict[str, Any]
    places: dict[str, int]
    end: int
    tensors: list[Tensor]


def gguf_metadata(path: Path) -> dict[str, Any]:
    """Return a GGUF file's metadata by key. Raises Mistake as `gguf_header` does."""
    return gguf_header(path).metadata


def gguf_header(path: Path) -> Header:
    """Return what stands before the weights of a GGUF file.

    Raises:
        Mistake: there is no such file, or it is not a whole GGUF header.
    """
    if not path.is_file():
        raise Mistake(f"there is no model file {path}")
    with path.open("rb") as stream:
        magic = stream.read(4)
        if magic != b"GGUF":
            raise Mistake(
                f"{path} is not a GGUF file", found=f"it begins with {magic!r}", hint="export the model again"
            )
        try:
            return _header(stream, path)
        except (struct.error, KeyError, UnicodeDecodeError) as error:
            raise Mistake(f"{path} is not a whole GGUF file", hint="it was cut or damaged: export it again") from error


def _header(stream: BinaryIO, path: Path) -> Header:
    version, tensor_count, pair_count = _numbers(stream, "IQQ")
    if version not in (2, 3):
        raise Mistake(f"{path} is GGUF version {version}", hint="versions 2 and 3 are read")
    metadata, places = {}, {}
    for _ in range(pair_count):
        key = _text(stream)
        (kind,) = _numbers(stream, "I")
        places[key] = stream.tell()
        value = _value(stream, kind)
        if value is not None:
            metadata[key] = value
    end = stream.tell()
    tensors = []
    for _ in range(tensor_count):
        name = _text(stream)
        (dimensions,) = _numbers(stream, "I")
        shape = _numbers(stream, f"{dimensions}Q")
        tensors.append(Tensor(name, shape, *_numbers(stream, "IQ")))
    weights = aligned(stream.tell(), metadata.get("general.alignment", ALIGNMENT))
    return Header(metadata, places, end, [t._replace(offset=weights + t.offset) for t in tensors])


def aligned(offset: int, alignment: int) -> int:
    """Return the next multiple of `alignment`."""
    return -(-offset // alignment) * alignment


def _numbers(stream: BinaryIO, format: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{format}", stream.read(struct.calcsize(f"<{format}")))


def _text(stream: BinaryIO) -> str:
    (length,) = _numbers(stream, "Q")
    data = stream.read(min(length, 1 << 26))  # no text is longer, but a damaged length may be
    if len(data) != length:
        raise struct.error("cut text")
    return data.decode()


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(stream)
    if kind != _ARRAY:
        return _numbers(stream, _NUMBERS[kind])[0]
    inner, length = _numbers(stream, "IQ")
    if inner == _STRING:
        if length <= _LONGEST_ARRAY:
            return [_text(stream) for _ in range(length)]
        for _ in range(length):
            stream.seek(_numbers(stream, "Q")[0], 1)
        return None
    if length <= _LONGEST_ARRAY:
        return list(_numbers(stream, f"{length}{_NUMBERS[inner]}"))
    stream.seek(length * struct.calcsize(_NUMBERS[inner]), 1)
    return None
