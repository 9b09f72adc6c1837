"""Rows that are set aside, and the weights that their loss chooses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metier.core import Failure, Mistake, Workshop
from metier.train import Sft
from metier.train.checkpoint import Cadence
from metier.train.packing import Row
from metier.train.validation import best_weights, prompt_of, set_aside
from metier.train.watched import Watched
from tests.train.bench import HOST, Given, Talks, rows_with_prefixes


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


def test_without_the_best_weights_a_validated_training_does_not_pass_off_the_last_ones(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="lowest validation loss are gone"):
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
