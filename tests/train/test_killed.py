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
from tests.train.killed import FILLER, preferences, reinforcement, training

ROOT = Path(__file__).parents[2]


def start(workshop: Path, model: Path, *kind: str, stderr: int | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.train.killed", str(workshop), str(model), *kind]
    return subprocess.Popen(command, cwd=ROOT, stderr=stderr)


def newest_step(folder: Path) -> int:
    return max((step_of(marker.parent) for marker in folder.glob(f"checkpoints/*/{MARKER}")), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_training_killed_three_times_resumes_and_ends_with_the_very_same_weights(
    tiny_model_folder: Path, tmp_path: Path, kind: str
) -> None:
    rng = random.Random(kind)
    step = {"sft": training, "dpo": preferences}[kind](str(tiny_model_folder))
    folder = Workshop(tmp_path / "killed", HOST).folder_of(step)
    for _ in range(3):
        process = start(tmp_path / "killed", tiny_model_folder, kind)
        before = newest_step(folder)
        while newest_step(folder) < before + 2 and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.random() / 2)  # anywhere in a step, or in a save
        process.kill()
        assert process.wait() == -9, "it ended before it could be killed"
    assert start(tmp_path / "killed", tiny_model_folder, kind).wait() == 0
    assert start(tmp_path / "through", tiny_model_folder, kind).wait() == 0
    killed, through = (Model(tmp_path / name / folder.name) for name in ("killed", "through"))
    resumed = killed.record.figures["checkpoints_resumed_from"]
    assert len(resumed) == 3 and resumed == sorted(resumed) and resumed[0] > 0
    assert same(weights(killed.model_folder), weights(through.model_folder))
    assert killed.record.output_sha256 == through.record.output_sha256
    assert not list(killed.folder.glob("checkpoints"))


@pytest.mark.slow
def test_a_training_that_is_told_to_end_saves_exits_with_143_and_goes_on(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = Workshop(tmp_path, HOST).folder_of(training(str(tiny_model_folder)))
    process = start(tmp_path, tiny_model_folder)
    while newest_step(folder) < 3 and process.poll() is None:
        time.sleep(0.02)
    process.terminate()
    assert process.wait() == 143
    saved = newest_step(folder)
    assert saved >= 3
    assert start(tmp_path, tiny_model_folder).wait() == 0
    assert Model(folder).record.figures["checkpoints_resumed_from"] == [saved]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["limit", "full"])
def test_a_save_without_room_is_told_and_the_last_good_checkpoint_goes_on(
    tiny_model_folder: Path, tmp_path: Path, kind: str
) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    mounted = kind == "full"
    if mounted and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", shop], check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        step = training(str(tiny_model_folder))
        folder = Workshop(shop, HOST).folder_of(step)
        failed = start(shop, tiny_model_folder, kind, stderr=subprocess.PIPE)
        told = failed.communicate()[1].decode()
        assert failed.returncode in (1, 2) and "Traceback" not in told
        assert ("disk is full" in told or "could not be written" in told or "larger than" in told) and "hint:" in told
        assert newest_step(folder) == 4 and not (folder / "checkpoints/checkpoint-5").exists()
        (shop / FILLER).unlink(missing_ok=True)
        assert start(shop, tiny_model_folder).wait() == 0
        assert start(tmp_path / "through", tiny_model_folder).wait() == 0
        full, through = Model(folder), Model(tmp_path / "through" / folder.name)
        assert full.record.figures["checkpoints_resumed_from"] == [4]
        assert same(weights(full.model_folder), weights(through.model_folder))
    finally:
        if mounted:
            subprocess.run(["umount", shop], check=True)


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
