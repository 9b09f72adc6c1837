"""The short trial: what it may choose, when it is done at all, and that it leaves nothing behind."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import metier.train.trial as trial
import metier.train.tune as tune_module
from metier.core import Artifact, Host
from metier.train.options import Settings, TrainingStep
from metier.train.rehearse import Tried, rehearse
from metier.train.trainer import PackedTrainer, longest
from metier.train.trial import Choice, Chosen, as_set, choose, keep, kept, physical_cores, tried
from metier.train.tune import tune
from tests.train.bench import HOST, Interrupting, rows_with_prefixes, same, weights, work_in
from tests.train.test_rehearse import heard, plan, trainer_of

SETTINGS = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.0, seed=0)
NOW = Choice(16, "auto", False)
FEWER, FP32 = ("threads", NOW._replace(threads=8)), ("fp32", NOW._replace(precision="fp32"))
DAY = 86_400.0


class Clock:
    """Stands for passes of known length: `took` by threads, number format and whether they are compiled."""

    def __init__(self, took: dict[Choice, float], compiling: float = 30.0) -> None:
        self.took, self.compiling, self.time = took, compiling, 0.0
        self.choice, self.asked = NOW, list[Choice]()

    def now(self) -> float:
        return self.time

    def set(self, choice: Choice) -> None:
        self.choice = choice

    def seconds(self, choice: Choice, warm: bool = True) -> float:
        self.asked.append(choice)
        if choice.compile and not self.choice.compile:
            self.time += self.compiling
        self.choice = choice
        if choice not in self.took:
            raise RuntimeError("no C++ compiler\nand more")
        self.time += (3 if warm else 2) * self.took[choice]
        return self.took[choice]


def chosen(clock: Clock, *ways: Any, compiled: bool = False, expected: float = DAY) -> Chosen:
    return choose(NOW, list(ways), compiled, clock, expected, clock.took[NOW])  # type: ignore[arg-type]


def test_a_way_that_is_clearly_faster_is_chosen_and_the_next_is_tried_on_top_of_it() -> None:
    both = NOW._replace(threads=8, precision="fp32")
    found = chosen(Clock({NOW: 6.0, FEWER[1]: 5.0, both: 4.0}), FEWER, FP32)
    assert found.choice == both
    assert found.ratios == {"16 threads": 1.2, "bf16": 1.25}
    assert found.seconds == 2 * 6 + 3 * 5 + 3 * 4


def test_what_is_chosen_stays_where_the_other_is_not_clearly_faster_and_the_ratio_is_told() -> None:
    found = chosen(Clock({NOW: 6.0, FEWER[1]: 5.8, FP32[1]: 9.0}), FEWER, FP32)
    assert found.choice == NOW and found.ratios == {"8 threads": round(5.8 / 6, 3), "fp32": 1.5}
    assert found.words("bf16") == (
        "trial in 56 s: 16 threads, bf16, not compiled; 0.97 times as fast as 8 threads; 1.50 times as fast as fp32"
    )


@pytest.mark.parametrize(("expected", "asked"), [(DAY, 3), (33 * 60.0, 2), (15 * 60.0, 0)])
def test_the_trial_takes_no_more_than_its_share_of_the_training(expected: float, asked: int) -> None:
    """3% of 33 minutes are 59 s: two passes and three of 10 s, and no more."""
    clock = Clock({NOW: 10.0, FEWER[1]: 10.0, FP32[1]: 10.0})
    found = chosen(clock, FEWER, FP32, expected=expected)
    assert len(clock.asked) == asked and clock.time <= trial.SHARE * expected and found.choice == NOW
    if asked == 2:
        assert found.why == "no time for fp32"
    if asked == 0:
        assert found.why == "3% of the training is too short to try anything" and not found.ratios


@pytest.mark.parametrize(
    ("expected", "faster", "compiling", "wins"),
    [(7200.0, 1.04, 30.0, True), (7200.0, 1.005, 30.0, False), (7200.0, 1.02, 200.0, False), (DAY, 1.02, 200.0, True)],
)
def test_compiling_has_to_win_back_its_own_time(expected: float, faster: float, compiling: float, wins: bool) -> None:
    """Two hours at 1.04 save 277 s, and at 1.02 only 141."""
    way = NOW._replace(compile=True)
    clock = Clock({NOW: 1.0, way: 1.0 / faster}, compiling)
    found = chosen(clock, compiled=True, expected=expected)
    assert found.choice == clock.choice == (way if wins else NOW)
    assert found.ratios == {"not compiled" if wins else "compiled": round(faster if wins else 1 / faster, 3)}


def test_a_machine_that_cannot_compile_trains_without() -> None:
    clock = Clock({NOW: 1.0})
    found = chosen(clock, compiled=True)
    assert found.choice == clock.choice == NOW and found.why == "compiling does not work here: no C++ compiler"


def test_there_are_as_many_cores_as_groups_of_siblings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at, siblings in enumerate(("0,4", "1,5", "2,6", "3,7") * 2):
        place = tmp_path / f"cpu{at}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(siblings + "\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    assert physical_cores(tmp_path) == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: [0, 1, 4])
    assert physical_cores(tmp_path) == 2
    assert physical_cores(tmp_path / "elsewhere") is None


def test_threads_are_tried_only_where_cores_run_two_and_never_more_than_the_host_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "physical_cores", lambda: 8)
    for host_threads, found in ((16, [8]), (8, []), (4, [])):
        now = NOW._replace(threads=host_threads)
        assert [way.threads for _, way in trial._fewer_threads(now, Host(16, host_threads, 1 << 34))] == found


def test_a_recipe_that_says_how_is_left_alone() -> None:
    said = SETTINGS._replace(precision="bf16", compile=True)
    assert Choice(8, "fp32", False).on(said) == said
    assert Choice(8, "fp32", True).on(SETTINGS._replace(compile="auto")) == SETTINGS._replace(
        precision="fp32", compile=True
    )
    assert Choice(8, "auto", False).on(SETTINGS._replace(compile="auto")) == SETTINGS
    assert as_set(said, HOST) == Choice(HOST.threads, "bf16", True)


def test_compile_auto_is_a_word_more_and_no_other_default() -> None:
    field = TrainingStep.model_fields["compile"]
    assert field.default is False and Settings(1.0, 0.0, 0.0, 0).compile is False


def test_a_choice_is_read_back_for_the_same_data_and_threads_belong_to_their_machine(tmp_path: Path) -> None:
    choice = Choice(8, "fp32", True)
    assert kept(tmp_path, "data", NOW) is None
    keep(tmp_path, "data", NOW, Chosen(choice, {"bf16": 1.2}))
    found = kept(tmp_path, "data", NOW)
    assert found is not None and found.choice == choice and found.ratios == {"bf16": 1.2}
    assert kept(tmp_path, "other data", NOW) is None
    elsewhere = kept(tmp_path, "data", NOW._replace(threads=4))
    assert elsewhere is not None and elsewhere.choice == choice._replace(threads=4)
    (tmp_path / "choice.json").write_text(json.dumps({"fingerprint": "data"}))
    assert kept(tmp_path, "data", NOW) is None


def test_a_short_training_is_not_tried_and_nothing_is_said(tiny_model_folder: Path, tmp_path: Path) -> None:
    work, said = heard(tmp_path)
    tune(tiny_model_folder, plan(rows_with_prefixes(0)), SETTINGS, work)
    (event,) = Artifact(tmp_path).events("choice")
    assert event["ratios"] == {} and event["why"] == "the training is shorter than 5 minutes"
    assert not any("trial" in line for line in said)
    assert work.figures["choice"]["threads"] == HOST.threads


def test_of_several_processes_none_tries(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = plan(rows_with_prefixes(0))
    trainer = trainer_of(tiny_model_folder, course, SETTINGS, work_in(tmp_path))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = tried(trainer, course.windows[0], Tried(0, 0, 1.0, None, 1, DAY))
    assert found.choice == as_set(SETTINGS, HOST) and found.why == "several processes would have to agree"


def test_a_trial_leaves_weights_gradients_and_random_state_as_they_were(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "precision_on", lambda *_: "bf16")
    monkeypatch.setattr(trial, "WORTH", 0.0)
    monkeypatch.setattr(trial, "SHARE", 1e6)
    settings = SETTINGS._replace(neftune_noise_alpha=5.0)
    course = plan(rows_with_prefixes(0))
    trainer = trainer_of(tiny_model_folder, course, settings, work_in(tmp_path))
    seen = rehearse(trainer, course.windows)
    assert seen is not None and seen.seconds > 0
    torch.manual_seed(7)
    before = copy.deepcopy(trainer.model.state_dict())
    modes = [part.training for part in trainer.model.modules()]
    state = torch.get_rng_state()
    window = course.windows[longest(course.windows)]
    found = tried(trainer, window, seen)
    assert list(found.ratios) in (["bf16"], ["fp32"]) and found.seconds > 0
    assert torch.equal(state, torch.get_rng_state())
    assert same(trainer.model.state_dict(), before) and trainer.recording
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert [part.training for part in trainer.model.modules()] == modes
    assert torch.get_num_threads() == found.choice.threads


def fp32(_trainer: Any, _window: Any, _seen: Any) -> Chosen:
    return Chosen(Choice(HOST.threads, "fp32", False), {"bf16": 1.3}, 2.0)


def test_a_training_that_chose_to_compile_goes_on_after_a_kill(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr("metier.train.trial.compile_layers", compiled.append)
    monkeypatch.setattr(
        tune_module, "tried", lambda *_: Chosen(Choice(HOST.threads, "fp32", True), {"eager": 1.2}, 2.0)
    )
    settings = SETTINGS._replace(precision="fp32", compile="auto")
    course = plan(rows_with_prefixes(0), batch_rows=1, window_tokens=64)

    class Dying(Interrupting, PackedTrainer):
        pass

    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, course, settings, work_in(tmp_path), Dying)
    monkeypatch.setattr(tune_module, "tried", None)  # would be called
    tune(tiny_model_folder, course, settings, again := work_in(tmp_path))
    assert again.figures["checkpoints_resumed_from"] and len(compiled) == 1 and not again.warnings


def test_what_was_chosen_is_trained_told_and_taken_again_when_the_training_goes_on(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = plan(rows_with_prefixes(0), batch_rows=1, window_tokens=64)
    tune(tiny_model_folder, course, SETTINGS._replace(precision="fp32"), work_in(tmp_path / "told"))
    monkeypatch.setattr("metier.train.adapt.bf16_pays", lambda _host: True)
    tune(tiny_model_folder, course, SETTINGS, work_in(tmp_path / "bf16"))
    monkeypatch.setattr(tune_module, "tried", fp32)

    class Dying(Interrupting, PackedTrainer):
        pass

    work, said = heard(tmp_path / "chosen")
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, course, SETTINGS, work, Dying)
    assert "trial in 2 s: 1 thread, fp32, not compiled; 1.30 times as fast as bf16" in said
    monkeypatch.setattr(tune_module, "tried", None)  # would be called
    tune(tiny_model_folder, course, SETTINGS, again := work_in(tmp_path / "chosen"))
    assert again.figures["checkpoints_resumed_from"] and not again.warnings
    assert again.figures["choice"] == {"threads": 1, "precision": "fp32", "compile": False, "ratios": {"bf16": 1.3}}
    told, bf16, made = (weights(tmp_path / name / "model") for name in ("told", "bf16", "chosen"))
    assert same(made, told) and not same(made, bf16)
