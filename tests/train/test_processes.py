"""Several processes train as one does."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from metier.core import Artifact, Mistake
from metier.train.arguments import shared
from tests.train.bench import largest_difference, weights
from tests.train.processes import train

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_processes_give_the_losses_and_weights_of_one(tiny_model_folder: Path, tmp_path: Path, method: str) -> None:
    train(tmp_path, tiny_model_folder, method)  # type: ignore[arg-type]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    module = ["-m", "tests.train.processes", str(tmp_path), str(tiny_model_folder), method]
    done = subprocess.run([*launch, *module], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = ([event["loss"] for event in Artifact(tmp_path / name).events("log")] for name in ("alone", "0"))
    assert two == pytest.approx(one, abs=1e-4) and len(one) == 6
    assert largest_difference(weights(tmp_path / "alone/model"), weights(tmp_path / "0/model")) < 1e-5
    assert Artifact(tmp_path / "1").events("log") == [] and not (tmp_path / "1/model").exists()


def test_passes_that_cannot_be_shared_evenly_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert shared(4) == 2
    with pytest.raises(Mistake, match="3 forward passes cannot be shared by 2"):
        shared(3)
    monkeypatch.delenv("WORLD_SIZE")
    assert shared(3) == 3
