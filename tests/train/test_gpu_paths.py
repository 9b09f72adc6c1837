"""What is done on a GPU, as far as it can be told without one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

import metier.train.attention as attention
from metier.core import Host
from metier.core.host import Gpu
from metier.train.network import bf16_pays


@pytest.fixture
def _fresh() -> Iterator[None]:
    attention.varlen_kernel.cache_clear()
    yield
    attention.varlen_kernel.cache_clear()


@pytest.mark.usefixtures("_fresh")
def test_a_torch_whose_kernel_knows_no_groups_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_2_10(query: Any, key: Any, value: Any, is_causal: bool = False) -> None: ...

    module = ModuleType("torch.nn.attention.varlen")
    module.varlen_attn = of_2_10  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", module)
    assert attention.varlen_kernel() is None


@pytest.mark.usefixtures("_fresh")
def test_a_torch_without_the_kernel_attends_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", None)  # its import fails, as before 2.10
    assert attention.varlen_kernel() is None
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert not attention._has_flash(torch.zeros(1, 2, 4, 64), torch.bfloat16)


@pytest.mark.usefixtures("_fresh")
def test_the_kernel_of_this_torch_is_used() -> None:
    assert attention.varlen_kernel() is not None


@pytest.mark.parametrize(("capability", "pays"), [(7, False), (8, True), (9, True)])
def test_bf16_does_not_pay_on_a_gpu_that_only_emulates_it(
    capability: int, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Properties:
        major = capability

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: Properties())
    monkeypatch.setattr("torch.cuda._check_bf16_tensor_supported", lambda _device: True)
    assert bf16_pays(Host(8, 8, 64 << 30, (Gpu("a card", 16 << 30),))) is pays


def test_processes_on_gpus_wait_for_each_other_longer_than_a_checkpoint_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.train.distributed import _join

    told: dict[str, Any] = {}
    monkeypatch.setattr("accelerate.PartialState", lambda **named: told.update(named))
    _join(on_cores=False)
    assert told["timeout"].total_seconds() == 1800
