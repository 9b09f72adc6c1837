"""The rehearsal: the plan held against the machine, the largest batch tried, nothing left behind."""

from __future__ import annotations

import copy
import gc
import json
import random
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import metier.train.rehearse as rehearse_module
import metier.train.tune as tune_module
from metier.core import Artifact, Host, Mistake, Progress, Work
from metier.core.host import Gpu
from metier.train.memory import config_in
from metier.train.network import load_network, load_tokenizer
from metier.train.options import Lora, Settings
from metier.train.packing import Group, Row, optimizer_batches
from metier.train.plan import next_smaller
from metier.train.plan.smaller import fields_of
from metier.train.rehearse import check_plan, differing, foretold, refusal, rehearse
from metier.train.schedule import Schedule, schedule
from metier.train.trainer import PackedTrainer
from metier.train.tune import tune
from tests.train.bench import HOST, Texts, rows_with_prefixes, work_in

SETTINGS = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.0, seed=0)
LORA = SETTINGS._replace(method="lora", lora=Lora(rank=4, alpha=8, dropout=0.1))
LARGE = {
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
    "tie_word_embeddings": True,
}


def plan(rows: list[Row], batch_rows: int = 9, window_tokens: int = 256) -> Schedule:
    groups = [Group((row,), 0) for row in rows]
    return schedule([optimizer_batches(groups, [1] * len(groups), batch_rows)], window_tokens)


def long_rows(count: int, length: int) -> list[Row]:
    rng = random.Random(0)
    return [Row(f"r{i}", [rng.randrange(3, 200) for _ in range(length)], [True] * length) for i in range(count)]


def heard(folder: Path, host: Host = HOST) -> tuple[Work, list[str]]:
    said: list[str] = []

    class Ear(Progress):
        def say(self, text: str) -> None:
            said.append(text)

    folder.mkdir(parents=True, exist_ok=True)
    return Work(Texts(), folder, host, {}, Ear()), said


def trainer_of(base: Path, course: Schedule, settings: Settings, work: Work, validation: Any = ()) -> PackedTrainer:
    from metier.train.adapt import network_for

    network = network_for(base, settings, work.host)
    with work.progress("train") as bar:
        return PackedTrainer(
            network, load_tokenizer(base), course, settings, work.folder / "checkpoints", work, bar, validation
        )


@pytest.mark.parametrize("settings", [SETTINGS, LORA, SETTINGS._replace(neftune_noise_alpha=5.0)])
def test_a_rehearsal_leaves_everything_as_it_was(tiny_model_folder: Path, tmp_path: Path, settings: Settings) -> None:
    course = plan(rows_with_prefixes(0), window_tokens=128)
    work = work_in(tmp_path)
    trainer = trainer_of(tiny_model_folder, course, settings, work, plan(rows_with_prefixes(1)).windows)
    torch.manual_seed(7)
    weights = copy.deepcopy(trainer.model.state_dict())
    modes = [part.training for part in trainer.model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    rehearse(trainer, course.windows)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert torch.equal(states[0], after[0]) and states[1:] == after[1:]
    assert all(torch.equal(value, weights[name]) for name, value in trainer.model.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert trainer.optimizer is None and trainer.state.global_step == 0 and trainer.recording
    assert [part.training for part in trainer.model.modules()] == modes
    assert not list((tmp_path / "checkpoints").glob("*"))


@pytest.mark.parametrize("settings", [SETTINGS, LORA])
def test_what_is_rehearsed_works_activations_out_twice_where_the_training_will(
    tiny_model_folder: Path, tmp_path: Path, settings: Settings
) -> None:
    course = plan(long_rows(4, 60), window_tokens=64)

    def kept(settings: Settings, folder: str) -> int:
        """Return the bytes that the rehearsal keeps for the way back."""
        trainer, sizes = trainer_of(tiny_model_folder, course, settings, work_in(tmp_path / folder)), [0]

        def packed(tensor: torch.Tensor) -> torch.Tensor:
            sizes[0] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
            rehearse(trainer, course.windows)
        return sizes[0]

    assert kept(settings._replace(gradient_checkpointing=True), "twice") < kept(settings, "once") / 2


def test_a_rehearsal_is_told_on_the_screen_and_in_the_events(tiny_model_folder: Path, tmp_path: Path) -> None:
    work, said = heard(tmp_path)
    course = plan(rows_with_prefixes(0))
    trainer = trainer_of(tiny_model_folder, course, SETTINGS, work, plan(rows_with_prefixes(1)).windows)
    rehearse(trainer, course.windows)
    (told,) = Artifact(tmp_path).events("rehearsal")
    assert {"tokens", "loss", "evaluation_loss", "measured_bytes", "predicted_bytes", "error", "seconds"} <= told.keys()
    assert told["error"] == pytest.approx(told["predicted_bytes"] / told["measured_bytes"] - 1, abs=1e-3)
    assert any(line.startswith("rehearsal in") and "peak memory" in line and "predicted" in line for line in said)


def test_what_is_measured_counts_the_optimizers_state_and_gradients_that_add_up(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = plan(rows_with_prefixes(0), window_tokens=64)
    assert course.accumulate > 1
    trainer = trainer_of(tiny_model_folder, course, SETTINGS, work_in(tmp_path))
    count = sum(parameter.numel() for parameter in trainer.model.parameters())
    seen: list[tuple[int, int]] = []
    inner = trainer.compute_loss

    def compute_loss(model: Any, *args: Any, **more: Any) -> Any:
        gradients = sum(p.grad.numel() for p in model.parameters() if p.grad is not None)
        held = sum(
            t.numel() for t in gc.get_objects() if torch.is_tensor(t) and t.dtype == torch.uint8 and t.dim() == 1
        )
        seen.append((gradients, held))
        return inner(model, *args, **more)

    monkeypatch.setattr(trainer, "compute_loss", compute_loss)
    rehearse(trainer, course.windows)
    gradients, held = seen[0]
    assert gradients == count and held >= 8 * count


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_plan_that_does_not_fit_is_refused_before_the_model_is_loaded(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(tune_module, "network_for", None)  # would be called next
    work = work_in(tmp_path, Host(1, 1, 1 << 28))
    with pytest.raises(Mistake, match="does not fit") as told:
        tune(tiny_model_folder, plan(rows_with_prefixes(0)), SETTINGS._replace(method=method), work)  # type: ignore[arg-type]
    assert "GB are needed, and there are 0.3 GB" in str(told.value.found)
    assert "METIER_REHEARSAL=measured" in str(told.value.hint)


def test_whoever_knows_better_may_try_it(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METIER_REHEARSAL", "measured")
    work = work_in(tmp_path, Host(1, 1, 1 << 28))
    check_plan(tiny_model_folder, plan(rows_with_prefixes(0)), SETTINGS, work)
    assert "does not fit" in work.warnings[0] and "on paper" in work.warnings[0]


@pytest.mark.parametrize(
    ("gigabytes", "field"),
    [(32, "pass_tokens: 2048"), (26.5, "gradient_checkpointing: true"), (9, "method: lora, "), (4, "method: qlora, ")],
)
def test_the_next_smaller_plan_comes_as_fields_to_paste(gigabytes: float, field: str) -> None:
    host = Host(8, 8, int(gigabytes * 10**9))
    course = plan(long_rows(16, 512), batch_rows=16, window_tokens=8192)
    told = foretold(LARGE, course.windows, course.accumulate, SETTINGS, host)
    assert told is not None and not told.fits
    hint = refusal(told, "").hint
    assert hint is not None and field in hint and hint.startswith("set in the recipe ")


def test_the_fields_of_a_refusal_make_a_training_that_is_planned_to_fit() -> None:
    host = Host(8, 8, int(26.5 * 10**9))
    rows = long_rows(16, 512)
    course = plan(rows, batch_rows=16, window_tokens=8192)
    told = foretold(LARGE, course.windows, course.accumulate, SETTINGS, host)
    smaller = next_smaller(told) if told else None
    assert smaller is not None
    fields = fields_of(smaller)
    assert set(fields) == {"pass_tokens", "gradient_checkpointing"}
    again = plan(rows, batch_rows=16, window_tokens=fields["pass_tokens"])
    settings = SETTINGS._replace(gradient_checkpointing=fields["gradient_checkpointing"])
    second = foretold(LARGE, again.windows, again.accumulate, settings, host)
    assert second is not None and second.fits
    assert second.memory.peak == pytest.approx(smaller.memory.peak, rel=0.02)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:115] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_no_memory_at_the_rehearsal_becomes_the_refusal(
    tiny_model_folder: Path, tmp_path: Path, error: BaseException
) -> None:
    class Greedy(PackedTrainer):
        def compute_loss(self, *_args: Any, **_more: Any) -> Any:
            raise error

    course = plan(rows_with_prefixes(0), window_tokens=64)
    work = work_in(tmp_path)
    trainer = trainer_of(tiny_model_folder, course, SETTINGS, work)
    trainer.__class__ = Greedy
    with pytest.raises(Mistake, match="does not fit"):
        rehearse(trainer, course.windows)
    assert all(parameter.grad is None for parameter in trainer.model.parameters()) and trainer.recording


def test_another_error_stays_what_it_is(tiny_model_folder: Path, tmp_path: Path) -> None:
    class Broken(PackedTrainer):
        def compute_loss(self, *_args: Any, **_more: Any) -> Any:
            raise RuntimeError("shapes cannot be multiplied")

    course = plan(rows_with_prefixes(0))
    trainer = trainer_of(tiny_model_folder, course, SETTINGS, work_in(tmp_path))
    trainer.__class__ = Broken
    with pytest.raises(RuntimeError, match="shapes"):
        rehearse(trainer, course.windows)


def test_a_measured_peak_over_the_memory_is_refused(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = plan(rows_with_prefixes(0))
    trainer = trainer_of(tiny_model_folder, course, SETTINGS, work_in(tmp_path))
    monkeypatch.setattr(rehearse_module, "peak_memory_bytes", lambda _host: HOST.memory_bytes + 1)
    with pytest.raises(Mistake, match="does not fit") as told:
        rehearse(trainer, course.windows)
    assert "peak memory 8.59 GB, predicted" in str(told.value.found)
    assert "METIER_REHEARSAL=measured" in str(told.value.hint)
    monkeypatch.setenv("METIER_REHEARSAL", "measured")
    rehearse(trainer, course.windows)
    assert "peak memory 8.59 GB, predicted" in trainer.work.warnings[-1]


def test_where_the_memory_beside_the_gpus_is_too_small_that_is_said(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process beside a GPU takes 4 GiB, and this machine has one."""
    work = work_in(tmp_path, Host(1, 1, 1 << 30, (Gpu("NVIDIA A100-SXM4-80GB", 80 << 30),)))
    with pytest.raises(Mistake, match="does not fit") as told:
        check_plan(tiny_model_folder, plan(rows_with_prefixes(0)), SETTINGS, work)
    assert "4.3 GB are needed beside the GPUs, and this machine has 1.1 GB" in str(told.value.found)


def test_a_tensor_that_changed_on_its_way_is_named(tiny_model_folder: Path) -> None:
    weights = dict(load_network(tiny_model_folder).state_dict())
    shard = tiny_model_folder / "model.safetensors"
    assert differing(shard, weights.__getitem__) == []
    name = "model.norm.weight"
    weights[name] = weights[name] + 1
    assert differing(shard, weights.__getitem__) == [name]


def test_nothing_of_the_trainer_is_left_when_the_model_is_saved(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[Any]] = []
    left: list[bool] = []

    class Seen(PackedTrainer):
        def create_optimizer(self, *args: Any, **more: Any) -> Any:
            made = super().create_optimizer(*args, **more)
            alive.append(weakref.ref(made))
            return made

    def save(network: Any, *_: Any) -> None:
        left.extend(one() is not None for one in alive)
        left.extend(parameter.grad is not None for parameter in network.parameters())

    monkeypatch.setattr(tune_module, "save", save)
    tune(tiny_model_folder, plan(rows_with_prefixes(0)), SETTINGS, work_in(tmp_path), Seen)
    assert alive and not any(left)


def test_the_plan_before_loading_is_that_of_the_loaded_model(tiny_model_folder: Path) -> None:
    course = plan(rows_with_prefixes(0))
    loaded = json.loads(load_network(tiny_model_folder).config.to_json_string(use_diff=False))
    first = foretold(config_in(tiny_model_folder), course.windows, course.accumulate, SETTINGS, HOST)
    second = foretold(loaded, course.windows, course.accumulate, SETTINGS, HOST)
    assert first is not None and second is not None and first.memory == second.memory
