"""What torch keeps of compiled kernels is bounded in every program that opens a workshop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metier.core import Workshop
from metier.core.kernel_caches import KERNELS, bound_kernel_caches

NAMES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
_GROWTH = """
import sys
from pathlib import Path
import torch
from metier.core.kernel_caches import bound_kernel_caches

def resident():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) >> 10

if sys.argv[1] == "bounded":
    bound_kernel_caches()
torch.set_num_threads(1)
weights = [torch.randn(width, 256).bfloat16() for width in (256, 512, 768)]
for weight in weights:
    torch.nn.functional.linear(torch.randn(8, 256).bfloat16(), weight)
before = resident()
for length in range(9, 509):
    states = torch.randn(length, 256).bfloat16()
    for weight in weights:
        torch.nn.functional.linear(states, weight)
print(resident() - before)
"""


def test_opening_a_workshop_bounds_both_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    Workshop(tmp_path)
    assert [os.environ[name] for name in NAMES] == [str(KERNELS)] * 2


def test_what_the_environment_says_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAMES[0], "77")
    monkeypatch.delenv(NAMES[1], raising=False)
    bound_kernel_caches()
    assert [os.environ[name] for name in NAMES] == ["77", str(KERNELS)]


@pytest.mark.slow
@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="no bf16 instructions: no such kernels")
def test_products_of_many_lengths_hold_less_than_half_of_what_they_do_without_the_bound() -> None:
    plain = {name: value for name, value in os.environ.items() if name not in NAMES}
    grown = {}
    for how in ("bounded", "free"):
        command = [sys.executable, "-c", _GROWTH, how]
        told = subprocess.run(command, env=plain, capture_output=True, text=True, check=True, timeout=300)
        grown[how] = int(told.stdout)
    assert grown["bounded"] < grown["free"] / 2, grown
