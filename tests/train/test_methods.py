"""Methods and options of training: adapters, freezing, checkpointing, noise, validation."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from metier.core import Artifact, Failure, Mistake, Workshop
from metier.train import Cpt, Dpo, Sft
from metier.train import adapter as adapter_module
from metier.train.adapt import network_for
from metier.train.collate import collate
from metier.train.neftune import Noise, row_lengths
from metier.train.options import Lora, Settings
from metier.train.packing import Group, window_of
from metier.train.preference import PreferenceTrainer
from metier.train.trainer import PackedTrainer, rate
from metier.train.tune import tune
from metier.train.watch.options import Watch
from tests.train.bench import HOST, Given, Interrupting, Pairs, Talks, Texts, rows_with_prefixes, same, weights, work_in
from tests.train.test_trainer import plan

LORA = Settings(learning_rate=1e-2, warmup=0.1, weight_decay=0.0, seed=0, method="lora", lora=Lora(rank=4, alpha=8))
BITSANDBYTES = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is missing")


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.train.adapt.bf16_pays", lambda host: False)


def losses(folder: Path) -> list[float]:
    return [event["loss"] for event in Artifact(folder).events("log")]


def test_lora_learns_leaves_the_base_alone_and_saves_model_and_adapter(
    tiny_model_folder: Path, tmp_path: Path, float32: None
) -> None:
    work = work_in(tmp_path)
    tune(tiny_model_folder, plan(rows_with_prefixes(0, 16), 8, 256, epochs=6), LORA, work)
    found = losses(tmp_path)
    assert found[-1] < found[0] - 0.2
    figures: dict[str, Any] = work.figures
    assert figures["trained_parameters"] < 0.2 * figures["parameters"]
    assert figures["merge"]["onto the base's own weights"]["divergence"] < 1e-7
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert str(tmp_path) not in json.dumps(config) and "lm_head" not in config["target_modules"]
    before, after = weights(tiny_model_folder), weights(tmp_path / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("proj" in name for name in changed)


def test_a_new_adapter_says_what_the_base_says(tiny_model_folder: Path, float32: None) -> None:
    inputs = collate([window_of([Group((row,), 0) for row in rows_with_prefixes(0, 4)])])
    taken = {name: inputs[name] for name in ("input_ids", "position_ids", "targets", "blocks")}
    base = network_for(tiny_model_folder, LORA._replace(method="full"), HOST)(**taken)
    for lora in (Lora(rank=4), Lora(rank=4, dora=True), Lora(rank=4, rslora=True)):
        network = network_for(tiny_model_folder, LORA._replace(lora=lora), HOST)
        assert torch.allclose(network(**taken), base, atol=1e-5)


class Stopped(Interrupting, PackedTrainer):
    """Saves after every step, and dies in the fourth."""


def test_an_interrupted_adapter_ends_with_the_very_same_weights(tiny_model_folder: Path, tmp_path: Path) -> None:
    whole, settings = plan(rows_with_prefixes(0, 24), 4, 64), LORA._replace(lora=Lora(rank=4, dropout=0.1))
    tune(tiny_model_folder, whole, settings, work_in(tmp_path / "through"))
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, whole, settings, work_in(tmp_path / "cut"), Stopped)
    work = work_in(tmp_path / "cut")
    tune(tiny_model_folder, whole, settings, work)
    assert work.figures["checkpoints_resumed_from"] == [3]
    assert same(weights(tmp_path / "through/model"), weights(tmp_path / "cut/model"))


@BITSANDBYTES
def test_an_evaluation_leaves_the_gradients_of_a_4_bit_base_as_they_are(tiny_model_folder: Path) -> None:
    inputs = collate([window_of([Group((row,), 0) for row in rows_with_prefixes(0, 4)])])
    taken = {name: inputs[name] for name in ("input_ids", "position_ids", "targets", "blocks")}
    network = network_for(tiny_model_folder, LORA._replace(method="qlora"), HOST)

    def gradients() -> dict[str, torch.Tensor]:
        network.train().zero_grad()
        network(**taken).sum().backward()
        return {name: part.grad.clone() for name, part in network.named_parameters() if part.grad is not None}

    before = gradients()
    network.eval()
    with torch.no_grad():
        network(**taken)
    after = gradients()
    assert any(bool(value.any()) for value in before.values())
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@BITSANDBYTES
def test_qlora_merges_both_ways_and_keeps_the_better(tiny_model_folder: Path, tmp_path: Path) -> None:
    work = work_in(tmp_path)
    tune(tiny_model_folder, plan(rows_with_prefixes(0, 16), 8, 256, epochs=6), LORA._replace(method="qlora"), work)
    found = losses(tmp_path)
    assert found[-1] < found[0] - 0.2
    from safetensors.torch import load_file

    adapter = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert {value.dtype for value in adapter.values()} == {torch.float32}
    merge = work.figures["merge"]
    ways = {way: merge[way]["loss"] for way in ("onto the 4-bit values", "onto the base's own weights")}
    assert merge["kept"] == min(ways, key=lambda way: ways[way])
    assert merge["onto the 4-bit values"]["divergence"] < 1e-3
    assert weights(tmp_path / "model").keys() == weights(tiny_model_folder).keys()


def test_a_merge_that_says_something_else_is_refused_and_the_adapter_is_kept(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import peft

    merge = peft.LoraModel.merge_and_unload

    def wrong(self: Any, *args: Any, **kwargs: Any) -> Any:
        model = merge(self, *args, **kwargs)
        with torch.no_grad():
            model.get_parameter("model.layers.0.mlp.up_proj.weight").add_(0.05)
        return model

    monkeypatch.setattr(peft.LoraModel, "merge_and_unload", wrong)
    with pytest.raises(Failure, match="does not say what base and adapter say") as caught:
        tune(tiny_model_folder, plan(rows_with_prefixes(0), 9, 256), LORA, work_in(tmp_path))
    assert f"{adapter_module.BOUND:g} are allowed" in (caught.value.found or "")
    assert (tmp_path / "adapter/adapter_model.safetensors").is_file()
    assert not (tmp_path / "model").exists()


def test_freeze_trains_the_last_layers_and_nothing_else(tiny_model_folder: Path, tmp_path: Path) -> None:
    settings = LORA._replace(method="freeze", trained_layers=1)
    tune(tiny_model_folder, plan(rows_with_prefixes(0), 9, 256, epochs=2), settings, work_in(tmp_path))
    before, after = weights(tiny_model_folder), weights(tmp_path / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("model.layers.1.") for name in changed)
    with pytest.raises(Mistake, match="cannot train 2 of 2 layers"):
        network_for(tiny_model_folder, settings._replace(trained_layers=2), HOST)


def test_unknown_target_layers_are_named_beside_the_models_own(tiny_model_folder: Path) -> None:
    with pytest.raises(Mistake, match="names in lora") as caught:
        network_for(tiny_model_folder, LORA._replace(lora=Lora(targets=("query_key_value",))), HOST)
    assert "q_proj" in (caught.value.found or "")


@pytest.mark.parametrize(
    "settings",
    [LORA._replace(method="full", gradient_checkpointing=True), LORA._replace(method="full", compile=True)],
    ids=["gradient_checkpointing", "compile"],
)
@pytest.mark.slow
def test_options_that_only_save_memory_or_time_change_no_loss(
    tiny_model_folder: Path, tmp_path: Path, float32: None, settings: Settings
) -> None:
    whole = plan(rows_with_prefixes(0, 24), 8, 256)
    tune(tiny_model_folder, whole, LORA._replace(method="full"), work_in(tmp_path / "plain"))
    tune(tiny_model_folder, whole, settings, work_in(tmp_path / "other"))
    assert losses(tmp_path / "other") == pytest.approx(losses(tmp_path / "plain"), abs=1e-4)


def test_noise_is_scaled_by_the_row_and_not_by_the_window() -> None:
    assert row_lengths([(0, 0, (4,)), (4, 2, (3, 1))]).tolist() == [4] * 4 + [5] * 2 + [5] * 3 + [3]
    embeddings = torch.nn.Embedding(10, 64)
    noise = Noise(embeddings, alpha=5.0)
    noise.lengths_T = torch.tensor([4] * 4 + [100] * 100)
    ids_BT = torch.zeros(1, 104, dtype=torch.long)
    added_TE = (embeddings(ids_BT) - embeddings.weight[0])[0].detach()
    for rows, length in ((added_TE[:4], 4), (added_TE[4:], 100)):
        largest = 5 / math.sqrt(length * 64)
        assert 0.9 * largest < float(rows.abs().max()) <= largest
    embeddings.eval()
    assert torch.equal(embeddings(ids_BT)[0, 0], embeddings.weight[0])


def test_the_rate_falls_as_the_scheduler_says() -> None:
    assert [rate(step, 4, 0, "linear") for step in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [rate(step, 6, 2, "constant") for step in range(6)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])


def test_validation_stops_early_and_keeps_the_best_weights(
    tiny_model_folder: Path, tmp_path: Path, float32: None
) -> None:
    rows = rows_with_prefixes(0, 24)
    held = [window_of([Group((row,), 0) for row in rows_with_prefixes(7, 8)])]
    settings = LORA._replace(method="full", learning_rate=3e-2, evaluations=60, patience=3, scheduler="constant")
    work = work_in(tmp_path)
    tune(tiny_model_folder, plan(rows, 8, 256, epochs=20), settings, work, validation=held)
    looks = {event["step"]: event["loss"] for event in Artifact(tmp_path).events("validation")}
    told = work.figures["validation_loss"]
    assert work.figures["steps"] < 60 and work.figures["steps"] == max(looks)
    assert told["best"] == min(loss for step, loss in looks.items() if step) < told["last"]
    assert told["best_step"] + 3 == max(looks)
    saved = network_for(tmp_path / "model", settings, HOST)
    inputs = collate(held)
    log_p_N = saved(**{name: inputs[name] for name in ("input_ids", "position_ids", "targets", "blocks")})
    assert -float(log_p_N.mean()) == pytest.approx(told["best"], abs=1e-4)


class StoppedLate(Stopped):
    """Dies after the look at which it had begun to wait."""

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics = super().evaluate(*args, **kwargs)
        if self.stale_looks and self.state.global_step > 4:
            raise KeyboardInterrupt
        self.stale_looks = self.validation.stale(1)
        return metrics

    stale_looks = False

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        PackedTrainer.log(self, logs, start_time)


def test_a_kill_while_waiting_for_a_better_loss_forgets_no_look(tiny_model_folder: Path, tmp_path: Path) -> None:
    held = [window_of([Group((row,), 0) for row in rows_with_prefixes(7, 8)])]
    settings = LORA._replace(method="full", learning_rate=3e-2, evaluations=60, patience=3, scheduler="constant")
    whole = plan(rows_with_prefixes(0, 24), 8, 256, epochs=20)
    through, cut = work_in(tmp_path / "through"), work_in(tmp_path / "cut")
    tune(tiny_model_folder, whole, settings, through, validation=held)
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, whole, settings, cut, StoppedLate, validation=held)
    tune(tiny_model_folder, whole, settings, cut, validation=held)
    assert cut.figures["steps"] == through.figures["steps"] < whole.steps
    assert cut.figures["validation_loss"] == through.figures["validation_loss"]
    assert same(weights(tmp_path / "through/model"), weights(tmp_path / "cut/model"))


def test_rows_set_aside_are_counted_and_not_trained_on(tiny_model_folder: Path, tmp_path: Path) -> None:
    step = Sft(base=Given(at=str(tiny_model_folder)), data=(Talks(),), validation_share=0.25, evaluations=1)
    record = Workshop(tmp_path, HOST).make(step).record
    line = next(line for line in record.ledger.lines if line.unit == "row")
    assert (line.came, line.kept, line.dropped) == (36, 27, {"set aside for validation": 9})
    assert record.figures["rows"] == 27 and record.figures["validation_loss"]["before"] > 0


def test_dpo_by_lora_begins_at_log_two_against_the_base(tiny_model_folder: Path, tmp_path: Path) -> None:
    step = Dpo(base=Given(at=str(tiny_model_folder)), pairs=Pairs(), method="lora", learning_rate=1e-2, epochs=6)
    model = Workshop(tmp_path, HOST).make(step)
    first, *_, last = model.events("log")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert last["margin"] > first["margin"]
    assert (model.folder / "adapter/adapter_model.safetensors").is_file()


def test_the_reference_of_an_adapter_is_the_base_without_it(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, float32: None
) -> None:
    found: list[dict[str, list[float]]] = []
    prepare = PreferenceTrainer.prepare

    def moved(self: PreferenceTrainer) -> None:
        if self.settings.adapter:
            assert list(self.model.peft_config) == ["default"]
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    if "lora_B" in name:
                        parameter.fill_(1.0)
        prepare(self)
        found.append(dict(self.reference))
        raise KeyboardInterrupt

    monkeypatch.setattr(PreferenceTrainer, "prepare", moved)
    for method in ("full", "lora"):
        with pytest.raises(KeyboardInterrupt):
            step = Dpo(base=Given(at=str(tiny_model_folder)), pairs=Pairs(), method=method)
            Workshop(tmp_path / method, HOST).make(step)
    full, lora = found
    assert full.keys() == lora.keys()
    assert all(full[name] == pytest.approx(lora[name], abs=1e-3) for name in full)


def test_what_cannot_be_had_here_is_said_before_anything_starts(tiny_model_folder: Path, tmp_path: Path) -> None:
    whole = plan(rows_with_prefixes(0), 9, 256)
    wishes: list[tuple[Settings, str]] = [
        (LORA._replace(precision="fp16"), "GPUs only"),
        (LORA._replace(optimizer="paged_adamw_8bit"), "bitsandbytes|GPUs only"),
        (LORA._replace(liger=True), "liger"),
    ]
    for settings, said in wishes:
        with pytest.raises(Mistake, match=said):
            tune(tiny_model_folder, whole, settings, work_in(tmp_path))


def test_patience_without_validation_rows_is_refused() -> None:
    with pytest.raises(ValidationError, match="validation_share"):
        Cpt(base=Given(at="x"), corpus=Texts(), patience=2)


def test_a_reporter_that_is_unknown_or_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.train.arguments import reporters

    monkeypatch.setenv("METIER_REPORT_TO", "tensorbored")
    with pytest.raises(Mistake, match="tensorbored"):
        reporters()
    monkeypatch.setenv("METIER_REPORT_TO", "")
    assert reporters() == []


@pytest.mark.parametrize("optimizer", ["adafactor", "sgd"])
def test_other_optimizers_learn_too(tiny_model_folder: Path, tmp_path: Path, optimizer: Any) -> None:
    settings = LORA._replace(method="full", optimizer=optimizer, learning_rate=0.1 if optimizer == "sgd" else 1e-2)
    tune(tiny_model_folder, plan(rows_with_prefixes(0, 16), 8, 256, epochs=3), settings, work_in(tmp_path))
    found = losses(tmp_path)
    assert found[-1] < found[0]


def test_what_reports_elsewhere_is_told_each_step(tiny_model_folder: Path, tmp_path: Path) -> None:
    import transformers

    told: list[dict[str, float]] = []

    class Told(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            told.append(dict(logs))

    class Reported(PackedTrainer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.add_callback(Told())

    tune(tiny_model_folder, plan(rows_with_prefixes(0), 3, 256), LORA, work_in(tmp_path), Reported)
    assert [round(logs["loss"], 5) for logs in told] == losses(tmp_path)
    assert all({"grad_norm", "learning_rate"} <= logs.keys() for logs in told)


def test_sigterm_saves_after_the_step_and_ends_with_143(tiny_model_folder: Path, tmp_path: Path) -> None:
    class Asked(PackedTrainer):
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log(logs, start_time)
            if self.state.global_step == 2:
                signal.raise_signal(signal.SIGTERM)

    whole, settings = plan(rows_with_prefixes(0, 24), 4, 64), LORA._replace(method="full")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        tune(tiny_model_folder, whole, settings, work_in(tmp_path / "cut"), Asked)
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) == before
    work = work_in(tmp_path / "cut")
    tune(tiny_model_folder, whole, settings, work)
    assert work.figures["checkpoints_resumed_from"] in ([2], [3])
    tune(tiny_model_folder, whole, settings, work_in(tmp_path / "through"))
    assert same(weights(tmp_path / "through/model"), weights(tmp_path / "cut/model"))


def test_dropout_acts_in_training_only(tiny_model_folder: Path, float32: None) -> None:
    inputs = collate([window_of([Group((row,), 0) for row in rows_with_prefixes(0, 4)])])
    taken = {name: inputs[name] for name in ("input_ids", "position_ids", "targets", "blocks")}
    plain = network_for(tiny_model_folder, LORA._replace(method="full"), HOST).eval()(**taken)
    network = network_for(tiny_model_folder, LORA._replace(method="full", dropout=0.5), HOST)
    assert torch.equal(network.eval()(**taken), plain)
    assert not torch.allclose(network.train()(**taken), plain, atol=1e-3)


def test_what_is_set_in_vain_and_rows_longer_than_the_model_reads_are_told(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    base = tmp_path / "short"
    shutil.copytree(tiny_model_folder, base)
    config = json.loads((base / "config.json").read_text()) | {"max_position_embeddings": 16}
    (base / "config.json").write_text(json.dumps(config))
    work = work_in(tmp_path / "run")
    settings = Settings(1e-3, 0.0, 0.0, 0, lora=Lora(rank=4), precision="fp32", watch=Watch(looks=0))
    tune(base, plan(rows_with_prefixes(0, 4), 4, 256), settings, work)
    vain, long = work.warnings[:2]
    assert vain == "lora changes nothing: the method is full"
    assert "the longest row has" in long and "the model was made for 16" in long
    fitting = work_in(tmp_path / "fitting")
    tune(tiny_model_folder, plan(rows_with_prefixes(0, 4), 4, 256), settings._replace(method="lora"), fitting)
    assert not [one for one in fitting.warnings if "changes nothing" in one or "longest row" in one]
