"""Training on packed shards is training on documents, window by window."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from metier.core import Artifact, Mistake, Workshop
from metier.core.tokens import Attention, PackedWindow, Tokens, document_end
from metier.core.types import Document
from metier.corpus.pack import Pack
from metier.models.tiny import TinyModel
from metier.train import Cpt
from metier.train.base import check_ids
from metier.train.collate import collate
from metier.train.cpt import pieces
from metier.train.network import load_network, load_tokenizer
from metier.train.packed import ChannelTrainer, packed_schedule, packed_window
from metier.train.packing import Group, Window, window_of
from metier.train.trainer import Settings
from metier.train.tune import tune
from metier.train.watch.options import Watch
from tests.train.bench import HOST, Channels, Given, Interrupting, Texts, same, weights, work_in

SETTINGS = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.0, seed=0)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One for all, so that equal packings are made once."""
    return Workshop(tmp_path_factory.mktemp("packed") / "workshop", HOST)


@pytest.fixture
def base(tiny_model_folder: Path) -> Given:
    return Given(at=str(tiny_model_folder))


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.train.adapt.bf16_pays", lambda host: False)


def document_windows(documents: list[Document], tokens: Tokens, folder: Path) -> list[Window]:
    """Return the packed windows as the document path lays them: its rows, put together in the packing's order."""
    rows = {row.name: row for row in pieces(documents, load_tokenizer(folder), tokens.layout.sequence_length)}
    assert len(rows) == len(documents)  # none is cut
    return [window_of([Group((rows[name],), 0) for name in window.documents]) for window in tokens.windows()]


def test_packed_windows_are_those_of_the_document_path(
    workshop: Workshop, base: Given, tiny_model_folder: Path
) -> None:
    corpus = Channels()
    tokens = workshop.make(Pack(corpus=corpus, model=base, sequence_length=256))
    documents = list(workshop.make(corpus).rows())
    for ours, wanted in zip(tokens.windows(), document_windows(documents, tokens, tiny_model_folder), strict=True):
        window = packed_window([ours], "document")
        assert [list(part) for part in window[:5]] == [list(part) for part in wanted[:5]]  # all but the names
        assert [name.partition("/")[2] for name in window.names] == wanted.names


def losses(network: Any, window: Window) -> torch.Tensor:
    inputs = collate([window])
    result: torch.Tensor = network(**{k: inputs[k] for k in ("input_ids", "position_ids", "targets", "blocks")})
    return result


def test_packed_windows_have_the_losses_of_the_document_path(
    workshop: Workshop, base: Given, tiny_model_folder: Path
) -> None:
    corpus = Channels(documents=12)
    tokens = workshop.make(Pack(corpus=corpus, model=base, sequence_length=256))
    wanted = document_windows(list(workshop.make(corpus).rows()), tokens, tiny_model_folder)
    network = load_network(tiny_model_folder).eval()
    with torch.no_grad():
        for ours, theirs in zip(tokens.windows(), wanted, strict=True):
            assert torch.equal(losses(network, packed_window([ours], "document")), losses(network, theirs))


def test_two_windows_in_one_pass_do_not_see_each_other(
    workshop: Workshop, base: Given, tiny_model_folder: Path
) -> None:
    tokens = workshop.make(Pack(corpus=Channels(), model=base, sequence_length=64))
    network = load_network(tiny_model_folder).eval()
    kinds: tuple[Attention, ...] = ("document", "window")
    for attention in kinds:
        apart = [packed_window([tokens.window(row)], attention) for row in (0, 1)]
        together = packed_window([tokens.window(0), tokens.window(1)], attention)
        with torch.no_grad():
            got, want = losses(network, together), torch.cat([losses(network, window) for window in apart])
        assert torch.allclose(got, want, atol=1e-5)


def test_with_the_attention_window_only_the_first_token_of_a_window_is_not_predicted(
    workshop: Workshop, base: Given
) -> None:
    tokens = workshop.make(Pack(corpus=Channels(), model=base, sequence_length=64, attention="window"))
    row = tokens.window(0)
    window = packed_window([row], tokens.layout.attention)
    assert window.trained == len(window.ids) - 1
    assert window.positions == list(range(len(window.ids)))
    assert [block.tails for block in window.blocks] == [(len(window.ids),)]
    assert Counter(window.row_of) == dict(enumerate(row.lengths))  # so that channels are told apart all the same


@pytest.mark.parametrize(
    ("batch", "together", "epochs", "budget"),
    [(64, 64, 1, None), (200, 64, 2, None), (300, 256, 3, 900), (9999, 128, 1, 1)],
)
def test_every_window_is_read_once_a_pass_and_steps_are_of_one_size(
    workshop: Workshop, base: Given, batch: int, together: int, epochs: int, budget: int | None
) -> None:
    tokens = workshop.make(Pack(corpus=Channels(), model=base, sequence_length=64))
    plan = packed_schedule(tokens, budget, epochs, batch, together, seed=0)
    rows = [plan.windows.rows(index) for index in range(len(plan.windows))]  # type: ignore[attr-defined]
    read = [row for item in rows for row in item]
    counts = Counter(read)
    if budget is None:
        assert counts == dict.fromkeys(range(len(tokens)), epochs)
        assert [sorted(read[at : at + len(tokens)]) for at in range(0, len(read), len(tokens))] == epochs * [
            list(range(len(tokens)))
        ]
    else:
        assert abs(plan.tokens - budget) <= 2 * 64 or len(read) == 1
    assert max(map(len, rows)) <= max(1, together // 64) and min(map(len, rows)) >= 1
    steps = [sum(map(len, rows[at : at + plan.accumulate])) for at in range(0, len(rows), plan.accumulate)]
    assert len(set(steps[:-1])) <= 1 and steps[-1] >= 0.6 * steps[0] and len(steps) == plan.steps
    windows = list(plan.windows)
    assert plan.tokens == sum(len(window.ids) for window in windows) == plan.tokens_by_step[-1]
    assert plan.trained == sum(window.trained for window in windows)
    assert len(plan.tokens_by_step) == plan.steps + 1
    longest = plan.windows.longest  # type: ignore[attr-defined]
    assert len(windows[longest].ids) == max(len(window.ids) for window in windows)


def test_windows_packed_in_an_order_are_read_in_that_order(workshop: Workshop, base: Given) -> None:
    ordered = workshop.make(Pack(corpus=Channels(), model=base, sequence_length=64, buffer=4))
    plan = packed_schedule(ordered, None, 2, 64, 64, seed=0)
    read = [row for index in range(len(plan.windows)) for row in plan.windows.rows(index)]  # type: ignore[attr-defined]
    assert read == 2 * list(range(len(ordered)))


def test_cpt_streams_packed_shards_and_tells_the_loss_of_each_channel(workshop: Workshop, base: Given) -> None:
    pack = Pack(corpus=Channels(), model=base, sequence_length=64)
    model = workshop.make(Cpt(base=base, packed=pack, batch_tokens=256, epochs=4, learning_rate=3e-3))
    tokens = workshop.make(pack)
    record = model.record
    assert record.figures["tokens"] == 4 * tokens.tokens
    pieces = sum(len(window.lengths) for window in tokens.windows())
    assert record.figures["trained_tokens"] == 4 * (tokens.tokens - pieces)
    channels = record.figures["channel_loss"]
    assert set(channels) == {"domain", "general"}
    assert all(told["last"] < told["first"] for told in channels.values())
    logged = model.events("log")[-1]
    low, high = sorted([logged["loss_domain"], logged["loss_general"]])
    assert low <= logged["loss"] + 1e-3 and logged["loss"] - 1e-3 <= high  # it is their mean, weighted by tokens
    line = next(line for line in record.ledger.lines if line.source == "packed")
    assert line.came == line.kept == len(tokens)


def test_a_budget_of_tokens_leaves_windows_out_and_says_so(workshop: Workshop, base: Given) -> None:
    pack = Pack(corpus=Channels(), model=base, sequence_length=64)
    model = workshop.make(Cpt(base=base, packed=pack, batch_tokens=128, tokens=400))
    line = next(line for line in model.record.ledger.lines if line.source == "packed")
    assert line.dropped["beyond the budget"] == line.came - line.kept > 0
    assert model.record.figures["tokens"] <= 400


def test_shards_of_another_tokenizer_are_refused(workshop: Workshop, base: Given) -> None:
    pack = Pack(corpus=Channels(), model=TinyModel(vocab_size=300), sequence_length=64)
    with pytest.raises(Mistake, match="another tokenizer"):
        workshop.make(Cpt(base=base, packed=pack))


def test_cpt_takes_documents_or_packed_shards_and_not_both(base: Given) -> None:
    pack = Pack(corpus=Channels(), model=base)
    for fields in ({}, {"corpus": Texts(), "packed": pack}, {"packed": pack, "replay": Texts()}):
        with pytest.raises(ValidationError, match="`corpus`"):
            Cpt(base=base, **fields)


def test_a_token_without_an_embedding_is_found_without_reading_every_window(
    workshop: Workshop, base: Given, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = workshop.make(Pack(corpus=Channels(), model=base, sequence_length=64))
    plan = packed_schedule(tokens, None, 2, 300, 128, seed=0)
    largest = [max(window.ids) for window in plan.windows]
    for size in sorted({*largest, max(largest) + 1}):
        first = next((at for at, id in enumerate(largest) if id >= size), None)
        assert plan.windows.first_beyond(size) == first  # type: ignore[attr-defined]
    read: list[int] = []
    window_of_row = Tokens.window

    def seen(self: Tokens, row: int) -> PackedWindow:
        read.append(row)
        return window_of_row(self, row)

    monkeypatch.setattr(Tokens, "window", seen)
    tokenizer = load_tokenizer(tiny_model_folder)
    network = torch.nn.Module()
    network.get_input_embeddings = lambda: torch.nn.Embedding(max(largest), 1)  # type: ignore[assignment]
    with pytest.raises(Mistake, match="no embedding") as told:
        check_ids(network, tokenizer, plan.windows, [])
    assert f"number {max(largest)}" in str(told.value)
    assert read == plan.windows.rows(largest.index(max(largest)))  # type: ignore[attr-defined]


class Interrupted(Interrupting, ChannelTrainer):
    """Saves after every step, and dies before the end of the fourth."""


def test_an_interrupted_training_goes_on_at_the_exact_row_to_the_same_weights(
    workshop: Workshop, base: Given, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = workshop.make(Pack(corpus=Channels(), model=base, sequence_length=64))
    plan = packed_schedule(tokens, None, 2, 192, 64, seed=0)
    assert plan.accumulate > 1 and plan.steps > 5
    for count in (0, 2, plan.steps):
        assert plan.trained_in(count) == sum(window.trained for window in plan.windows[: count * plan.accumulate])
    settings = SETTINGS._replace(watch=Watch(looks=0))  # whose prompts come out of rows all over the shards
    tune(tiny_model_folder, plan, settings, work_in(tmp_path / "through"), ChannelTrainer)
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, plan, settings, work_in(tmp_path / "cut"), Interrupted)
    read: list[int] = []
    window = Tokens.window

    def seen(self: Tokens, row: int) -> PackedWindow:
        read.append(row)
        return window(self, row)

    monkeypatch.setattr(Tokens, "window", seen)
    work = work_in(tmp_path / "cut")
    tune(tiny_model_folder, plan, settings, work, ChannelTrainer)
    assert work.figures["checkpoints_resumed_from"] == [3]
    assert same(weights(tmp_path / "through/model"), weights(tmp_path / "cut/model"))
    # What was trained on before is not even read, but for the pass whose length and whose memory are checked.
    indices = 2 * [plan.windows.longest] + [*range(3 * plan.accumulate, len(plan.windows))]  # type: ignore[attr-defined]
    assert read == [row for index in indices for row in plan.windows.rows(index)]  # type: ignore[attr-defined]
    steps = [event["step"] for event in Artifact(tmp_path / "cut").events("log")]
    assert steps == [1, 2, 3, 4, *range(4, plan.steps + 1)]


def test_a_checkpoint_of_other_shards_or_another_course_is_not_resumed(workshop: Workshop, base: Given) -> None:
    one, other = (workshop.make(Pack(corpus=Channels(), model=base, sequence_length=64, seed=seed)) for seed in (0, 1))
    plans = [packed_schedule(one, None, 1, 128, 64, 0), packed_schedule(other, None, 1, 128, 64, 0)]
    plans += [packed_schedule(one, None, 1, 128, 64, 1), packed_schedule(one, None, 1, 256, 64, 0)]
    assert len({plan.fingerprint for plan in plans}) == 4
    assert packed_schedule(one, None, 1, 128, 64, 0).fingerprint == plans[0].fingerprint


def test_the_document_end_is_that_of_the_document_path(base: Given, workshop: Workshop) -> None:
    tokens = workshop.make(Pack(corpus=Channels(), model=base, sequence_length=64))
    assert tokens.layout.end == document_end(load_tokenizer(Path(base.at)))
