"""Tensors written to shards of a bounded size, as they are made; a killed attempt goes on at the next shard."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from metier.core import Failure, Mistake
from metier.core.files import write_json_atomic
from metier.core.progress import Bar
from metier.train.weights.reading import DTYPES, INDEX, WEIGHTS, header

SHARD_BYTES = 4 << 30

Produce = Callable[[str], Iterator[torch.Tensor]]
"""Yields a tensor's values in pieces of whole rows; they are rounded to the planned format when they are written."""


class Plan(NamedTuple):
    """One tensor to be written: its format as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def write_model(
    folder: Path, plans: Mapping[str, Plan], produce: Produce, bar: Bar, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write tensors to `folder` as model.safetensors, or as shards of at most `shard_bytes` with their index.

    A shard is written whole or not at all, and one that is there already is not made again, so that a killed attempt
    goes on. The memory taken is what `produce` yields at once. `bar` is advanced by bytes.

    Raises:
        Failure: a value does not fit the format it is to be saved in. Mistake: a tensor is larger than a shard may be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.partial"):
        left.unlink()
    shards = cut(plans, shard_bytes)
    names = [WEIGHTS] if len(shards) == 1 else [shard_name(at, len(shards)) for at in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        wanted = {tensor: plans[tensor] for tensor in shard}
        if not _there(folder / name, wanted):
            _write_shard(folder / name, wanted, produce, bar)
        else:
            bar.advance(sum(plan.size for plan in wanted.values()))
    if len(shards) > 1:
        total = sum(plan.size for plan in plans.values())
        where = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        write_json_atomic(
            folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        )


def shard_name(at: int, count: int) -> str:
    """Return a shard's file name as transformers writes it, counted from 1."""
    return f"model-{at + 1:05d}-of-{count:05d}.safetensors"


def cut(plans: Mapping[str, Plan], shard_bytes: int) -> list[list[str]]:
    """Return names in their order in shards of at most `shard_bytes`. Raises Mistake if one does not fit a shard."""
    shards: list[list[str]] = []
    room = 0
    for name, plan in plans.items():
        if plan.size > shard_bytes:
            raise Mistake(
                f"{name} does not fit a shard",
                found=f"{plan.size / 1e9:.2f} GB, and shards of {shard_bytes / 1e9:.2f} GB",
                hint="raise `shard_gigabytes`",
            )
        if not shards or plan.size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= plan.size
    return shards


def _there(file: Path, wanted: Mapping[str, Plan]) -> bool:
    if not file.is_file():
        return False
    return {name: Plan(place.dtype, place.shape) for name, place in header(file).items()} == dict(wanted)


def _write_shard(file: Path, wanted: Mapping[str, Plan], produce: Produce, bar: Bar) -> None:
    told: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, plan in wanted.items():
        told[name] = {"dtype": plan.dtype, "shape": list(plan.shape), "data_offsets": [at, at + plan.size]}
        at += plan.size
    head = json.dumps(told).encode()
    head += b" " * (-len(head) % 8)  # tensors begin at a multiple of 8, as the reference writer does
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("wb") as out:
        out.write(len(head).to_bytes(8, "little") + head)
        for name, plan in wanted.items():
            written = 0
            for block in produce(name):
                raw = _bytes(name, plan, block)
                out.write(raw)
                written += len(raw)
                bar.advance(len(raw))
            if written != plan.size:
                raise Failure(f"{name} came out in another size", found=f"{written:,} bytes for {plan.size:,}")
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)


def _bytes(name: str, plan: Plan, block: torch.Tensor) -> memoryview:
    saved = block.to(DTYPES[plan.dtype]).contiguous()
    if saved.is_floating_point() and not bool(torch.isfinite(saved).all()):
        raise Failure(
            f"{name} does not fit {plan.dtype}",
            found=f"values up to {float(block.abs().max()):.3g}",
            hint="save in a wider format: `dtype: float32` or `dtype: bfloat16`",
        )
    return saved.reshape(-1).view(torch.uint8).numpy().data
