from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from metier.core import Artifact, Failure, Workshop
from metier.train.network import load_network
from metier.train.options import Settings
from metier.train.packing import Group, Row, optimizer_batches
from metier.train.schedule import Schedule, schedule
from metier.train.trainer import PackedTrainer
from metier.train.tune import tune
from metier.train.watch.looks import Looks
from metier.train.watch.options import Watch
from metier.train.watch.samples import answers, answers_together
from tests.train.bench import HOST, Interrupting, rows_with_prefixes, same, weights, work_in
from tests.train.test_grpo import training as reinforcement

# Looks at steps that no clock decides, within bounds that nothing reaches.
LOOKING = Watch(forgetting="stop", forgotten_nats=90, repeated_share=1, unended_share=1, looks=3)
SETTINGS = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.0, seed=0, watch=Watch(looks=0))


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.train.adapt.bf16_pays", lambda host: False)


def plan(rows: list[Row], batch_rows: int = 4, epochs: int = 1) -> Schedule:
    """Rows in their order, `batch_rows` to a step."""
    groups = [Group((row,), 0) for row in rows]
    return schedule([optimizer_batches(groups, [1] * len(groups), batch_rows)] * epochs, 10_000)


def alike(count: int, first: int = 10) -> list[Row]:
    """Rows of one pattern, soon learnt: a counter that goes on."""
    rows = []
    for at in range(count):
        start = first + at % 7
        ids = list(range(start, start + 16))
        rows.append(Row(f"r{at}", ids, [False] * 4 + [True] * 12))
    return rows


def garbage(at: int) -> Row:
    """A row whose answer is one token, over and over, that no other row has."""
    return Row(f"garbage {at}", [*range(10, 14), *[500] * 60], [False] * 4 + [True] * 60)


def losses(folder: Path) -> list[float]:
    return [event["loss"] for event in Artifact(folder).events("log")]


def findings(folder: Path) -> list[tuple[int, str, str]]:
    return [(event["step"], event["check"], event["action"]) for event in Artifact(folder).events("finding")]


@pytest.fixture(scope="module")
def counting_model(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, taught to count: it knows something, and its answers do not repeat themselves."""
    folder = tmp_path_factory.mktemp("counting")
    starts = [3 + 37 * at % 400 for at in range(320)]
    rows = [Row(f"r{start}", list(range(start, start + 90)), [False] * 4 + [True] * 86) for start in starts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metier.train.adapt.bf16_pays", lambda host: False)
        tune(tiny_model_folder, plan(rows, 8), SETTINGS._replace(learning_rate=1e-2), work_in(folder))
    return folder / "model"


@pytest.mark.parametrize(("method", "precision"), [("full", "fp32"), ("lora", "fp32"), ("lora", "bf16")])
def test_a_training_with_looks_is_to_the_bit_the_one_without(
    tiny_model_folder: Path, tmp_path: Path, method: Any, precision: Any
) -> None:
    settings = SETTINGS._replace(method=method, precision=precision, dropout=0.1, neftune_noise_alpha=5.0)
    for name, watch in (("with", LOOKING), ("without", Watch(looks=0))):
        tune(tiny_model_folder, plan(alike(24)), settings._replace(watch=watch), work_in(tmp_path / name))
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    assert same(weights(tmp_path / "with/model"), weights(tmp_path / "without/model"))
    looks = Artifact(tmp_path / "with").events("look")
    assert [event["step"] for event in looks] == [0, 2, 4, 6]
    assert all({"text", "replies", "repeated", "unended"} <= event.keys() for event in looks)
    assert Artifact(tmp_path / "without").events("look") == []


def test_answers_of_a_model_in_parts_are_those_of_the_engine(counting_model: Path) -> None:
    network = load_network(counting_model).eval()
    trainer = SimpleNamespace(model=network, _prepare_input=lambda inputs: inputs)
    prompts = [[*range(10, 16)], [*range(140, 150)], [300, 301, 302]]
    with torch.no_grad():
        free = answers(network, prompts, frozenset(), 12)
        assert answers_together(trainer, prompts, frozenset(), 12) == free
        stops = frozenset({free[1].ids[5]})
        assert answers_together(trainer, prompts, stops, 12) == answers(network, prompts, stops, 12)
    assert not any(answer.finished for answer in free) and answers_together(trainer, prompts, stops, 12)[1].finished
    network.config.max_position_embeddings = 8  # a prompt that leaves no room is cut at its beginning
    with torch.no_grad():
        assert [len(answer.ids) for answer in answers_together(trainer, prompts[1:], stops, 5)] == [5, 5]


def test_a_reinforcement_with_looks_is_to_the_bit_the_one_without(tiny_model_folder: Path, tmp_path: Path) -> None:
    made = {}
    for name, watch in (("with", LOOKING), ("without", Watch(looks=0))):
        step = reinforcement(tiny_model_folder, steps=4).model_copy(update={"watch": watch})
        made[name] = Workshop(tmp_path / name, HOST).make(step)
    assert [event["step"] for event in made["with"].events("look")] == [0, 2, 3, 4]
    assert made["without"].events("look") == []
    rewards = [[event["reward"] for event in one.events("log")] for one in made.values()]
    assert rewards[0] == rewards[1]
    assert same(*(weights(one.folder / "model") for one in made.values()))


def test_live_samples_are_kept_in_the_events_as_text(tiny_model_folder: Path, tmp_path: Path) -> None:
    tune(tiny_model_folder, plan(alike(24)), SETTINGS._replace(watch=LOOKING), work_in(tmp_path))
    samples = [event["samples"] for event in Artifact(tmp_path).events("samples")]
    assert [len(of_look) for of_look in samples] == [4, 4, 4, 4]
    assert [one["general"] for one in samples[-1]] == [False, False, True, True]
    assert all(isinstance(one["answer"], str) and 0 <= one["repeated"] <= 1 for one in samples[-1])


@pytest.mark.slow
def test_what_was_looked_at_is_in_the_record(tiny_model_folder: Path, tmp_path: Path) -> None:
    work = work_in(tmp_path)
    tune(tiny_model_folder, plan(alike(24)), SETTINGS._replace(watch=LOOKING), work)
    told = work.figures["watch"]
    assert (told["steps"], told["looks"], told["findings"], told["rollbacks"]) == (6, 4, {}, [])
    assert told["highest_loss"] == max(losses(tmp_path))
    looks = Artifact(tmp_path).events("look")
    assert told["text"] == {
        "before": looks[0]["text"],
        "worst": max(look["text"] for look in looks),
        "last": looks[-1]["text"],
    }


def test_a_training_too_short_for_looks_says_so_and_has_none(tiny_model_folder: Path, tmp_path: Path) -> None:
    work = work_in(tmp_path)
    tune(tiny_model_folder, plan(alike(8)), SETTINGS._replace(watch=Watch()), work)
    assert "looking into the model" in work.figures["watch"]["looks_left_out"]
    assert Artifact(tmp_path).events("look") == []
    assert work.warnings == []


def test_a_healthy_training_has_no_findings(tiny_model_folder: Path, tmp_path: Path) -> None:
    work = work_in(tmp_path)
    watch = Watch(forgetting="stop", forgotten_nats=3, looks=4)
    tune(tiny_model_folder, plan(rows_with_prefixes(0, 160)), SETTINGS._replace(watch=watch), work)
    assert findings(tmp_path) == []
    assert work.figures["watch"]["findings"] == {}
    assert work.warnings == []


def test_a_learning_rate_a_hundred_times_too_high_stops_the_training(counting_model: Path, tmp_path: Path) -> None:
    settings = SETTINGS._replace(learning_rate=0.3)
    with pytest.raises(Failure, match="diverged") as stopped:
        tune(counting_model, plan(alike(160)), settings, work_in(tmp_path))
    assert "lower the learning rate" in str(stopped.value)
    assert (findings(tmp_path)[-1][1:]) == ("divergence", "stop")


def with_garbage(count: int = 120, at: int = 100) -> list[Row]:
    rows = alike(count)
    return [*rows[:at], *map(garbage, range(4)), *rows[at:]]


def test_a_step_of_garbage_rows_is_named(counting_model: Path, tmp_path: Path) -> None:
    work = work_in(tmp_path)
    tune(counting_model, plan(with_garbage()), SETTINGS, work)
    assert (26, "spike", "warn") in findings(tmp_path)
    assert any("leapt at step 26" in warning for warning in work.warnings)
    assert work.figures["watch"]["findings"]["spike"] == 1


ROLLING = Watch(looks=0, spike="rollback", checkpoint_steps=5, rate_after_rollback=0.5)


def test_a_rollback_puts_the_weights_back_and_leaves_the_rows_out(counting_model: Path, tmp_path: Path) -> None:
    settings = SETTINGS._replace(watch=ROLLING)
    work = work_in(tmp_path)
    tune(counting_model, plan(with_garbage()), settings, work)
    (rollback,) = Artifact(tmp_path).events("rollback")
    assert (rollback["step"], rollback["to"], rollback["check"]) == (26, 15, "spike")
    assert work.figures["watch"]["rollbacks"] == [{"step": 26, "to": 15, "check": "spike"}]
    logged = {event["step"]: event for event in Artifact(tmp_path).events("log")}
    assert sorted(logged) == list(range(1, 32))
    without = work_in(tmp_path / "without")
    tune(counting_model, plan(with_garbage()), settings._replace(watch=Watch(looks=0)), without)
    usual = {event["step"]: event for event in Artifact(tmp_path / "without").events("log")}
    assert [logged[step]["lr"] for step in (26, 27, 31)] == pytest.approx(
        [usual[26]["lr"], usual[27]["lr"] / 2, usual[31]["lr"] / 2]
    )
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_after_a_rollback_the_next_step_is_that_of_the_good_weights(counting_model: Path, tmp_path: Path) -> None:
    """Steps 16 to 26 left out by hand give the same weights: those of step 15, trained on steps 27 to 31."""
    settings = SETTINGS._replace(scheduler="constant", warmup=0.0)
    watch = ROLLING.model_copy(update={"rate_after_rollback": 1.0})
    rows = with_garbage()
    tune(counting_model, plan(rows), settings._replace(watch=watch), work_in(tmp_path / "rolled"))
    tune(counting_model, plan([*rows[:60], *rows[104:]]), settings, work_in(tmp_path / "by hand"))
    assert same(weights(tmp_path / "rolled/model"), weights(tmp_path / "by hand/model"))


class Killed(Interrupting, PackedTrainer):
    """Saves after every step, and dies at the end of its `last`."""

    last = 28


class KilledBefore(Killed):
    last = 22


@pytest.mark.slow
@pytest.mark.parametrize("trainer", [Killed, KilledBefore])
def test_a_rollback_is_the_same_in_a_training_that_was_killed_and_resumed(
    counting_model: Path, tmp_path: Path, trainer: Any
) -> None:
    settings = SETTINGS._replace(watch=ROLLING)
    tune(counting_model, plan(with_garbage()), settings, work_in(tmp_path / "through"))
    with pytest.raises(KeyboardInterrupt):
        tune(counting_model, plan(with_garbage()), settings, work_in(tmp_path / "cut"), trainer)
    work = work_in(tmp_path / "cut")
    tune(counting_model, plan(with_garbage()), settings, work)
    assert work.figures["checkpoints_resumed_from"] == [trainer.last - 1]
    assert work.figures["watch"]["rollbacks"] == [{"step": 26, "to": 15, "check": "spike"}]
    assert same(weights(tmp_path / "through/model"), weights(tmp_path / "cut/model"))


class BrokenWeights(PackedTrainer):
    """A weight becomes NaN before the twelfth step, once."""

    broken = False

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 11 and self.recording and not BrokenWeights.broken:
            BrokenWeights.broken = True
            next(self.model.parameters()).data[:] = math.nan
        return super().compute_loss(*args, **kwargs)


def test_a_nan_in_the_weights_stops_the_training_and_leaves_the_good_checkpoint(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    BrokenWeights.broken = False
    with pytest.raises(Failure, match="diverged at step 12"):
        tune(tiny_model_folder, plan(alike(80)), SETTINGS, work_in(tmp_path), BrokenWeights)
    (finding,) = Artifact(tmp_path).events("finding")
    assert (finding["check"], finding["value"]) == ("not_finite", None)
    assert "NaN" not in (tmp_path / "events.jsonl").read_text()


def test_a_nan_in_the_weights_can_be_rolled_back(tiny_model_folder: Path, tmp_path: Path) -> None:
    BrokenWeights.broken = False
    watch = Watch(looks=0, not_finite="rollback", checkpoint_steps=5)
    work = work_in(tmp_path)
    tune(tiny_model_folder, plan(alike(80)), SETTINGS._replace(watch=watch), work, BrokenWeights)
    assert work.figures["watch"]["rollbacks"] == [{"step": 12, "to": 10, "check": "not_finite"}]
    assert all(torch.isfinite(weight).all() for weight in weights(tmp_path / "model").values())
    assert math.isfinite(work.figures["train_loss"]["last"])


def test_without_an_earlier_good_checkpoint_a_rollback_is_a_stop(tiny_model_folder: Path, tmp_path: Path) -> None:
    BrokenWeights.broken = False
    watch = Watch(looks=0, not_finite="rollback", checkpoint_steps=50)
    with pytest.raises(Failure, match="no good checkpoint yet"):
        tune(tiny_model_folder, plan(alike(80)), SETTINGS._replace(watch=watch), work_in(tmp_path), BrokenWeights)


class AlwaysBroken(PackedTrainer):
    """Its loss is infinite after every fifth step from the seventh on."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        step = self.state.global_step
        return loss / 0.0 if self.recording and step > 5 and step % 5 == 2 else loss


@pytest.mark.slow
def test_after_so_many_rollbacks_the_training_stops(tiny_model_folder: Path, tmp_path: Path) -> None:
    watch = Watch(looks=0, not_finite="rollback", checkpoint_steps=5, rollbacks=2)
    with pytest.raises(Failure, match="rolled back 2 times before"):
        tune(tiny_model_folder, plan(alike(120)), SETTINGS._replace(watch=watch), work_in(tmp_path), AlwaysBroken)
    assert [event["to"] for event in Artifact(tmp_path).events("rollback")] == [5, 5]


@pytest.mark.slow
def test_a_checkpoint_of_a_bad_stretch_is_deleted_when_the_training_stops(
    counting_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METIER_CHECKPOINT_STEPS", "1")
    settings = SETTINGS._replace(learning_rate=0.3)
    with pytest.raises(Failure, match="diverged"):
        tune(counting_model, plan(alike(160)), settings, work_in(tmp_path))
    (finding,) = [one for one in Artifact(tmp_path).events("finding") if one["action"] == "stop"]
    left = [int(path.name.rpartition("-")[2]) for path in (tmp_path / "checkpoints").glob("checkpoint-*")]
    assert all(step <= finding["step"] - 10 for step in left)


def looping(count: int = 160) -> list[Row]:
    """Rows that say one token sixty times, after any beginning: what is learnt from them is a loop."""
    ids = [[*range(at % 40, at % 40 + 8), *[77] * 60, 99] for at in range(count)]
    return [Row(f"r{at}", row, [False] * 8 + [True] * 61) for at, row in enumerate(ids)]


@pytest.mark.slow
def test_a_model_that_collapses_to_a_loop_is_found(counting_model: Path, tmp_path: Path) -> None:
    watch = Watch(forgetting="warn", repetition="stop", looks=10)
    with pytest.raises(Failure, match="loops") as stopped:
        tune(counting_model, plan(looping()), SETTINGS._replace(learning_rate=3e-3, watch=watch), work_in(tmp_path))
    assert "step 1" in str(stopped.value)
    assert {check for _, check, _ in findings(tmp_path)} >= {"repetition"}


@pytest.mark.slow
def test_forgetting_is_found_by_the_base_s_own_replies(counting_model: Path, tmp_path: Path) -> None:
    watch = Watch(forgetting="stop", repeated_share=1, unended_share=1, looks=10)
    with pytest.raises(Failure, match="forgets"):
        tune(counting_model, plan(looping()), SETTINGS._replace(learning_rate=3e-3, watch=watch), work_in(tmp_path))
    looks = Artifact(tmp_path).events("look")
    assert looks[-1]["replies"] > looks[0]["replies"] + 0.5


class Dying(Interrupting, PackedTrainer):
    last = 4


@pytest.mark.slow
def test_a_resumed_training_compares_with_what_was_before_step_1(tiny_model_folder: Path, tmp_path: Path) -> None:
    settings = SETTINGS._replace(watch=LOOKING)
    tune(tiny_model_folder, plan(alike(24)), settings, work_in(tmp_path / "through"))
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, plan(alike(24)), settings, work_in(tmp_path / "cut"), Dying)
    work = work_in(tmp_path / "cut")
    tune(tiny_model_folder, plan(alike(24)), settings, work)
    through, cut = (
        {event["step"]: {**event, "time": 0, "seconds": 0} for event in Artifact(tmp_path / name).events("look")}
        for name in ("through", "cut")
    )
    assert through == cut
    assert work.figures["watch"]["looks"] == 4


def test_where_looks_only_warn_they_keep_to_their_share_of_the_time() -> None:
    now = [0.0]
    looks = Looks.__new__(Looks)
    looks._watch, looks._clock, looks._start = Watch(looks=10), lambda: now[0], 0.0
    looks._spent, looks._longest, looks.before = 2.0, 1.0, ()  # type: ignore[assignment]
    due = []
    for step in range(1, 101):
        now[0] += 2.0
        if looks.due(step, 100):
            due.append(step)
            looks._spent += 1.0
    assert due == [80, 100]  # 3 s of 160 allow the first; 4 s of 200 are just the 2% that allow the second
    looks._watch = Watch(looks=10, forgetting="stop")
    assert [step for step in range(1, 101) if looks.due(step, 100)] == list(range(10, 101, 10))


@pytest.mark.slow
def test_the_events_stay_readable_when_a_kill_cut_the_last_line(tiny_model_folder: Path, tmp_path: Path) -> None:
    tune(tiny_model_folder, plan(alike(24)), SETTINGS._replace(watch=LOOKING), work_in(tmp_path))
    text = (tmp_path / "events.jsonl").read_text()
    for line in text.splitlines():
        json.loads(line)
    (tmp_path / "events.jsonl").write_text(text[:-20])
    assert len(Artifact(tmp_path).events()) == len(text.splitlines()) - 1
