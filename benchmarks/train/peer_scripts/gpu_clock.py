"""What all sides of `benchmarks.train.gpu` measure with: the end of each step, bytes, the peak of matrix products."""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

import torch
from transformers import TrainerCallback

_SIZE, _TIMES, _TRIES = 8192, 20, 5


class Clock(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Notes when each optimizer step has ended on the device. From end to end everything counts: batches, logs, too."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait for the device, and note the time."""
        _wait(self._device)
        self.ends.append(time.perf_counter())


def matrix_peak(device: torch.device, size: int = _SIZE, times: int = _TIMES) -> float:
    """Return the operations a second of products of two square bf16 matrices: the best of a few tries, after a warm-up.

    On random numbers: on zeros a GPU draws less power, clocks higher, and shows a peak that no training sees.
    """
    one, two = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(_TRIES):
        one @ two
        _wait(device)
        start = time.perf_counter()
        for _ in range(times):
            one @ two
        _wait(device)
        best = max(best, times * 2 * size**3 / (time.perf_counter() - start))
    del one, two
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return best


def peak_of(device: torch.device) -> dict[str, int]:
    """Return the most bytes that tensors took, and that torch held of the device for them; nothing without a GPU."""
    if device.type != "cuda":
        return {}
    return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}


def facts(device: torch.device) -> dict[str, Any]:
    """Return what was measured on, and with which versions."""
    names = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "unsloth", "flash-attn")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    return {"gpu": gpu, "versions": found, "cuda": torch.version.cuda}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
