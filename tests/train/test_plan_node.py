"""What a node's own memory needs before the first step and after the last, in numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metier.core import Host, Mistake
from metier.core.host import Gpu
from metier.train.options import Settings
from metier.train.packing import Group, Row
from metier.train.plan import Job, Layout, find_shape, lay_out, machine_of, next_smaller, plan_for
from metier.train.plan.here import layout_here
from metier.train.plan.job import Method
from metier.train.plan.memory import HOST_PROCESS, memory_of, quantised_bytes
from metier.train.plan.table import explain
from metier.train.rehearse import TRUST, check_plan
from metier.train.schedule import schedule
from tests.train.bench import work_in

WEIGHTS = 70_553_706_496  # Llama 3.1 70B, of its model card's 70.6 billion
PROGRAM = 4 << 30  # each process
EIGHT = machine_of("8xH100-80G")  # 2,048 GB


def loading(method: Method, layout: Layout, host: str = "8xH100-80G") -> int:
    return memory_of(Job(find_shape("70b"), method), layout, machine_of(host)).loading


@pytest.mark.parametrize(
    ("method", "layout", "weights"),
    [
        # Every process of a node reads all of it: 8 x 4 bytes a weight in float32, 8 x 2 of a frozen base in bf16.
        ("full", Layout(sharding="ddp", data=8), 8 * 4 * WEIGHTS),
        ("full", Layout(sharding="zero-1", data=8), 8 * 4 * WEIGHTS),
        ("full", Layout(sharding="zero-2", data=8, optimizer_at="cpu"), 8 * 4 * WEIGHTS),
        ("lora", Layout(sharding="ddp", data=8), 8 * 2 * WEIGHTS),
        # FSDP2 too: accelerate sends out what the first process read, but transformers 5 reads it on all.
        ("full", Layout(sharding="fsdp2", data=8), 8 * 4 * WEIGHTS),
        ("lora", Layout(sharding="fsdp2", data=8), 8 * 2 * WEIGHTS),
        # None, unless nobody told DeepSpeed to cut while the model is built.
        ("full", Layout(sharding="zero-3", data=8), 0),
        ("full", Layout(sharding="zero-3", data=8, all_read=True), 8 * 4 * WEIGHTS),
        # The parts are 16 bits a weight, and they stay in the node's memory.
        ("full", Layout(sharding="zero-3", data=8, optimizer_at="cpu", parameters_at="cpu"), 2 * WEIGHTS),
        # One tensor at a time: the table of 128,256 tokens and 8,192 numbers each, in float32.
        ("qlora", Layout(sharding="ddp", data=8), 8 * 4 * 128_256 * 8_192),
    ],
)
def test_weights_pass_through_the_nodes_memory(method: Method, layout: Layout, weights: int) -> None:
    assert HOST_PROCESS == PROGRAM
    assert find_shape("70b").parameters == WEIGHTS
    assert loading(method, layout) == pytest.approx(8 * PROGRAM + weights, abs=8)


def test_a_node_counts_its_own_processes_only() -> None:
    for sharding in ("ddp", "fsdp2"):
        layout = Layout(sharding=sharding, data=32)
        assert loading("full", layout, "4x8xH100-80G") == 8 * (PROGRAM + 4 * WEIGHTS)


def test_on_cores_a_process_that_holds_all_has_it_in_its_peak_and_one_of_a_cut_model_reads_it_whole() -> None:
    job = Job(find_shape("8b"), sequence_length=128)
    assert memory_of(job, Layout(), machine_of("cpu:8x64G")).loading == 0
    cut = memory_of(job, Layout(sharding="fsdp2", data=16), machine_of("cpu:16x8x64G"))
    assert cut.loading == pytest.approx((700 << 20) + 4 * 8_030_261_248)
    assert cut.node == cut.loading > cut.peak


def test_what_cannot_be_loaded_is_refused_and_cut_while_it_is_read_it_fits() -> None:
    # 32B in bf16 and in ZeRO-2 fits eight cards of 80 GB with room. 8 x 4 x 32.8 G = 1,048 GB do not fit 1,024 GB.
    job, machine = Job(find_shape("32b"), rows=64), machine_of("8xH200-141G,ram=1024")
    plan = lay_out(job, Layout(checkpointing="full", sharding="zero-2", data=8), machine)
    assert plan.memory.peak < 0.95 * machine.memory and plan.memory.host < 0.95 * machine.ram
    assert not plan.fits and plan.lacking == "host"
    assert plan.reason == (
        "needs 1,083 GB of a node's 1,024 GB while the model is loaded, as every process reads all weights"
    )
    smaller = next_smaller(plan)
    assert smaller is not None and smaller.layout.sharding == "zero-3"
    chosen = plan_for(job, machine)
    assert chosen.fits and chosen.layout.sharding == "zero-3"
    assert "1,083!" in explain(chosen)


@pytest.mark.parametrize(
    ("method", "layout", "on_gpu", "needs"),
    [
        ("full", Layout(), True, 4 * 8_030_261_248),  # one file of less than 50 GB
        ("full", Layout(), False, 0),
        ("full", Layout(sharding="zero-3"), False, 2 * 4 * 8_030_261_248),  # put together, and the base to fill
        ("lora", Layout(), True, 4 * 8_030_261_248),  # merged in float32
    ],
)
def test_the_result_is_put_together_in_the_nodes_memory(
    method: Method, layout: Layout, on_gpu: bool, needs: int
) -> None:
    machine = machine_of("1xH100-80G" if on_gpu else "cpu:8x64G")
    memory = memory_of(Job(find_shape("8b"), method), layout, machine)
    assert memory.saving == (PROGRAM if on_gpu else 700 << 20) + needs


def test_a_large_model_is_written_in_files_of_fifty_gigabytes() -> None:
    memory = memory_of(Job(find_shape("70b")), Layout(sharding="ddp", data=8), EIGHT)
    assert memory.saving == 8 * PROGRAM + 50 * 10**9


def test_an_adapter_of_four_bits_that_cannot_be_merged_here_is_warned_of_and_not_refused() -> None:
    job = Job(find_shape("70b"), "qlora", rows=16)
    plan = plan_for(job, machine_of("1xH100-80G"))  # 256 GB of RAM
    # Of the base 2.1 G weights of tables are in float32, and 68.5 G in 4.13 bits: 8.4 and 35.3 GB.
    packed = quantised_bytes(job)
    assert packed == pytest.approx(43.7e9, rel=2e-3)
    assert plan.memory.saving == pytest.approx(PROGRAM + 4 * WEIGHTS + packed, abs=2)
    assert plan.fits and "merging the adapter after the last step takes about 330 GB" in plan.warning
    assert "mind: merging the adapter" in " ".join(explain(plan).split())
    assert not plan_for(job, machine_of("1xH100-80G,ram=400")).warning


def test_what_accelerate_was_told_says_who_reads() -> None:
    zero: dict[str, str] = {
        "WORLD_SIZE": "2",
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
    }
    assert layout_here(zero, 1, "none").all_read
    assert not layout_here(zero | {"ACCELERATE_DEEPSPEED_ZERO3_INIT": "true"}, 1, "none").all_read
    assert not layout_here(zero | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, 1, "none").all_read
    job, machine = Job(find_shape("8b"), rows=8), machine_of("8xH100-80G,ram=200")
    layout = Layout(checkpointing="full", sharding="zero-3", data=8, all_read=True)
    assert "set accelerate's zero3_init_flag" in lay_out(job, layout, machine).reason
    assert lay_out(job, replace(layout, all_read=False), machine).fits
    cut = lay_out(job, replace(layout, sharding="fsdp2", all_read=False), machine)
    assert cut.lacking == "host"
    assert cut.reason.endswith("as every process reads all weights: ZeRO-3 cuts them as they are read")


LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


@pytest.mark.parametrize(("gigabytes", "ram", "told"), [(141, 24, "loaded"), (141, 128, None)])
def test_a_training_is_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gigabytes: int, ram: int, told: str | None
) -> None:
    import json

    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    work = work_in(tmp_path / "work")
    work.host = Host(8, 8, ram * 10**9, (Gpu("NVIDIA H200", gigabytes * 10**9),))
    rows = [Row("a", list(range(3, 67)), [True] * 64)]
    course: Any = schedule([[[Group((row,), 0)] for row in rows]], 64)
    settings = Settings(learning_rate=1e-4, warmup=0.1, weight_decay=0.0, seed=0, gradient_checkpointing=True)
    if told is None:
        check_plan(tmp_path, course, settings, work)
        return
    with pytest.raises(Mistake, match="does not fit the memory of this machine") as caught:  # 4 x 8.03 G + 4.3 G
        check_plan(tmp_path, course, settings, work)
    assert "36 GB of a node's 24 GB while the model is loaded" in str(caught.value)
    assert "method: lora" in (caught.value.hint or "")  # 2 x 8.03 G + 4.3 G = 20.4 G
    monkeypatch.setenv(TRUST, "measured")
    check_plan(tmp_path, course, settings, work)
    assert any("while the model is loaded" in warning for warning in work.warnings)
