"""Several processes train as one does, however the weights are cut over them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from metier.core import Artifact, Mistake
from metier.train.arguments import shared
from metier.train.collate import EMPTY, collate
from metier.train.distributed import dealt, layout
from tests.train.bench import largest_difference, weights

ROOT = Path(__file__).parents[2]
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP")
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}


def zero(folder: Path, stage: int, offload: bool = False) -> dict[str, str]:
    """Return the variables of a stage of ZeRO, whose configuration is written into `folder`."""
    parts: dict[str, Any] = {"stage": stage, "overlap_comm": not offload, "contiguous_gradients": True}
    parts |= {"stage3_param_persistence_threshold": 640} if stage == 3 else {}
    if offload:
        parts |= {name: {"device": "cpu", "pin_memory": True} for name in ("offload_optimizer", "offload_param")}
    names = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size", "gradient_clipping")
    told = dict.fromkeys(names, "auto") | {"zero_optimization": parts, "zero_force_ds_cpu_optimizer": False}
    path = folder / "deepspeed.json"
    path.write_text(json.dumps(told))
    return {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path),
        "ACCELERATE_DEEPSPEED_ZERO3_INIT": str(stage == 3).lower(),
    }


def started(workshop: Path, model: Path, names: list[str], variables: dict[str, str], processes: int) -> Any:
    """Start trainings of the tiny model by so many processes."""
    words = [sys.executable, "-m"]
    if processes > 1:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = str(taken.getsockname()[1])
        words += ["torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", port, "-m"]
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    environment |= {"OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        [*words, "tests.train.processes", str(workshop), str(model), *names],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def train(workshop: Path, model: Path, names: list[str], variables: dict[str, str], processes: int = 2) -> str:
    """Train, and return what was said on standard error."""
    process = started(workshop, model, names, variables, processes)
    said: str = process.communicate(timeout=600)[1]
    assert process.returncode == 0, said[-3000:]
    return said


def trained(workshop: Path) -> dict[str, Path]:
    """Return the folders of the trainings in a workshop, by their names in the workshop."""
    return {path.name: path for step in ("sft", "dpo") for path in workshop.glob(f"{step}-*")}


def losses(folder: Path) -> list[float]:
    return [event["loss"] for event in Artifact(folder).events("log")]


NAMES = ["sft-full", "dpo-lora"]


@pytest.fixture(scope="module")
def alone(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workshop in which one process trained."""
    workshop = tmp_path_factory.mktemp("alone")
    train(workshop, tiny_model_folder, NAMES, {}, processes=1)
    return workshop


def assert_same(alone: Path, several: Path) -> None:
    one, two = trained(alone), trained(several)
    assert one.keys() == two.keys() and len(one) == len(NAMES)
    for name in one:
        assert losses(two[name]) == pytest.approx(losses(one[name]), abs=1e-4) and len(losses(one[name])) > 2
        assert largest_difference(weights(one[name] / "model"), weights(two[name] / "model")) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "zero-1", "zero-2", "zero-3", "zero-3 offloaded", "fsdp2"])
def test_two_processes_give_the_losses_and_weights_of_one(
    tiny_model_folder: Path, alone: Path, tmp_path: Path, how: str
) -> None:
    variables = {"ddp": {}, "fsdp2": FSDP2}.get(how)
    if variables is None:
        variables = zero(tmp_path, int(how[5]), offload=how.endswith("offloaded"))
    train(tmp_path / "runs", tiny_model_folder, NAMES, variables)
    assert_same(alone, tmp_path / "runs")


@pytest.mark.slow
def test_sigterm_to_one_of_two_saves_and_ends_both_with_143(tiny_model_folder: Path, tmp_path: Path) -> None:
    workshop = tmp_path / "runs"
    process = started(workshop, tiny_model_folder, ["sft-long"], {}, 2)
    deadline = time.monotonic() + 300
    while not list(workshop.glob("sft-*/events.jsonl")) or not losses(next(workshop.glob("sft-*"))):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(workers.stdout.split()[-1]), signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode != 0 and "asked to end: saved after step" in said and "exitcode  : 143" in said
    (folder,) = workshop.glob("sft-*")
    assert list(folder.glob("checkpoints/checkpoint-*/complete.json")) and not (folder / "record.json").exists()


def test_empty_passes_make_every_step_even() -> None:
    assert dealt(5, 3, 1) is None
    assert dealt(6, 2, 2) == [0, 1, 2, 3, 4, 5]
    assert dealt(5, 3, 2) == [0, 1, 2, None, 3, 4]
    assert dealt(4, 3, 2) == [0, 1, 2, None, 3, None]
    assert dealt(3, 1, 4) == [0, None, None, None, 1, None, None, None, 2, None, None, None]
    assert int((collate([EMPTY])["targets"] >= 0).sum()) == 0


def test_passes_that_cannot_be_shared_evenly_are_refused_where_none_can_be_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert shared(4) == 2
    with pytest.raises(Mistake, match="3 forward passes cannot be shared by 2"):
        shared(3)
    monkeypatch.delenv("WORLD_SIZE")
    assert shared(3) == 3


def test_the_layout_is_what_the_launcher_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    assert layout() == "whole"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert layout() == "fsdp2"
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(Mistake, match="second version only"):
        layout()
    for name, value in zero(tmp_path, 3).items():
        monkeypatch.setenv(name, value)
    assert layout() == "zero-3"
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(tmp_path / "none.json"))
    with pytest.raises(Mistake, match="cannot be read"):
        layout()
