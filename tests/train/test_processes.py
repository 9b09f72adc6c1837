"""Several processes train as one does, however the weights are cut over them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import trl

from metier.core import Artifact, Mistake
from metier.train.adapt import network_for
from metier.train.arguments import arguments, shared
from metier.train.collate import EMPTY, collate
from metier.train.distributed import dealt, layout
from metier.train.options import Settings
from tests.train.bench import HOST, largest_difference, weights
from tests.train.processes import zero

ROOT = Path(__file__).parents[2]
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP")


def launch(folder: Path, model: Path, *words: str, processes: int = 2, **variables: str) -> tuple[int, str]:
    """Train the tiny model, see `processes`; return the exit code and what was said on standard error."""
    program = [sys.executable, "-m"]
    if processes > 1:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = str(taken.getsockname()[1])
        program += ["torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", port, "-m"]
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    done = subprocess.run(
        [*program, "tests.train.processes", str(folder), str(model), *words],
        cwd=ROOT, env=environment | {"OMP_NUM_THREADS": "1", **variables}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    return done.returncode, done.stdout[-2000:] + done.stderr[-6000:]


def trained(workshop: Path) -> dict[str, Path]:
    """Return the folders of the trainings in a workshop, by their names in the workshop."""
    return {path.name: path for step in ("sft", "dpo") for path in workshop.glob(f"{step}-*")}


def losses(folder: Path) -> list[float]:
    """Return the losses of all steps: were they written by two processes, each would be there twice."""
    return [event["loss"] for event in Artifact(folder).events("log")]


@pytest.fixture(scope="module")
def alone(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workshop in which one process trained."""
    folder = tmp_path_factory.mktemp("alone")
    code, said = launch(folder, tiny_model_folder, "one:again", "one:dpo-lora", processes=1)
    assert code == 0 and "Setting accelerator to CPU" not in said, said
    return folder / "one"


def assert_same(alone: Path, several: Path, count: int) -> None:
    """Assert that so many trainings have the losses of each step and the weights that one process gives."""
    one, two = trained(alone), trained(several)
    assert set(two) <= set(one) and len(two) == count
    for name in two:
        assert losses(two[name]) == pytest.approx(losses(one[name]), abs=1e-4) and len(losses(one[name])) > 2
        assert largest_difference(weights(one[name] / "model"), weights(two[name] / "model")) < 1e-4


@pytest.mark.slow
def test_data_parallel_and_fsdp2_give_the_losses_and_weights_of_one_process(
    tiny_model_folder: Path, alone: Path, tmp_path: Path
) -> None:
    code, said = launch(tmp_path, tiny_model_folder, "ddp:sft", "ddp:dpo-lora", "fsdp2:sft", "fsdp2:dpo-lora")
    assert code == 0, said
    assert_same(alone, tmp_path / "ddp", 2)
    assert_same(alone, tmp_path / "fsdp2", 2)


@pytest.mark.slow
def test_the_stages_of_zero_give_them_and_fsdp2_goes_on_from_the_weights_of_zero_3(
    tiny_model_folder: Path, alone: Path, tmp_path: Path
) -> None:
    words = ("zero-1:sft", "zero-2:sft", "zero-3:sft", "zero-3:dpo-lora", "zero-3-offload:sft", "zero-3/fsdp2:again")
    code, said = launch(tmp_path, tiny_model_folder, *words)
    assert code == 0, said
    for where, count in (("zero-1", 1), ("zero-2", 1), ("zero-3", 3), ("zero-3-offload", 1)):
        assert_same(alone, tmp_path / where, count)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ended", "resumed", "processes"), [("ddp", "ddp/one", 1), ("fsdp2", "fsdp2", 3), ("zero-2", "zero-2", 2)]
)
def test_sigterm_to_one_of_two_ends_both_with_143_and_the_training_goes_on_as_if_nothing_had_been(
    tiny_model_folder: Path, alone: Path, tmp_path: Path, ended: str, resumed: str, processes: int
) -> None:
    code, said = launch(tmp_path, tiny_model_folder, f"{ended}:sft", METIER_TEST_END="2")
    assert code != 0 and "asked to end: saved after step" in said and "exitcode  : 143" in said, said
    (folder,) = (tmp_path / ended).glob("sft-*")
    assert list(folder.glob("checkpoints/checkpoint-*/complete.json")) and not (folder / "record.json").exists()
    code, said = launch(tmp_path, tiny_model_folder, f"{resumed}:sft", processes=processes)
    assert code == 0 and "going on from step" in said, said
    assert_same(alone, tmp_path / ended, 1)


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


def test_lora_computes_in_16_bits_under_zero_and_is_refused_there_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    for name, value in zero(tmp_path, 2).items():
        monkeypatch.setenv(name, value)
    settings = Settings(1e-3, 0.1, 0.0, 0, method="lora", precision="bf16")
    network = network_for(tiny_model_folder, settings, HOST).bfloat16()  # as DeepSpeed does, which has no autocast
    told = collate([EMPTY._replace(targets=[5, 7])])
    loss = network(**{name: told[name] for name in ("input_ids", "position_ids", "targets", "blocks")}).sum()
    assert torch.isfinite(loss)
    with pytest.raises(Mistake, match="without GPUs zero-2 trains in float32 only"):
        arguments(trl.SFTConfig, tmp_path, 4, 1, settings, HOST)


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
