"""A training that is interrupted ends as if it had not been, and one that became another is refused by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metier.core import Mistake, Step, Workshop
from metier.core.chat import Message
from metier.core.types import Conversation, Model
from metier.corpus.pack import Pack
from metier.train import Cpt, Dpo, Kto, Sft
from metier.train.checkpoint import Cadence
from metier.train.options import Lora, Settings
from metier.train.packing import Group, optimizer_batches, share_prefixes
from metier.train.prompts import digest_of
from metier.train.schedule import Schedule, schedule
from metier.train.trainer import PackedTrainer
from metier.train.tune import tune
from metier.train.watched import Watched
from tests.train.bench import (
    HOST,
    Channels,
    Given,
    Interrupting,
    Pairs,
    Talks,
    Texts,
    Thumbs,
    largest_difference,
    rows_with_prefixes,
    same,
    weights,
    work_in,
)

SETTINGS = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.01, seed=0)
RANDOM: dict[str, Any] = {"dropout": 0.1, "neftune_noise_alpha": 5.0}
LOOKED_AT: dict[str, Any] = {"validation_share": 0.25, "evaluations": 3}
LORA: dict[str, Any] = {"method": "lora", "lora": Lora(rank=4, dropout=0.1)}

TRAININGS: dict[str, Callable[[Given], Step[Model]]] = {
    "sft, all weights, dropout, noise, validation": lambda base: Sft(
        base=base, data=(Talks(),), batch_rows=6, weight_decay=0.1, **RANDOM, **LOOKED_AT
    ),
    "sft, adapter with dropout": lambda base: Sft(base=base, data=(Talks(),), batch_rows=8, **LORA),
    "sft, last layers, noise": lambda base: Sft(
        base=base, data=(Talks(),), batch_rows=8, method="freeze", trained_layers=1, neftune_noise_alpha=5.0
    ),
    "cpt, documents, early stopping": lambda base: Cpt(
        base=base, corpus=Texts(), sequence_length=64, batch_tokens=200, dropout=0.1, patience=2, **LOOKED_AT
    ),
    "cpt, shards": lambda base: Cpt(
        base=base, packed=Pack(corpus=Channels(), model=base, sequence_length=64), batch_tokens=200, dropout=0.1
    ),
    "dpo, all weights, dropout, validation": lambda base: Dpo(
        base=base, pairs=Pairs(), batch_pairs=2, dropout=0.1, learning_rate=1e-4, **LOOKED_AT
    ),
    "dpo, adapter": lambda base: Dpo(base=base, pairs=Pairs(), batch_pairs=3, **LORA),
    "kto, adapter, validation": lambda base: Kto(
        base=base, judgements=Thumbs(), batch_answers=5, epochs=2, **LORA, **LOOKED_AT
    ),
}
QUICK = ("sft, all weights, dropout, noise, validation", "dpo, adapter")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TRAININGS]
)
def test_an_interrupted_step_makes_the_very_same_artifact(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    step = TRAININGS[name](Given(at=str(tiny_model_folder)))
    through = Workshop(tmp_path / "through", HOST).make(step)
    log = Watched.log

    def dies(self: Watched, logs: dict[str, float], start_time: float | None = None) -> None:
        log(self, logs, start_time)
        if self.state.global_step == 3 and "loss" in logs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Cadence, "due", lambda *_: True)
        patch.setattr(Watched, "log", dies)
        Workshop(tmp_path / "cut", HOST).make(step)
    cut = Workshop(tmp_path / "cut", HOST).make(step)
    assert cut.record.figures["checkpoints_resumed_from"] == [2]
    assert same(weights(cut.model_folder), weights(through.model_folder))
    assert cut.record.output_sha256 == through.record.output_sha256
    assert [warning for warning in cut.record.warnings if "checkpoint" in warning] == []


def plan(seed: int = 0, window: int = 64, order: int = 0) -> Schedule:
    rows = rows_with_prefixes(seed, 24)
    groups = share_prefixes(rows, 128, 2, random.Random(order))
    return schedule([optimizer_batches(groups, [len(group.rows) for group in groups], 8)], window)


class Cut(Interrupting, PackedTrainer):
    """Saves after every step, and dies in its third."""

    last = 3


def test_what_makes_a_training_another_is_named_and_nothing_is_deleted(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, plan(), SETTINGS, work_in(tmp_path), Cut)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*"))
    others = [
        (plan(seed=1), SETTINGS, ["rows: ", "order of the rows: "]),
        (plan(order=1), SETTINGS, ["order of the rows: "]),
        (
            plan(),
            SETTINGS._replace(learning_rate=2e-3, scheduler="linear"),
            ["learning_rate: 0.001 → 0.002", "scheduler"],
        ),
        (plan(), SETTINGS._replace(lora=Lora(rank=4)), ["lora.rank: 16 → 4"]),
    ]
    for other, settings, said in others:
        with pytest.raises(Mistake, match="cannot go on from step 2") as caught:
            tune(tiny_model_folder, other, settings, work_in(tmp_path))
        found = (caught.value.found or "").split("; ")
        assert len(found) == len(said) and all(
            part.startswith(begins) for part, begins in zip(found, said, strict=True)
        )
        assert str(tmp_path / "checkpoints") in (caught.value.hint or "")
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*")) == kept


def test_a_training_goes_on_where_rows_are_cut_into_other_passes_and_says_so(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.train.adapt.bf16_pays", lambda host: False)
    wide, narrow = plan(window=10_000), plan(window=64)
    assert (wide.accumulate, wide.steps) == (1, narrow.steps) and narrow.accumulate > 1
    assert wide.fingerprint == narrow.fingerprint
    tune(tiny_model_folder, wide, SETTINGS, work_in(tmp_path / "through"))
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, wide, SETTINGS, work_in(tmp_path / "cut"), Cut)
    work = work_in(tmp_path / "cut")
    tune(tiny_model_folder, narrow, SETTINGS, work)
    assert work.figures["checkpoints_resumed_from"] == [2]
    assert any("passes: " in warning and "goes on" in warning for warning in work.warnings)
    through, cut = weights(tmp_path / "through/model"), weights(tmp_path / "cut/model")
    assert 0 < largest_difference(through, cut) < 1e-5


def test_a_damaged_checkpoint_costs_a_few_steps_and_no_bit(tiny_model_folder: Path, tmp_path: Path) -> None:
    tune(tiny_model_folder, plan(), SETTINGS, work_in(tmp_path / "through"))
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, plan(), SETTINGS, work_in(tmp_path / "cut"), Cut)
    optimizer = tmp_path / "cut/checkpoints/checkpoint-2/optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[: optimizer.stat().st_size // 2])
    work = work_in(tmp_path / "cut")
    tune(tiny_model_folder, plan(), SETTINGS, work)
    assert work.figures["checkpoints_resumed_from"] == [1]
    assert "checkpoint-2: optimizer.pt has" in work.warnings[0] and "going on from checkpoint-1" in work.warnings[0]
    assert same(weights(tmp_path / "through/model"), weights(tmp_path / "cut/model"))


def test_of_a_reinforcement_prompts_and_checks_are_what_its_data_is() -> None:
    row = Conversation("a", [Message("user", "1 + 1?"), Message("assistant", "2")], "sums", check={"scorer": "exact"})
    other = [
        [row._replace(check={"scorer": "regex"})],
        [row._replace(messages=[Message("user", "1 + 2?")])],
        [row, row],
    ]
    assert len({digest_of(rows) for rows in ([row], *other)}) == 4
    assert digest_of([row._replace(messages=row.messages[:1])]) == digest_of([row])  # its answer is not asked


def test_rows_are_the_same_however_they_share_their_beginnings() -> None:
    rows = rows_with_prefixes(0, 12)
    alone = schedule([optimizer_batches([Group((row,), 0) for row in rows], [1] * 12, 12)], 10_000).parts
    shared = share_prefixes(rows, 256, 12, random.Random(0))
    together = schedule([optimizer_batches(shared, [len(group.rows) for group in shared], 12)], 10_000).parts
    assert alone.rows == together.rows and alone.cut != together.cut
    trained = [row._replace(mask=[True] * len(row.ids)) for row in rows]
    other = schedule([optimizer_batches([Group((row,), 0) for row in trained], [1] * 12, 12)], 10_000).parts
    assert other.rows != alone.rows
