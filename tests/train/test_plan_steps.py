"""What a plan means for a step: its fields, its estimate, and the size of its passes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pytest import approx

from metier.core import Host, Step, Work
from metier.core.host import Gpu
from metier.core.types import Model
from metier.train.memory import estimate_of, pass_tokens, plan_of
from metier.train.options import Settings
from metier.train.plan import (
    Job,
    Layout,
    find_shape,
    lay_out,
    machine_of,
    step_fields,
)
from metier.train.plan.choose import USABLE
from tests.train.test_plan_choice import SMALL


def test_the_fields_of_a_step_are_those_of_the_plan() -> None:
    plan = lay_out(Job(find_shape("8b"), "lora", rank=32), Layout(1, "full"), machine_of("1xL4-24G"))
    assert step_fields(plan) == {
        "method": "lora",
        "sequence_length": 2048,
        "lora": {"rank": 32},
        "pass_tokens": 2048,
        "gradient_checkpointing": True,
    }


class Based(Step[Model]):
    """A base model whose shape is known."""

    name: ClassVar[str] = "test-plan-base"

    def run(self, work: Work) -> None:
        """Never called."""

    def shape(self) -> dict[str, Any]:
        return SMALL


LEAST = Settings(1e-4, 0.1, 0.0, 0, method="lora", precision="bf16", gradient_checkpointing=True)
CORES = Host(cores=2, threads=2, memory_bytes=24 << 30)


def on_gpus(gigabytes: int, count: int = 1) -> Host:
    return Host(16, 16, 512 << 30, (Gpu("NVIDIA A100-SXM4-80GB", gigabytes << 30),) * count)


def test_the_estimate_of_a_step_reads_its_fields() -> None:
    full = plan_of(SMALL, CORES, window=1024, trained=1024)
    lora = plan_of(SMALL, CORES, window=1024, trained=1024, training=LEAST)
    assert lora.memory.peak < 0.5 * full.memory.peak
    base = Based()
    plain = estimate_of(base, CORES, 512, tokens=10_000)
    adapted = estimate_of(base, CORES, 512, tokens=10_000, step=LEAST)
    assert plain is not None and adapted is not None
    assert plain.memory_bytes == full.memory.peak and adapted.memory_bytes == lora.memory.peak
    assert plain.seconds == approx(50, rel=0.3)  # 10,000 tokens at some 200 a second
    assert plain.disk_bytes is not None and adapted.disk_bytes is not None
    assert adapted.disk_bytes < plain.disk_bytes == 28 * find_shape("135m").parameters


def test_passes_on_cores_are_as_they_always_were() -> None:
    assert pass_tokens(SMALL, CORES, 512) == pass_tokens(None, CORES, 512) == 1024
    assert pass_tokens(SMALL, CORES, 4096, LEAST) == 4096


@pytest.mark.parametrize(("gigabytes", "expected"), [(320, 16_384), (32, 8192), (16, 4096), (6, 2048)])
def test_passes_on_a_gpu_are_the_largest_that_are_predicted_to_fit(gigabytes: int, expected: int) -> None:
    host, config = on_gpus(gigabytes), SMALL | {"hidden_size": 1536, "intermediate_size": 4096, "head_dim": 128}
    training = LEAST._replace(gradient_checkpointing=False)
    chosen = pass_tokens(config, host, 2048, training, 1 << 20)
    assert chosen == expected

    def peak(window: int) -> int:
        more: Any = {"longest": 2048, "training": training, "accumulate": 64}
        return plan_of(config, host, window=window, trained=window, **more).memory.peak

    assert chosen == 2048 or peak(chosen) <= USABLE * (gigabytes << 30)
    assert chosen == 16_384 or peak(2 * chosen) > USABLE * (gigabytes << 30)


def test_every_process_gets_a_pass_of_the_optimizer_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert pass_tokens(SMALL, on_gpus(80, 8), 512, None, 32_768) == 4096


def test_a_field_says_the_pass_on_every_host() -> None:
    from metier.train import Cpt
    from tests.train.bench import Texts

    step = Cpt(base=Based(), corpus=Texts(), pass_tokens=777)
    assert pass_tokens(SMALL, CORES, 512, step) == pass_tokens(SMALL, on_gpus(80), 512, step) == 777


@pytest.mark.parametrize(("batch", "passes"), [(512, 1), (1024, 1), (4096, 4)])
def test_gradients_that_add_up_over_passes_are_in_the_estimate(batch: int, passes: int) -> None:
    told = estimate_of(Based(), CORES, 512, batch=batch)
    window = min(batch, 1024)
    plan = plan_of(SMALL, CORES, window=window, trained=window, longest=512, accumulate=passes)
    assert told is not None and told.memory_bytes == plan.memory.peak
    assert plan.layout.accumulation(plan.job) == passes
