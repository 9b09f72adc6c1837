from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metier.core import Workshop
from metier.core.types import Model
from metier.train.checkpoint import MARKER, step_of
from tests.train.bench import HOST, same, weights
from tests.train.killed import reinforcement, training

ROOT = Path(__file__).parents[2]


def start(workshop: Path, model: Path, *kind: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.train.killed", str(workshop), str(model), *kind], cwd=ROOT)


def newest_step(folder: Path) -> int:
    return max((step_of(marker.parent) for marker in folder.glob(f"checkpoints/*/{MARKER}")), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_training_killed_three_times_resumes_and_ends_with_the_very_same_weights(
    tiny_model_folder: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    step = training(str(tiny_model_folder))
    folder = Workshop(tmp_path / "killed", HOST).folder_of(step)
    for _ in range(3):
        process = start(tmp_path / "killed", tiny_model_folder)
        before = newest_step(folder)
        while newest_step(folder) < before + 2 and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.random() / 2)  # anywhere in a step, or in a save
        process.kill()
        assert process.wait() == -9, "it ended before it could be killed"
    assert start(tmp_path / "killed", tiny_model_folder).wait() == 0
    assert start(tmp_path / "through", tiny_model_folder).wait() == 0
    killed, through = (Model(tmp_path / name / folder.name) for name in ("killed", "through"))
    resumed = killed.record.figures["checkpoints_resumed_from"]
    assert len(resumed) == 3 and resumed == sorted(resumed) and resumed[0] > 0
    assert same(weights(killed.model_folder), weights(through.model_folder))
    assert killed.record.output_sha256 == through.record.output_sha256
    assert not list(killed.folder.glob("checkpoints"))


@pytest.mark.slow
def test_a_reinforcement_killed_in_a_step_draws_the_same_answers_again(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = Workshop(tmp_path / "killed", HOST).folder_of(reinforcement(str(tiny_model_folder)))
    process = start(tmp_path / "killed", tiny_model_folder, "grpo")
    while newest_step(folder) < 5 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -9, "it ended before it could be killed"
    assert start(tmp_path / "killed", tiny_model_folder, "grpo").wait() == 0
    assert start(tmp_path / "through", tiny_model_folder, "grpo").wait() == 0
    killed, through = (Model(tmp_path / name / folder.name) for name in ("killed", "through"))
    assert killed.record.figures["checkpoints_resumed_from"][0] >= 5
    assert (killed.folder / "traces.jsonl").read_text() == (through.folder / "traces.jsonl").read_text()
    assert same(weights(killed.model_folder), weights(through.model_folder))
