"""Rows that are set aside, and the weights that their loss chooses."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from metier.core import Failure, Mistake, Workshop
from metier.core.files import write_json_atomic
from metier.train import Sft
from metier.train.checkpoint import Cadence
from metier.train.collate import EMPTY
from metier.train.packing import Row
from metier.train.sft import _families, fine_tune
from metier.train.validation import Validation, best_weights, prompt_of, set_aside
from metier.train.watched import Watched
from tests.train.bench import HOST, Given, Talks, conversation, rows_with_prefixes, work_in


def test_rows_set_aside_are_the_same_in_every_attempt() -> None:
    rows = rows_with_prefixes(0, 20)
    train, held = set_aside(rows, 0.2, 3, lambda row: row.name)
    assert len(held) == 4 and sorted([*train, *held]) == sorted(rows)
    assert set_aside(rows, 0.2, 3, lambda row: row.name) == (train, held)
    twice = set_aside([*rows, *rows], 0.2, 3, lambda row: row.name)  # two epochs, or two pieces of one document
    assert not {row.name for row in twice[0]} & {row.name for row in twice[1]}


def test_answers_to_one_prompt_are_all_set_aside_or_none() -> None:
    rows = [Row(f"{at}", [1, at // 3, 5, at], [False, False, True, True]) for at in range(30)]
    train, held = set_aside(rows, 0.2, 3, prompt_of)
    assert len(held) == 6 and not {row.ids[1] for row in train} & {row.ids[1] for row in held}


def test_conversations_that_share_a_prompt_are_all_set_aside_or_none() -> None:
    def row(name: str, *prompt: int) -> Row:
        return Row(name, [*prompt, 9], [False] * len(prompt) + [True])

    # As fine-tuning names them: every third prompt is one, and pieces of a split conversation tie two prompts.
    rows = [row(f"c{at}", at // 3, 7) for at in range(30)] + [row("c0", 0, 7, 9, 8), row("other", 0, 7, 9, 8)]
    family = _families(rows)
    train, held = set_aside(rows, 0.3, 3, lambda row: family[row.name])
    assert held and not {one.ids[0] for one in train} & {one.ids[0] for one in held}
    assert family["other"] == family["c2"] and len(set(family.values())) == 10
    alone = [row(f"c{at}", at) for at in range(30)]
    assert _families(alone) == {one.name: one.name for one in alone}  # drawn as they always were


def test_fine_tuning_looks_at_no_answer_to_a_prompt_that_it_trains(tiny_model_folder: Path, tmp_path: Path) -> None:
    talks = [conversation(at // 2, random.Random(at // 2))._replace(id=f"c{at}", split="train") for at in range(16)]
    step = Sft(base=Given(at=str(tiny_model_folder)), data=(Talks(),), batch_rows=4, validation_share=0.25)
    work = work_in(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        sides: list[list[Row]] = []

        def stop(*_: Any) -> None:
            raise Kill

        def seen(*given: Any) -> tuple[list[Row], list[Row]]:
            sides.extend(set_aside(*given))
            return sides[0], sides[1]

        patch.setattr("metier.train.validation.set_aside", seen)
        patch.setattr("metier.train.sft.epoch_batches", stop)
        with pytest.raises(Kill):
            fine_tune(tiny_model_folder, talks, step, work)
    train, held = ({prompt_of(row) for row in side} for side in sides)
    assert len(sides[1]) == 4 and not train & held


def test_without_the_best_weights_a_validated_training_does_not_pass_off_the_last_ones(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="lowest validation loss are gone"):
        best_weights(tmp_path)


class Kill(BaseException):
    """What ends an attempt here."""


def looker(folder: Path, loss: float, best: float | None) -> Validation:
    """Return a validation that finds `loss`, and whose trainer saves it as its only weight."""
    state = SimpleNamespace(global_step=1, best_metric=best)

    def save(path: str) -> None:
        Path(path).mkdir(parents=True)
        save_file({"loss": torch.tensor([loss])}, Path(path) / "model.safetensors")

    work = SimpleNamespace(event=lambda *_, **__: None, warn=pytest.fail)
    trainer = SimpleNamespace(state=state, is_world_process_zero=lambda: True, save_model=save, work=work)
    found = Validation(trainer, [EMPTY], folder)
    found.loss = lambda: loss  # type: ignore[method-assign]
    return found


def dying(work: Callable[..., Any], at: int, done: list[int]) -> Callable[..., Any]:
    """Return `work` that is cut off when it is the call number `at`: folders are then half removed."""

    def change(*args: Any, **options: Any) -> Any:
        done[0] += 1
        if done[0] == at:
            if work is shutil.rmtree and Path(args[0]).exists():
                next(Path(args[0]).iterdir()).unlink()
            raise Kill
        return work(*args, **options)

    return change


def test_a_kill_while_better_weights_are_kept_leaves_the_old_or_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for at in range(1, 20):
        folder = tmp_path / str(at)
        looker(folder, 2.0, None).look()
        done = [0]
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", dying(shutil.rmtree, at, done))
            patch.setattr(Path, "rename", dying(Path.rename, at, done))
            patch.setattr("metier.train.validation.write_json_atomic", dying(write_json_atomic, at, done))
            try:
                looker(folder, 1.5, 2.0).look()
            except Kill:
                pass
            else:
                break
        (folder / "trainer_state.json").write_text(json.dumps({"best_metric": 2.0}))
        looker(folder, 1.0, 2.0).go_on(folder)
        found.append(float(best_weights(folder)["loss"]))
        assert [path.name for path in folder.iterdir() if path.is_dir()] == ["best"]
        looker(folder, 1.0, 2.0).look()
        assert float(best_weights(folder)["loss"]) == 1.0
    assert found == sorted(found, reverse=True) and set(found) == {2.0, 1.5}


def test_best_weights_left_half_removed_by_an_older_version_are_those_beside_them(tmp_path: Path) -> None:
    for loss in (2.0, 1.5):
        looker(tmp_path, loss, None).look()
        (tmp_path / "best").rename(tmp_path / f"{loss}")
    (tmp_path / "2.0" / "model.safetensors").unlink()
    (tmp_path / "2.0").rename(tmp_path / "best")
    (tmp_path / "1.5").rename(tmp_path / "best.part")
    (tmp_path / "trainer_state.json").write_text(json.dumps({"best_metric": 2.0}))
    looker(tmp_path, 1.0, 2.0).go_on(tmp_path)
    assert float(best_weights(tmp_path)["loss"]) == 1.5


def test_weights_beside_the_best_with_a_higher_loss_are_not_passed_off_as_them(tmp_path: Path) -> None:
    looker(tmp_path, 2.0, None).look()
    (tmp_path / "best").rename(tmp_path / "best.old")
    (tmp_path / "trainer_state.json").write_text(json.dumps({"best_metric": 1.5}))
    again = looker(tmp_path, 1.6, 1.5)
    again.trainer.work.warn = lambda _text: None
    again.go_on(tmp_path)
    with pytest.raises(Failure, match="gone or damaged"):
        best_weights(tmp_path)


@pytest.mark.parametrize("removed", [True, False])
def test_best_weights_lost_between_two_attempts_are_told_before_the_training_goes_on(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    step = Sft(
        base=Given(at=str(tiny_model_folder)), data=(Talks(),), batch_rows=4, validation_share=0.25, evaluations=5
    )
    shop, log = Workshop(tmp_path, HOST), Watched.log

    def dies(self: Watched, logs: dict[str, float], start_time: float | None = None) -> None:
        log(self, logs, start_time)
        if self.state.global_step == 4 and "loss" in logs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Cadence, "due", lambda *_: True)
        patch.setattr(Watched, "log", dies)
        shop.make(step)
    best = shop.folder_of(step) / "checkpoints" / "best"
    file = best / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(Failure, match="gone or damaged"):
        best_weights(best.parent)
    if not removed:
        with pytest.raises(Mistake, match="so far are damaged") as told:
            shop.make(step)
        assert "bytes" in str(told.value.found) and str(best) in str(told.value.hint)
        assert list(best.parent.glob("checkpoint-*"))  # nothing was thrown away
        return
    shutil.rmtree(best)
    made = shop.make(step)
    assert any("are gone: the best of the looks to come" in warning for warning in made.record.warnings)
    assert made.record.figures["validation_loss"]["best_step"] > 3
