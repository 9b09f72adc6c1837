"""A smaller GGUF file: weights rounded block by block, metadata taken over byte for byte.

Which tensor gets how many bits follows llama.cpp's own mixtures (`llama_tensor_get_type`), so a file made here is what
its name promises elsewhere.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from metier.core import Failure
from metier.core.gguf_header import ALIGNMENT, Header, Tensor, aligned, gguf_header

Quantisation = Literal["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"]

F32, F16, Q4_0, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K = 0, 1, 2, 6, 7, 8, 12, 13, 14
NAMES = {F32: "F32", F16: "F16", Q4_0: "Q4_0", Q5_0: "Q5_0", Q5_1: "Q5_1", Q8_0: "Q8_0"} | {
    Q4_K: "Q4_K",
    Q5_K: "Q5_K",
    Q6_K: "Q6_K",
}
"""GGML's tensor types by number."""


class Mixture(NamedTuple):
    """`usual` for most weights, `finer` where rounding costs most; `file_type` is what llama.cpp calls the whole."""

    usual: int
    finer: int
    head: int
    file_type: int


MIXTURES: dict[Quantisation, Mixture] = {
    "Q8_0": Mixture(Q8_0, Q8_0, Q8_0, 7),
    "Q6_K": Mixture(Q6_K, Q6_K, Q6_K, 18),
    "Q5_K_M": Mixture(Q5_K, Q6_K, Q6_K, 17),
    "Q4_K_M": Mixture(Q4_K, Q6_K, Q6_K, 15),
    "Q4_0": Mixture(Q4_0, Q4_0, Q6_K, 2),
}

# K-quants need rows of whole 256-blocks. What llama.cpp takes instead keeps at least as many bits, in blocks of 32.
_FALLBACK = {Q4_K: Q5_0, Q5_K: Q5_1, Q6_K: Q8_0}
_BLOCK = {Q4_0: 32, Q5_0: 32, Q5_1: 32, Q8_0: 32, Q4_K: 256, Q5_K: 256, Q6_K: 256}
_NOT_WEIGHTS = re.compile(r"_norm\.|ffn_gate_inp\.|position_embd\.|token_types\.|ssm_conv1d\.|time_mix_|attn_rel_b")
_LAYER = re.compile(r"^blk\.(\d+)\.(attn_v|ffn_down)\b")
_CHUNK_WEIGHTS = 1 << 24  # rounded at once: 64 MiB as float32


class Quantised(NamedTuple):
    """What came out: the file's bytes, tensors by type, and those whose rows did not fit the type they should have."""

    file_bytes: int
    types: dict[str, int]
    fallbacks: dict[str, str]


def quantise(source: Path, target: Path, kind: Quantisation, advance: Callable[[], None] = lambda: None) -> Quantised:
    """Write the 16-bit GGUF file `source` as `kind` to `target`, whole or not at all.

    Args:
        advance: called after each tensor.

    Raises:
        Failure: `source` holds weights that are already quantised.
    """
    header = gguf_header(source)
    for tensor in header.tensors:
        if tensor.type not in (F32, F16):
            raise Failure(
                f"{source.name} is not a 16-bit file",
                found=f"{tensor.name} is of type {NAMES.get(tensor.type, tensor.type)}",
                hint="quantise the F16 file: rounding twice costs twice",
            )
    mixture = MIXTURES[kind]
    wanted = {tensor.name: wanted_type(tensor, header, mixture) for tensor in header.tensors}
    types = {tensor.name: fitting_type(tensor, wanted[tensor.name]) for tensor in header.tensors}
    partial = target.with_name(f".scratch-{target.name}")
    with source.open("rb") as old, partial.open("wb") as new:
        _write_header(old, new, header, types, mixture.file_type)
        for tensor in header.tensors:
            _write_tensor(source, new, tensor, types[tensor.name])
            advance()
    partial.replace(target)
    counts: dict[str, int] = {}
    for number in types.values():
        counts[NAMES[number]] = counts.get(NAMES[number], 0) + 1
    fallbacks = {name: NAMES[types[name]] for name in types if types[name] != wanted[name]}
    return Quantised(target.stat().st_size, counts, fallbacks)


def wanted_type(tensor: Tensor, header: Header, mixture: Mixture) -> int:
    """Return the type that the mixture has for a tensor, whatever its width."""
    is_weight = tensor.name.endswith("weight") and len(tensor.shape) > 1 and not _NOT_WEIGHTS.search(tensor.name)
    if not is_weight:
        return tensor.type
    names = {other.name for other in header.tensors}
    if tensor.name == "output.weight" or (tensor.name == "token_embd.weight" and "output.weight" not in names):
        return mixture.head
    layer = _LAYER.match(tensor.name)
    if layer is None:
        return mixture.usual
    architecture = header.metadata["general.architecture"]
    return mixture.finer if _more_bits(int(layer[1]), header.metadata[f"{architecture}.block_count"]) else mixture.usual


def _more_bits(layer: int, layers: int) -> bool:
    # llama.cpp's use_more_bits: the first and last eighth, and every third between.
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def fitting_type(tensor: Tensor, wanted: int) -> int:
    """Return `wanted`, or the nearest type whose blocks divide the tensor's row length; 16 bits if none does."""
    for kind in (wanted, _FALLBACK.get(wanted, wanted)):
        if kind == tensor.type or tensor.shape[0] % _BLOCK[kind] == 0:
            return kind
    return tensor.type


def _write_header(old: BinaryIO, new: BinaryIO, header: Header, types: dict[str, int], file_type: int) -> None:
    text = bytearray(old.read(header.end))
    place = header.places["general.file_type"]
    struct.pack_into("<I", text, place, file_type)
    new.write(text)
    alignment = header.metadata.get("general.alignment", ALIGNMENT)
    offset = 0
    for tensor in header.tensors:
        name = tensor.name.encode()
        dimensions = len(tensor.shape)
        new.write(struct.pack(f"<Q{len(name)}sI{dimensions}Q", len(name), name, dimensions, *tensor.shape))
        new.write(struct.pack("<IQ", types[tensor.name], offset))
        offset += aligned(_row_bytes(types[tensor.name], tensor) * _rows(tensor), alignment)
    new.write(bytes(aligned(new.tell(), alignment) - new.tell()))


def _rows(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])


def _row_bytes(kind: int, tensor: Tensor) -> int:
    from libgguf import row_size

    plain = {F32: 4, F16: 2}
    return plain[kind] * tensor.shape[0] if kind in plain else row_size(kind, tensor.shape[0])


def _write_tensor(source: Path, new: BinaryIO, tensor: Tensor, kind: int) -> None:
    import numpy as np
    from libgguf import quantize_rows

    width, rows = tensor.shape[0], _rows(tensor)
    stored: Any = {F32: "<f4", F16: "<f2"}[tensor.type]
    values = np.memmap(source, np.dtype(stored), "r", tensor.offset, (rows, width))
    step = max(1, _CHUNK_WEIGHTS // width)
    for first in range(0, rows, step):
        part = values[first : first + step]
        new.write(part.tobytes() if kind == tensor.type else quantize_rows(part.astype(np.float32), kind).tobytes())
    new.write(bytes(aligned(new.tell(), ALIGNMENT) - new.tell()))
