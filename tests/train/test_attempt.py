"""What events of a training count, where there were kills, rollbacks and earlier trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metier.train.attempt import counted_steps, events_of
from metier.train.cpt import channel_losses
from tests.train.bench import work_in


def write(folder: Path, *events: tuple[str, dict[str, Any]]) -> None:
    lines = [json.dumps({"time": 1.0, "kind": kind, **told}) for kind, told in events]
    (folder / "events.jsonl").write_text("".join(line + "\n" for line in lines))


def log(step: int, loss: float, **more: Any) -> tuple[str, dict[str, Any]]:
    return "log", {"step": step, "loss": loss, **more}


def test_a_training_begun_anew_knows_nothing_of_the_one_before(tmp_path: Path) -> None:
    before = [log(step, 9.0) for step in range(1, 51)]
    write(tmp_path, ("begun", {}), *before, ("validation", {"step": 50, "loss": 0.9}), ("begun", {}), log(1, 3.0))
    assert events_of(tmp_path, "validation") == []
    assert [(event["step"], event["loss"]) for event in counted_steps(tmp_path)] == [(1, 3.0)]


def test_steps_done_again_or_undone_do_not_count(tmp_path: Path) -> None:
    undone = ("rollback", {"step": 5, "to": 2})
    write(tmp_path, *[log(step, 9.0) for step in range(1, 6)], undone, log(6, 1.0), log(7, 8.0))
    assert [event["step"] for event in counted_steps(tmp_path)] == [1, 2, 6, 7]
    resumed = ("resume", {"step": 3})
    write(tmp_path, *[log(step, 9.0) for step in range(1, 6)], resumed, log(4, 1.0))
    assert [(event["step"], event["loss"]) for event in counted_steps(tmp_path)] == [(1, 9), (2, 9), (3, 9), (4, 1)]


def test_a_channels_loss_that_was_not_finite_is_left_out(tmp_path: Path) -> None:
    told = [log(1, 2.0, loss_law=4.0), log(2, 2.0, loss_law=None), log(3, 2.0, loss_law=3.0)]
    work = work_in(tmp_path)
    write(tmp_path, *told)
    assert channel_losses(work) == {"law": {"first": 4.0, "last": 3.0}}


def test_an_event_after_a_line_that_was_cut_stands_on_its_own(tmp_path: Path) -> None:
    work = work_in(tmp_path)
    for step in range(3):
        work.event("log", step=step)
    file = tmp_path / "events.jsonl"
    file.write_bytes(file.read_bytes()[:-10])
    work.event("log", step=3)
    work.event("log", step=4)
    assert [event["step"] for event in events_of(tmp_path, "log")] == [0, 1, 3, 4]
