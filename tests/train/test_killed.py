"""A process that is ended at the worst moment costs no more than the steps since its last checkpoint.

The child ends itself at a step and a place that are told, so that what was proved does not depend on who was faster.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from metier.core import Workshop
from metier.core.types import Model
from metier.train.checkpoint import MARKER, step_of
from tests.train.bench import HOST, same, weights
from tests.train.killed import FILLER, MADE

ROOT = Path(__file__).parents[2]
KILLED = -9


class Ended(NamedTuple):
    code: int
    said: str


def run(workshop: Path, model: Path, kind: str, where: str = "", at: int = 0, inside: tuple[str, ...] = ()) -> Ended:
    """Train in a child, see `tests.train.killed`. inside: words before its command."""
    command = [
        sys.executable,
        "-m",
        "tests.train.killed",
        str(workshop),
        str(model),
        kind,
        *([where, str(at)] * bool(at)),
    ]
    done = subprocess.run([*inside, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    return Ended(done.returncode, done.stderr)


def newest_step(folder: Path) -> int:
    return max((step_of(marker.parent) for marker in folder.glob(f"checkpoints/*/{MARKER}")), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_training_killed_three_times_in_its_saves_ends_with_the_very_same_weights(
    tiny_model_folder: Path, tmp_path: Path, kind: str
) -> None:
    folder = Workshop(tmp_path / "killed", HOST).folder_of(MADE[kind](str(tiny_model_folder)))
    # Half written: back to the step before. Unsealed: the same. Half deleted: the newer one is whole.
    for where, at, left in (("save", 5, 4), ("seal", 9, 8), ("room", 8, 9)):
        ended = run(tmp_path / "killed", tiny_model_folder, kind, where, at)
        assert ended.code == KILLED, ended.said[-2000:]
        assert newest_step(folder) == left
    for place in ("killed", "through"):
        ended = run(tmp_path / place, tiny_model_folder, kind)
        assert ended.code == 0, ended.said[-2000:]
    killed, through = (Model(tmp_path / name / folder.name) for name in ("killed", "through"))
    assert killed.record.figures["checkpoints_resumed_from"] == [4, 8, 9]
    assert same(weights(killed.model_folder), weights(through.model_folder))
    assert killed.record.output_sha256 == through.record.output_sha256
    assert not list(killed.folder.glob("checkpoints"))


@pytest.mark.slow
def test_a_training_that_is_told_to_end_saves_exits_with_143_and_goes_on(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = Workshop(tmp_path, HOST).folder_of(MADE["sft"](str(tiny_model_folder)))
    ended = run(tmp_path, tiny_model_folder, "sft", "term", 4)  # it saves for nothing else
    assert ended.code == 143, ended.said[-2000:]
    assert newest_step(folder) == 4
    ended = run(tmp_path, tiny_model_folder, "sft")
    assert ended.code == 0, ended.said[-2000:]
    assert Model(folder).record.figures["checkpoints_resumed_from"] == [4]


class Disk(NamedTuple):
    """A folder on a disk of its own: how the test sees it, and the words before a command that sees it as `folder`."""

    seen: Path
    inside: tuple[str, ...]


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Mount a disk of 16 MB on `folder`, for one process that waits and for those that join it.

    Only they see it. It is gone when they end, and the first ends when this process does, killed or not.
    """
    mount = f"mount -t tmpfs -o size=16m none '{folder}' && echo mounted && exec cat"
    try:
        holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    except FileNotFoundError:
        pytest.skip("util-linux is not installed")
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != "mounted\n":
            pytest.skip("a small disk can be mounted by root only")
        # To join is to begin at the root.
        join = ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "env", f"--chdir={ROOT}")
        yield Disk(Path(f"/proc/{holder.pid}/root{folder}"), join)
    finally:
        holder.communicate()


@contextmanager
def usual_disk(folder: Path) -> Iterator[Disk]:
    """Give the disk that `folder` is on."""
    yield Disk(folder, ())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["limit", "full"])
def test_a_save_without_room_is_told_and_the_last_good_checkpoint_goes_on(
    tiny_model_folder: Path, tmp_path: Path, kind: str
) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    name = Workshop(shop, HOST).folder_of(MADE["sft"](str(tiny_model_folder))).name
    with (small_disk if kind == "full" else usual_disk)(shop) as disk:
        folder = disk.seen / name
        failed = run(shop, tiny_model_folder, "sft", kind, 5, disk.inside)
        assert failed.code in (1, 2) and "Traceback" not in failed.said
        told = ("disk is full", "could not be written", "larger than")
        assert any(words in failed.said for words in told) and "hint:" in failed.said
        assert newest_step(folder) == 4 and not (folder / "checkpoints/checkpoint-5").exists()
        (disk.seen / FILLER).unlink(missing_ok=True)
        for place, inside in ((shop, disk.inside), (tmp_path / "through", ())):
            ended = run(place, tiny_model_folder, "sft", inside=inside)
            assert ended.code == 0, ended.said[-2000:]
        full, through = Model(folder), Model(tmp_path / "through" / name)
        assert full.record.figures["checkpoints_resumed_from"] == [4]
        assert same(weights(full.model_folder), weights(through.model_folder))


@pytest.mark.slow
def test_a_reinforcement_killed_in_a_step_draws_the_same_answers_again(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = Workshop(tmp_path / "killed", HOST).folder_of(MADE["grpo"](str(tiny_model_folder)))
    ended = run(tmp_path / "killed", tiny_model_folder, "grpo", "step", 6)
    assert ended.code == KILLED, ended.said[-2000:]
    assert newest_step(folder) == 5
    for place in ("killed", "through"):
        ended = run(tmp_path / place, tiny_model_folder, "grpo")
        assert ended.code == 0, ended.said[-2000:]
    killed, through = (Model(tmp_path / name / folder.name) for name in ("killed", "through"))
    assert killed.record.figures["checkpoints_resumed_from"] == [5]
    assert (killed.folder / "traces.jsonl").read_text() == (through.folder / "traces.jsonl").read_text()
    assert same(weights(killed.model_folder), weights(through.model_folder))
