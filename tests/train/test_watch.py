from __future__ import annotations

import json
import math
import random
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from metier.core import Failure
from metier.core.engine.generation import Generated
from metier.train.checkpoint import Checkpoints
from metier.train.identity import Identity
from metier.train.packing import Group, Row, window_of
from metier.train.watch.detectors import (
    WARM_UP,
    Detector,
    Divergence,
    Finding,
    Gradient,
    NotFinite,
    Spike,
    Unlikely,
    detectors_for,
)
from metier.train.watch.guard import Guard
from metier.train.watch.looks import Looks, Measured, compared, summary
from metier.train.watch.options import CHECKS, Watch
from metier.train.watch.rollback import anchor_steps
from metier.train.watch.samples import Asked, repeated_share, row_prompts
from metier.train.watch.trace import UNDONE, Told, Trace
from tests.train.bench import work_in


def looked(detector: Detector, told: list[Told]) -> list[Finding]:
    """Everything a detector says while the steps come one by one."""
    trace, found = Trace(), []
    for step in told:
        trace.add(step)
        if (finding := detector.look(trace)) is not None:
            found.append(finding)
    return found


def steps(losses: list[float], norms: list[float] | None = None) -> list[Told]:
    norms = norms or [1.0] * len(losses)
    return [Told(at + 1, loss, norm) for at, (loss, norm) in enumerate(zip(losses, norms, strict=True))]


def healthy(count: int, seed: int, noise: float = 0.15) -> list[float]:
    """Losses that fall from 3 to 1.5 with the noise of small batches."""
    rng = random.Random(seed)
    return [1.5 + 1.5 * math.exp(-4 * at / count) + rng.gauss(0, noise) for at in range(count)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_or_gradient_that_is_not_finite_is_found_at_once(value: float) -> None:
    assert [one.step for one in looked(NotFinite(), steps([2.0, value]))] == [2]
    assert [one.step for one in looked(NotFinite(), steps([2.0, 2.0], [1.0, value]))] == [2]
    assert looked(NotFinite(), steps([2.0, 2.0])) == []


def test_steps_that_a_loss_scaler_skips_count_where_it_has_halved_more_often_than_it_can() -> None:
    skipped = [Told(at, 2.0, math.inf, skipped=True) for at in range(1, 20)]
    assert looked(NotFinite(), skipped) == []
    assert [one.step for one in looked(NotFinite(), [*skipped, Told(20, 2.0, math.inf, skipped=True)])] == [20]
    rare = [Told(at, 2.0, 1.0 if at % 40 else math.inf, skipped=at % 40 == 0) for at in range(1, 801)]
    assert [one.step for one in looked(NotFinite(), rare)] == [800]  # one bad row in forty
    usual = [Told(at, 2.0, 1.0 if at % 1500 else math.inf, skipped=at % 1500 == 0) for at in range(1, 30_001)]
    assert looked(NotFinite(), usual) == []


def test_a_spike_is_judged_by_median_and_median_absolute_deviation() -> None:
    losses = [2.0 + 0.1 * (at % 5) for at in range(50)]
    level = median(losses)
    deviation = 1.4826 * median(abs(loss - level) for loss in losses)
    bound = level + 8 * deviation
    assert bound > 1.3 * level  # else the least rise would be tested here
    assert looked(Spike(8), steps([*losses, bound - 0.01])) == []
    (finding,) = looked(Spike(8), steps([*losses, bound + 0.01]))
    assert finding.step == 51
    assert finding.bound == pytest.approx(bound)


def test_where_losses_hardly_vary_a_spike_is_a_rise_by_thirty_percent() -> None:
    assert looked(Spike(8), steps([2.0] * 30 + [2.59])) == []
    assert len(looked(Spike(8), steps([2.0] * 30 + [2.61]))) == 1


def test_nothing_alarms_before_the_warm_up() -> None:
    assert looked(Spike(8), steps([2.0] * (WARM_UP - 1) + [50.0])) == []
    assert looked(Gradient(10), steps([2.0] * WARM_UP, [1.0] * (WARM_UP - 1) + [500.0])) == []
    assert len(looked(Spike(8), steps([2.0] * WARM_UP + [50.0]))) == 1


def test_a_stretch_of_high_losses_is_one_finding_and_the_next_leap_another() -> None:
    losses = [2.0] * 30 + [9.0, 9.0, 9.0] + [2.0] * 5 + [9.0]
    assert [one.step for one in looked(Spike(8), steps(losses))] == [31, 39]


def test_a_training_diverges_when_ten_losses_are_far_above_the_first_ten() -> None:
    losses = [3.0] * 10 + [2.0] * 10 + [4.5] * 12
    (finding,) = looked(Divergence(1.0), steps(losses))
    assert finding.step == 26  # the sixth of the high ones makes the median of ten: (2 + 4.5) / 2 is not above 4
    assert finding.since == 16
    assert looked(Divergence(2.0), steps(losses)) == []


def test_a_training_whose_first_steps_are_spoilt_already_has_diverged_too() -> None:
    losses = [2.5, *[4.6] * 10]
    (finding,) = looked(Divergence(1.0), steps(losses))
    assert (finding.step, finding.bound) == (11, 4.5)
    assert looked(Divergence(1.0), steps([2.5, *[4.6] * 8, 4.4, 4.6, 4.6])) == []


def test_the_loss_of_pairs_may_rise_by_as_much_as_it_is() -> None:
    ipo = [25.0] * 10 + [40.0] * 10
    assert looked(Divergence(1.0, pairs=True), steps(ipo)) == []
    assert len(looked(Divergence(1.0, pairs=True), steps([25.0] * 10 + [51.0] * 10))) == 1
    assert len(looked(Divergence(1.0, pairs=True), steps([0.69] * 10 + [1.75] * 10))) == 1


def test_a_loss_that_can_only_double_diverges_by_a_third() -> None:
    """That of KTO begins at 0.5 and is 1 where nothing of the reference is left."""
    assert looked(Divergence(1.0, pairs=True), steps([0.5] * 10 + [1.0] * 40)) == []  # else nothing would be shown here
    assert len(looked(Divergence(1.0, pairs=True, doubles=True), steps([0.5] * 10 + [0.7] * 10))) == 1
    assert len(looked(Divergence(1.0, pairs=True, doubles=True), steps([0.5, *[0.9] * 10]))) == 1
    assert looked(Divergence(1.0, pairs=True, doubles=True), steps([0.5] * 10 + [0.6] * 40)) == []


def test_a_gradient_leaps_beyond_so_many_times_its_median() -> None:
    norms = [1.0] * 30
    assert looked(Gradient(10), steps([2.0] * 31, [*norms, 9.9])) == []
    assert [one.step for one in looked(Gradient(10), steps([2.0] * 32, [*norms, 10.1, 30.0]))] == [31]


def test_a_gradient_of_zero_over_ten_steps_is_said_once() -> None:
    assert looked(Gradient(10), steps([2.0] * 9, [0.0] * 9)) == []
    assert [one.step for one in looked(Gradient(10), steps([2.0] * 30, [0.0] * 30))] == [10]
    found = looked(Gradient(10), steps([2.0] * 30, [1.0] * 5 + [0.0] * 25))
    assert [(one.step, one.value) for one in found] == [(15, 0.0)]


def test_chosen_answers_are_judged_by_the_mean_of_ten_steps_with_a_warning_half_way() -> None:
    told = [Told(at + 1, 0.5, 1.0, lost=0.2 * at) for at in range(20)]
    half, stop, *_ = looked(Unlikely(1.0), told)
    assert (half.warns_only, half.step) == (True, 7)  # mean of 0 .. 1.2 is 0.6
    assert (stop.warns_only, stop.step) == (False, 11)  # mean of 0.2 .. 2.0 is 1.1; of 0 .. 1.8 it was 0.9
    assert looked(Unlikely(1.0), [one._replace(lost=None) for one in told]) == []
    rare = [one._replace(lost=one.lost if at % 5 == 4 else None) for at, one in enumerate(told)]
    half, stop, *_ = looked(Unlikely(1.0), rare)
    assert (half.step, stop.step) == (5, 10)  # steps without chosen answers dilute nothing


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_training_alarms_nobody(seed: int) -> None:
    rng = random.Random(seed)
    losses = healthy(400, seed)
    norms = [math.exp(rng.gauss(0, 0.4)) for _ in losses]
    for detector in detectors_for(Watch(), True, None):
        assert looked(detector, steps(losses, norms)) == []


def test_of_reinforcement_only_what_is_not_finite_is_judged() -> None:
    assert [type(one) for one in detectors_for(Watch(), False, None)] == [NotFinite]


def test_what_a_rollback_undid_is_no_part_of_the_trace() -> None:
    entries = [{"step": at, "loss": float(at), "grad_norm": 1.0} for at in range(1, 9)]
    history: list[dict[str, Any]] = [
        *entries,
        {"step": 8, UNDONE: 5},
        {"step": 9, "loss": 9.0},
        {"step": 9, "eval_loss": 1.0},
    ]
    trace = Trace(history)
    assert [told.step for told in trace.steps] == [1, 2, 3, 4, 5, 9]
    assert trace.rollbacks == 1


def test_the_share_of_repeated_groups_is_that_of_welleck() -> None:
    assert repeated_share([1, 2, 3, 4, 5, 6, 7]) == 0
    assert repeated_share([7] * 10) == pytest.approx(1 - 1 / 7)
    assert repeated_share([1, 2, 3, 4] * 3) == pytest.approx(1 - 4 / 9)
    assert repeated_share([1, 2, 3]) == 0


def test_prompts_of_rows_end_where_the_answer_begins_and_short_answers_are_to_end() -> None:
    short = Row("short", [*range(10), 20, 21, 99], [False] * 10 + [True] * 3)
    long = Row("long", [*range(10), *range(100, 180), 99], [False] * 10 + [True] * 81)
    text = Row("text", list(range(100)), [True] * 100)
    windows = [window_of([Group((row,), 0)]) for row in (text, long, short)]
    prompts, ends = row_prompts(windows, count=3)
    assert prompts[0] == Asked(list(range(10)), True, False)
    assert Asked(list(range(10)), False, False) in prompts
    assert Asked(list(range(32)), False, False) in prompts
    assert ends == {99}


def test_a_prompt_behind_a_shared_prefix_is_whole() -> None:
    prefix = list(range(20))
    rows = tuple(Row(f"r{at}", [*prefix, 30 + at, 40 + at, 99], [False] * 21 + [True] * 2) for at in range(2))
    (asked,), ends = row_prompts([window_of([Group(rows, 20)])])
    assert asked == Asked([*prefix, 30], True, False)
    assert ends == {99}


def test_answers_that_should_end_are_counted_apart() -> None:
    prompts = [Asked([1], True, False), Asked([1], True, False), Asked([1], False, True)]
    drawn = [Generated([1, 2], True), Generated([7] * 10, False), Generated([1] * 4, False)]
    repeated, unended = summary(prompts, drawn)
    assert repeated == pytest.approx((1 - 1 / 7) / 3)
    assert unended == 0.5
    assert summary(prompts[2:], drawn[2:]) == (0.0, None)


def test_a_look_is_judged_by_its_rise_since_before_step_1() -> None:
    before = Measured(text=3.0, replies=0.4, repeated=0.3, unended=0.0)
    watch = Watch()
    assert compared(before, Measured(3.5, 0.9, 0.7, 0.5), watch, 9, 4) == []
    found = compared(before, Measured(3.6, 1.4, 0.75, 0.6), watch, 9, 4)
    assert [(one.check, one.since) for one in found] == [("repetition", 4), ("no_end", 4), ("forgetting", 4)]
    assert "replies" in found[2].found  # the graver of the two
    assert compared(Measured(3.0), Measured(3.1), watch, 9, 4) == []
    assert [one.check for one in compared(Measured(3.0), Measured(math.nan), watch, 9, 4)] == ["forgetting"]


def test_good_checkpoints_lie_a_twentieth_of_the_training_apart_within_reason() -> None:
    assert [anchor_steps(steps, None) for steps in (30, 1_000, 100_000)] == [10, 50, 200]
    assert anchor_steps(1_000, 7) == 7


def guard_of(folder: Path, watch: Watch) -> Guard:
    """A guard on a training whose weights nobody looks at."""
    trainer: Any = SimpleNamespace(
        settings=SimpleNamespace(watch=watch),
        supervised=True,
        most_lost=None,
        doubles=False,
        state=SimpleNamespace(global_step=0, max_steps=100, log_history=[], best_metric=None),
        checkpoints=Checkpoints(folder / "checkpoints", Identity({}, {}, {})),
        accelerator=SimpleNamespace(wait_for_everyone=lambda: None),
        is_world_process_zero=lambda: True,
        work=work_in(folder),
    )
    guard = Guard(trainer)
    guard.begin()
    return guard


def go_on(guard: Guard, losses: list[float]) -> None:
    """Tell a guard of further steps, and take the checkpoints that it asks for."""
    trainer: Any = guard._trainer
    for loss in losses:
        step = trainer.state.global_step = trainer.state.global_step + 1
        entry = {"step": step, "loss": loss, "grad_norm": 1.0}
        trainer.state.log_history.append(entry)
        guard.after_step(entry)
        if guard.due(step):
            trainer.checkpoints.path(step).mkdir(parents=True)
            guard.saved(step)


def good(folder: Path) -> list[int]:
    return sorted(int(path.name.rpartition("-")[2]) for path in (folder / "checkpoints/good").glob("checkpoint-*"))


def test_a_second_rollback_does_not_return_to_what_the_first_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spike at step 26 goes back ten steps, to 15. The weights of step 25 are not good because a NaN comes at 28."""
    back: list[str] = []
    monkeypatch.setattr("metier.train.watch.guard.restore", lambda _trainer, anchor: back.append(anchor.name))
    monkeypatch.setattr("metier.train.watch.guard.set_rates", lambda _trainer: None)
    guard = guard_of(tmp_path, Watch(spike="rollback", not_finite="rollback", checkpoint_steps=5))
    go_on(guard, [1.0] * 25)
    assert good(tmp_path) == [15, 20, 25]
    go_on(guard, [9.0, 1.0, math.nan])
    assert back == ["checkpoint-15", "checkpoint-15"]
    assert good(tmp_path) == [15]


class Looking(Looks):
    """Looks that find forgetting after step 8."""

    def __init__(self, together: bool = False) -> None:
        self.trusted, self._together = 0, together

    def planned(self, step: int, _steps: int) -> bool:
        return step == 8

    def due(self, step: int, steps: int) -> bool:
        return self.planned(step, steps)

    def look(self, step: int) -> list[Finding]:
        return [Finding("forgetting", step, "it forgets", "0.9", "mix in general rows", 0.9, 0.5, 0)]


@pytest.mark.parametrize(("repetition", "kept"), [("warn", [10]), ("stop", [])])
def test_a_look_at_a_step_that_the_clock_chose_decides_nothing(
    tmp_path: Path, repetition: Any, kept: list[int]
) -> None:
    """Else which checkpoint a rollback returns to would depend on how fast the machine was."""
    guard = guard_of(tmp_path, Watch(spike="rollback", repetition=repetition, checkpoint_steps=10))
    guard.looks = Looking()
    go_on(guard, [1.0] * 12)
    assert good(tmp_path) == kept
    assert "it forgets" in guard._trainer.work.warnings[0]


@pytest.mark.parametrize("together", [False, True])
def test_all_processes_do_what_the_first_one_s_look_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    found = Looking().look(8)  # by the first process
    monkeypatch.setattr("metier.train.watch.looks.from_first", lambda _work: True if together else found)
    monkeypatch.setattr("metier.train.watch.looks.of_first", lambda _own: found)
    monkeypatch.setattr(Looking, "due", None)  # the own clock is not asked
    monkeypatch.setattr(Looking, "look", (lambda _self, _step: []) if together else None)  # nor is what was found here
    guard = guard_of(tmp_path, Watch(forgetting="stop"))
    guard.looks = Looking(together)
    with pytest.raises(Failure, match="it forgets"):
        go_on(guard, [1.0] * 12)
    assert guard._trainer.state.global_step == 8


def test_every_check_has_an_action_and_an_unknown_one_is_refused() -> None:
    assert {check: Watch().action(check) for check in CHECKS}["not_finite"] == "stop"
    assert not Watch().rolls_back
    assert Watch(spike="rollback").rolls_back
    assert not Watch().looks_decide
    assert Watch(forgetting="stop").looks_decide
    with pytest.raises(ValidationError):
        Watch(not_finite="warn")
    assert json.loads(Watch().model_dump_json())["spike"] == "warn"


def test_the_page_explains_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/read-the-watch.md").read_text()
    assert [field for field in Watch.model_fields if f"`{field}" not in page] == []
