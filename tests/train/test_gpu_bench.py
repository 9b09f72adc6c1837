"""The benchmark on a GPU: its arithmetic and its rows here, one small case of it where there is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.train import gpu
from benchmarks.train.gpu_cases import (
    BATCH_ROWS,
    CASES,
    LONGEST,
    MEMORY,
    SPEED,
    STEPS,
    WARM,
    Case,
    Size,
    allocated,
    case_of,
    lengths,
    operations,
    predicted,
    rate,
    rows_of,
    schedule_of,
    timed,
)

from metier.core import Host
from metier.core.host import Gpu
from metier.train.plan import Shape

H200 = Host(16, 16, 128 << 30, (Gpu("NVIDIA H200", 143771 << 20),))
H100 = Host(16, 16, 128 << 30, (Gpu("NVIDIA H100 80GB HBM3", 81559 << 20),))
TINY = Shape("tiny", 2, 64, 128, 4, 2, 16, 800, tied=True)


def test_there_are_twelve_and_more_memory_cases_over_all_sizes_and_methods_with_and_without_checkpointing() -> None:
    kinds = {(case.shape.name, case.method) for case in MEMORY}
    assert len(MEMORY) >= 12
    assert kinds == {(size, method) for size in ("1B", "3B", "8B") for method in ("full", "lora", "qlora")}
    assert {"gradient_checkpointing" in case.arguments for case in MEMORY} == {True, False}
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_memory_case_but_one_of_all_weights_is_foretold_to_fit_80_gb() -> None:
    large = [case.name for case in MEMORY if predicted(case, H100).peak > 80e9]
    assert large == []
    assert all(allocated(predicted(case, H200)) < predicted(case, H200).peak for case in MEMORY)


def test_a_case_survives_being_told_to_another_process() -> None:
    for case in CASES:
        assert case_of(json.loads(json.dumps(case._asdict()))) == case


def test_the_operations_of_one_row_are_those_counted_by_hand() -> None:
    shape = Shape("hand", 1, 4, 8, 2, 1, 2, 10)
    row = Size(tokens=3, trained=1)
    matrices = 2 * 4 * (4 + 2) + 3 * 4 * 8  # q and o are 4x4, k and v 4x2; three of 4x8
    assert shape.matrix_parameters == matrices + 40
    attention = 6 * 9 * 4
    assert operations(shape, "full", [row]) == 6 * (matrices * 3 + 40) + attention
    adapter = 2 * 8 + 2 * 6 + 3 * 12  # in and out of every matrix, for rank 1
    assert operations(shape, "lora", [row], rank=2) == 4 * (matrices * 3 + 40) + attention + 6 * 2 * adapter * 3


def test_operations_agree_with_what_torch_counts_forward() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM, LlamaConfig

    case, length = Case("memory", "ours", TINY, "full", {}), 48
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(LlamaConfig(**case.config), attn_implementation="eager")
        ids = torch.zeros(1, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        network(input_ids=ids)
    # Forward is a third; torch counts the masked half of attention too.
    masked = 2.0 * length**2 * TINY.queries * TINY.layers
    assert operations(TINY, "full", [Size(length, length)]) / 3 + masked == counter.get_total_flops()


def test_rows_are_as_long_as_instruction_data_and_the_same_each_time() -> None:
    sizes = lengths(BATCH_ROWS * STEPS)
    assert sizes == lengths(BATCH_ROWS * STEPS)
    assert max(sizes) == LONGEST and 350 < sum(sizes) / len(sizes) < 500
    case = SPEED[0]
    assert rows_of(case) == rows_of(case)
    share = sum(row.trained for row in rows_of(case)) / sum(sizes)
    assert share == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("host", [H100, H200], ids=["H100", "H200"])
def test_our_trainer_sees_each_row_once_in_the_step_in_which_peers_see_it(host: Host) -> None:
    case = SPEED[0]
    plan, rows = schedule_of(case, host), rows_of(case)
    assert plan.steps == STEPS
    steps = [plan.windows[at : at + plan.accumulate] for at in range(0, len(plan.windows), plan.accumulate)]
    for at, step in enumerate(steps):
        there = sorted(name for window in step for name in window.names)
        assert there == sorted(row.name for row in rows[at * BATCH_ROWS : (at + 1) * BATCH_ROWS])
    assert all(len(block[2]) == 1 for window in plan.windows for block in window.blocks)


def test_the_first_steps_do_not_count() -> None:
    tokens, ends = [1000] * WARM + [10] * (STEPS - WARM), [float(100 * at) for at in range(WARM)]
    ends += [ends[-1] + 2.0 * (at + 1) for at in range(STEPS - WARM)]
    assert rate(tokens, ends) == 5.0
    assert len(timed(SPEED[0])) == BATCH_ROWS * (STEPS - WARM)


def _measured(seconds: float, **more: Any) -> dict[str, Any]:
    told = {"ends": [seconds * at for at in range(STEPS)], "losses": [11.8, 11.7], "attention": "sdpa"}
    figures = {"allocated": 30 * 10**9, "reserved": 31 * 10**9, "matrix_peak": 7e14, "window": 8000}
    return told | figures | {"versions": {"torch": "2.13.0", "trl": "1.16.0"}} | more


def test_rows_hold_ours_beside_peers_and_say_why_a_figure_is_missing() -> None:
    tokens = [sum(lengths(BATCH_ROWS * STEPS)[at * BATCH_ROWS : (at + 1) * BATCH_ROWS]) for at in range(STEPS)]
    found: dict[str, Any] = {
        "speed 8B lora ours": _measured(2.0),
        "speed 8B lora ours, compiled": gpu.Failed("out of memory"),
        "speed 8B lora trl, defaults": _measured(4.0, tokens=tokens),
        "speed 8B lora unsloth, defaults": gpu.Failed("Unsloth is not installed"),
        MEMORY[0].name: _measured(1.0),
        MEMORY[1].name: gpu.Failed("out of memory"),
    }
    made = {(row.name, row.peer, row.input): row for row in gpu.rows(found, H200)}
    assert len(made) == 6
    named = {name: row for (name, _, _), row in made.items()}
    beside = named["training speed on GPU, 8B lora beside TRL defaults"]
    assert beside.ratio == 2.0 and beside.peer_version == "1.16.0" and beside.bar is not None
    missing = named["training speed on GPU, 8B lora beside Unsloth defaults"]
    assert missing.theirs is None and missing.ratio is None and missing.note == "Unsloth is not installed"
    share = named["share of the measured bf16 peak, 8B lora"]
    wanted = operations(SPEED[0].shape, "lora", timed(SPEED[0])) / (2.0 * (STEPS - WARM)) / 7e14
    assert share.ours == pytest.approx(100 * wanted, abs=0.05)
    memory = [row for row in made.values() if row.name == "peak memory on GPU, predicted against measured"]
    assert {(row.note or "").split(" ")[0] for row in memory} == {"measured", "not"}
    assert named["peak memory on GPU, predictions within 10%"].unit == "of 1 configurations"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("Traceback\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n", "out of memory"),
        ("a\nValueError: no such layer\n", "failed: ValueError: no such layer"),
        ("", "failed: without a word"),
    ],
)
def test_a_failed_case_is_a_note(error: str, reason: str) -> None:
    assert gpu.reason_of(error) == reason


@pytest.fixture
def _no_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setattr("benchmarks.record._RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["gpu"])
    yield tmp_path


def test_without_a_gpu_it_says_so_in_a_line_and_writes_nothing(
    _no_rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("metier.core.host._gpus", lambda: ())
    gpu.main()
    assert capsys.readouterr().out.startswith("no GPU at hand") and list(_no_rows.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_our_side_trains_a_tiny_case_on_cores(method: Any, tmp_path: Path) -> None:
    """In a process of its own, as always: it makes no checkpoints and draws weights instead of reading them."""
    case = Case("memory", "ours", TINY, method, {"gradient_checkpointing": method == "qlora"}, "", 2, 32, 2)
    told = gpu.measure(case, tmp_path / "kept.json")
    assert isinstance(told, dict), told
    assert len(told["ends"]) == 3 and told["window"] == 64 and told["passes"] == 2
    assert all(6 < loss < 8 for loss in told["losses"])


@pytest.mark.slow
def test_the_peers_side_counts_tokens_that_are_no_padding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.train.gpu_cases.BATCH_ROWS", 8)
    monkeypatch.setattr("benchmarks.train.gpu_cases.STEPS", 2)
    monkeypatch.setattr("benchmarks.train.gpu_cases.LONGEST", 200)
    monkeypatch.setattr("benchmarks.train.gpu.STEPS", 2)
    padded = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    case = Case("speed", "trl", TINY, "lora", padded, "defaults")
    told = gpu.measure(case, tmp_path / "kept.json")
    assert isinstance(told, dict), told
    sizes = lengths(16)
    assert told["tokens"] == [sum(sizes[:8]), sum(sizes[8:])]


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_peak_of_a_training_on_a_gpu_is_predicted_within_a_tenth(method: str, tmp_path: Path) -> None:
    shape = Shape("150M", 12, 1024, 2816, 16, 8, 64, 32000, tied=True)
    case = Case("memory", "ours", shape, method, {}, "", 4, 1024)  # type: ignore[arg-type]
    host = Host.here()
    told = gpu.measure(case, tmp_path / "kept.json")
    assert isinstance(told, dict), told
    assert told["allocated"] == pytest.approx(allocated(predicted(case, host)), rel=0.1)


@pytest.mark.gpu
def test_the_peak_of_matrix_products_is_a_gpus() -> None:
    import torch
    from benchmarks.train.peer_scripts.gpu_clock import matrix_peak

    assert 1e13 < matrix_peak(torch.device("cuda")) < 1e16
