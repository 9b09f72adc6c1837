from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from metier.core import Artifact, Failure
from metier.train import tune as tune_module
from metier.train.packing import Group, Row, optimizer_batches, share_prefixes
from metier.train.schedule import Schedule, schedule
from metier.train.trainer import PackedTrainer, Settings, rate
from metier.train.tune import tune
from tests.train.bench import Interrupting, largest_difference, rows_with_prefixes, same, weights, work_in

SETTINGS = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.0, seed=0)


def plan(rows: list[Row], batch_rows: int, window_tokens: int, epochs: int = 1) -> Schedule:
    groups = share_prefixes(rows, 128, 2, random.Random(0))
    return schedule([optimizer_batches(groups, [len(g.rows) for g in groups], batch_rows)] * epochs, window_tokens)


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.train.adapt.bf16_pays", lambda host: False)


def test_one_window_of_eight_rows_trains_as_eight_windows_of_one(
    tiny_model_folder: Path, tmp_path: Path, float32: None
) -> None:
    groups = [Group((row,), 0) for row in rows_with_prefixes(0, 24)]
    batches = optimizer_batches(groups, [1] * 24, 8)
    whole, split = schedule([batches], 10_000), schedule([batches], 1)
    assert (whole.accumulate, split.accumulate, whole.steps, split.steps) == (1, 8, 3, 3)
    tune(tiny_model_folder, whole, SETTINGS, work_in(tmp_path / "1x8"))
    tune(tiny_model_folder, split, SETTINGS, work_in(tmp_path / "8x1"))
    one, eight = weights(tmp_path / "1x8/model"), weights(tmp_path / "8x1/model")
    assert 0 < largest_difference(one, weights(tiny_model_folder)) > 1e-3
    assert largest_difference(one, eight) < 1e-5
    losses = [[event["loss"] for event in Artifact(tmp_path / name).events("log")] for name in ("1x8", "8x1")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_the_learning_rate_rises_then_falls_and_is_never_zero() -> None:
    rates = [rate(step, 20, 2) for step in range(20)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert min(rates) > 0
    assert rate(0, 1, 0) == 1


def test_the_loss_falls_and_the_record_tells_what_was_trained(tiny_model_folder: Path, tmp_path: Path) -> None:
    rows = rows_with_prefixes(0, 16)
    work = work_in(tmp_path)
    tune(tiny_model_folder, plan(rows, 8, 256, epochs=8), SETTINGS, work)
    figures: dict[str, Any] = work.figures
    assert figures["train_loss"]["last"] < figures["train_loss"]["first"] - 0.3
    assert figures["trained_tokens"] == 8 * sum(row.trained for row in rows)
    assert figures["tokens"] < 8 * sum(len(row.ids) for row in rows)  # prefixes were shared
    assert figures["steps"] == 16
    assert figures["checkpoints_resumed_from"] == []
    assert not (tmp_path / "checkpoints").exists()
    logged = Artifact(tmp_path).events("log")
    assert [event["step"] for event in logged] == list(range(1, 17))
    assert logged[-1]["tokens"] == figures["tokens"]


def test_a_saved_model_opens_with_transformers_alone_and_keeps_its_chat_template(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tune(tiny_model_folder, plan(rows_with_prefixes(0), 9, 256), SETTINGS, work_in(tmp_path))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.config._attn_implementation != "metier_blocks"
    assert "metier" not in (tmp_path / "model/config.json").read_text()
    assert json.loads((tmp_path / "model/config.json").read_text())["use_cache"] is True
    assert model.generate(max_new_tokens=3, do_sample=False).shape[1] > 1
    before, after = (AutoTokenizer.from_pretrained(path) for path in (tiny_model_folder, tmp_path / "model"))
    assert before.chat_template == after.chat_template
    assert before("SELECT 1;")["input_ids"] == after("SELECT 1;")["input_ids"]


def test_a_tokenizer_without_padding_is_saved_without(tiny_model_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = tmp_path / "base"
    shutil.copytree(tiny_model_folder, base)
    told = json.loads((base / "tokenizer_config.json").read_text())
    del told["pad_token"]
    (base / "tokenizer_config.json").write_text(json.dumps(told))
    for name in ("config.json", "generation_config.json"):
        config = json.loads((base / name).read_text())
        config["pad_token_id"] = None
        (base / name).write_text(json.dumps(config))
    tune(base, plan(rows_with_prefixes(0), 9, 256), SETTINGS, work_in(tmp_path / "work"))
    assert AutoTokenizer.from_pretrained(tmp_path / "work/model").pad_token is None
    for name in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / "work/model" / name).read_text()).get("pad_token_id") is None


class Interrupted(Interrupting, PackedTrainer):
    """Saves after every step, and dies before the end of the fourth."""


def test_an_interrupted_training_ends_with_the_very_same_weights(tiny_model_folder: Path, tmp_path: Path) -> None:
    whole = plan(rows_with_prefixes(0, 40), 4, 64)
    assert whole.steps == 10 and whole.accumulate > 1
    tune(tiny_model_folder, whole, SETTINGS, work_in(tmp_path / "through"))
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, whole, SETTINGS, work_in(tmp_path / "cut"), Interrupted)
    assert not (tmp_path / "cut/model").exists()
    work = work_in(tmp_path / "cut")
    tune(tiny_model_folder, whole, SETTINGS, work)
    assert work.figures["checkpoints_resumed_from"] == [3]
    assert same(weights(tmp_path / "through/model"), weights(tmp_path / "cut/model"))


def test_a_kill_after_the_model_was_saved_costs_no_training(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = plan(rows_with_prefixes(0), 9, 256)
    first, second = work_in(tmp_path), work_in(tmp_path)
    tune(tiny_model_folder, whole, SETTINGS, first)  # a kill here: there is no record yet
    monkeypatch.setattr(tune_module, "network_for", None)  # a second training would call it
    tune(tiny_model_folder, whole, SETTINGS, second)
    assert second.figures == {name: first.figures[name] for name in second.figures}


class Diverging(PackedTrainer):
    """Its loss is infinite from the third step on."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        return loss / 0.0 if self.state.global_step >= 2 else loss


def test_a_loss_that_is_not_finite_stops_the_training_and_says_so(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="diverged at step 3"):
        tune(tiny_model_folder, plan(rows_with_prefixes(0, 40), 4, 256), SETTINGS, work_in(tmp_path), Diverging)


class FullDisk(PackedTrainer):
    """Saves after every step; from the third step on the optimizer's state finds no room."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cadence.due = lambda *_: True  # type: ignore[method-assign]

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.state.global_step == 3:
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        super()._save_optimizer_and_scheduler(output_dir)


def test_a_full_disk_at_a_save_keeps_the_last_good_checkpoint(tiny_model_folder: Path, tmp_path: Path) -> None:
    whole = plan(rows_with_prefixes(0, 40), 4, 256)
    with pytest.raises(Failure, match="step 3 could not be written"):
        tune(tiny_model_folder, whole, SETTINGS, work_in(tmp_path), FullDisk)
    assert [path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*")] == ["checkpoint-2"]
    work = work_in(tmp_path)
    tune(tiny_model_folder, whole, SETTINGS, work)
    assert work.figures["checkpoints_resumed_from"] == [2]
