"""Artifacts are made once, whole or not at all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from metier.core import Failure, Mistake, Step, Work, Workshop
from metier.core.artifact import RECORD
from metier.core.plan import find_artifact, plan, why
from tests.core.steps import Count, Even, Many, Numbers


def run_in_process(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.core.steps", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def counted(folder: Path) -> int:
    return sum(len(path.read_text().split()) for path in folder.glob("test-count-*/numbers.txt"))


def test_a_second_make_does_no_work(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    first = shop.make(Even(numbers=Count())).record
    assert shop.make(Even(numbers=Count())).record == first
    assert plan(shop, [Even(numbers=Count())], {}).to_make == []


def test_an_artifact_without_its_record_does_not_exist(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    made = shop.make(Count())
    (made.folder / RECORD).unlink()
    assert shop.find(Count()) is None
    with pytest.raises(Failure, match="not finished"):
        _ = made.record


def test_what_is_needed_only_by_finished_work_is_not_made_again(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    step = Even(numbers=Count())
    shop.make(step)
    (shop.folder_of(step.numbers) / RECORD).unlink()
    assert [item.state for item in plan(shop, [step], {}).steps] == ["not needed", "done"]
    shop.make(step)
    assert shop.find(step.numbers) is None


def test_two_processes_making_the_same_step_do_the_work_once(tmp_path: Path) -> None:
    both = [run_in_process(tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert outputs[0] == outputs[1] != ""
    starts = [event for artifact in Workshop(tmp_path).artifacts() for event in artifact.events("start")]
    assert [event["at"] for event in starts] == [0]


def test_a_step_killed_at_any_moment_completes_and_reuses_what_was_finished(tmp_path: Path) -> None:
    rng = random.Random(7)
    for _ in range(5):
        process = run_in_process(tmp_path)
        before, deadline = counted(tmp_path), time.monotonic() + 30
        while counted(tmp_path) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed, expected = run_in_process(tmp_path), run_in_process(tmp_path / "uninterrupted")
    out = killed.communicate(timeout=60)[0]
    assert out == expected.communicate(timeout=60)[0] != ""
    starts = [event["at"] for artifact in Workshop(tmp_path).artifacts() for event in artifact.events("start")]
    assert starts == sorted(starts) and starts[-1] > 0


def test_a_loss_between_two_steps_fails_the_second(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="were lost between 'numbers' and 'test-even'"):
        Workshop(tmp_path).make(Even(numbers=Count(), lose=1))


def test_leftovers_in_scratch_are_gone_when_a_step_is_done(tmp_path: Path) -> None:
    class Scratchy(Step[Numbers]):
        name: ClassVar[str] = "test-scratchy"

        def run(self, work: Work) -> None:
            (work.folder / ".scratch").mkdir()
            (work.folder / ".scratch" / "checkpoint").write_text("large")

    made = Workshop(tmp_path).make(Scratchy())
    assert [path.name for path in made.folder.iterdir()] == [RECORD]


class Raises(Step[Numbers]):
    name: ClassVar[str] = "test-raises"
    kind: str

    def run(self, work: Work) -> None:
        if self.kind == "disk":
            raise OSError(28, "No space left on device", "weights.bin")
        if self.kind == "library":
            raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")
        if self.kind == "memory":
            raise MemoryError
        raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("disk", Mistake, "the disk is full"),
        ("library", Mistake, "the disk is full"),
        ("memory", Failure, "ran out of memory"),
        ("bug", ZeroDivisionError, "a bug"),
    ],
)
def test_a_full_disk_is_told_as_such_and_a_bug_is_not_hidden(
    tmp_path: Path, kind: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Workshop(tmp_path).make(Raises(kind=kind))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_workshop_is_the_users_mistake_for_anyone_but_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Mistake, match="permission denied"):
        Workshop(tmp_path / "runs")


def test_a_workshop_that_cannot_be_a_folder_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(Mistake, match="not a folder"):
        Workshop(tmp_path / "runs")


def test_why_names_the_field_and_its_values(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    shop.make(Even(numbers=Count(upto=4)))
    step = Even(numbers=Count(upto=6))
    lines = why(shop, step, {id(step): "even", id(step.numbers): "numbers"})
    assert "even: numbers: another $numbers" in lines[0]
    assert lines[1].strip() == "numbers: upto: 4 → 6"
    assert why(shop, Even(numbers=Count(upto=4)), {}) == []


def test_the_record_holds_all_that_is_known(tmp_path: Path) -> None:
    record: Any = json.loads((Workshop(tmp_path).make(Many(parts=(Count(upto=2),))).folder / RECORD).read_text())
    assert record["recipe"] == {"parts": [{"made_by": record["inputs"]["parts"][0]}]}
    assert record["figures"]["process"] == os.getpid()
    assert record["output_bytes"] > 0 and record["versions"]["metier"] and record["host"]["cores"] >= 1


def test_an_artifact_is_found_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    shop.make(Count(upto=1))
    shop.make(Count(upto=2))
    assert find_artifact(shop, shop.folder_of(Count(upto=2)).name[:14]).folder == shop.folder_of(Count(upto=2))
    with pytest.raises(Mistake, match="names 2 artifacts"):
        find_artifact(shop, "test-count")
