"""The three steps through the workshop, on a tiny model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest

from metier.core import Failure, Mistake, Step, Work, Workshop
from metier.core.chat import Message
from metier.core.tokens import document_end
from metier.core.types import Document, Preference, Preferences
from metier.train import Cpt, Dpo, Sft
from metier.train.cpt import draw, pieces
from metier.train.dpo import named, pair_group
from metier.train.network import load_tokenizer
from metier.train.packing import window_of
from metier.train.preference import PreferenceTrainer
from tests.train.bench import HOST, Given, Pairs, Talks, Texts, largest_difference, rows_with_prefixes, weights


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "workshop", HOST)


@pytest.fixture
def base(tiny_model_folder: Path) -> Given:
    return Given(at=str(tiny_model_folder))


def test_cpt_counts_every_token_from_document_to_loss(workshop: Workshop, base: Given) -> None:
    step = Cpt(base=base, corpus=Texts(), replay=Texts(seed=1, words=12), sequence_length=64, batch_tokens=128)
    model = workshop.make(step)
    lines = {(line.unit, line.source): line for line in model.record.ledger.lines}
    assert lines["document", "corpus"].dropped == {"not in the train split": 1}
    corpus, replay, token = lines["corpus token", None], lines["replay token", None], lines["token", None]
    assert token.came == corpus.kept + replay.kept
    rows = model.record.ledger.made("row")
    assert token.kept == token.came - (rows or 0) == model.record.figures["trained_tokens"]
    assert replay.kept / token.came == pytest.approx(0.2, abs=0.03)
    assert model.record.figures["document_end"] == "<|endoftext|>"
    assert largest_difference(weights(model.model_folder), weights(Path(base.at))) > 1e-4


def test_cpt_stops_at_its_budget_and_says_what_lay_beyond(workshop: Workshop, base: Given) -> None:
    model = workshop.make(Cpt(base=base, corpus=Texts(), sequence_length=64, tokens=300, batch_tokens=128))
    corpus = next(line for line in model.record.ledger.lines if line.unit == "corpus token")
    assert 200 < corpus.kept <= 300
    assert corpus.dropped["beyond the budget"] == corpus.came - corpus.kept > 0


def test_cpt_warns_when_the_replay_is_too_small(workshop: Workshop, base: Given) -> None:
    replay = Texts(documents=2, words=5)
    model = workshop.make(Cpt(base=base, corpus=Texts(), replay=replay, sequence_length=64, batch_tokens=256))
    assert "replay has only" in model.record.warnings[0]


def test_each_document_ends_in_the_document_end_token_and_only_long_ones_are_cut(tiny_model_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    short, long = Document("s", "one row", "t"), Document("l", "one row for each order " * 20, "t")
    rows = pieces([short, long], tokenizer, 32)
    end = document_end(tokenizer)
    assert [row.ids.count(end) for row in rows if row.name == "s"] == [1]
    cut = [row for row in rows if row.name == "l"]
    assert len(cut) > 1 and max(len(row.ids) for row in cut) <= 32
    assert cut[-1].ids[-1] == end and not any(end in row.ids for row in cut[:-1])
    joined = tokenizer.decode([token for row in cut for token in row.ids if token != end])
    assert joined == long.text


def test_a_draw_takes_each_row_once_an_epoch() -> None:
    import random

    rows = rows_with_prefixes(0, 6)
    drawn = draw(rows, 2, None, random.Random(0))
    assert sorted(row.name for row in drawn.rows) == sorted(2 * [row.name for row in rows])
    assert drawn.beyond == 0


def test_sft_trains_the_train_rows_and_counts_them(workshop: Workshop, base: Given) -> None:
    model = workshop.make(Sft(base=base, data=(Talks(),), batch_rows=8, sequence_length=256))
    conversations, tokens = model.record.ledger.lines
    assert (conversations.came, conversations.kept) == (40, 36)
    assert conversations.dropped == {"not in the train split": 4}
    assert tokens.kept == model.record.figures["trained_tokens"]
    assert tokens.came == model.record.figures["row_tokens"]
    assert model.record.figures["shared_prefix_tokens"] > 0.3 * tokens.came
    assert model.record.figures["steps"] == round(36 / 8)


def test_a_row_too_long_stops_sft_and_is_named_or_is_dropped_and_counted(workshop: Workshop, base: Given) -> None:
    with pytest.raises(Mistake, match="longer than sequence_length 70") as caught:
        workshop.make(Sft(base=base, data=(Talks(),), sequence_length=70))
    assert "c" in (caught.value.found or "") and "tokens" in (caught.value.found or "")
    model = workshop.make(Sft(base=base, data=(Talks(),), sequence_length=103, too_long="drop"))
    assert 0 < model.record.ledger.lines[0].dropped["too long"] < 36


def test_sft_of_no_rows_is_a_mistake(workshop: Workshop, base: Given) -> None:
    with pytest.raises(Mistake, match="not one conversation"):
        workshop.make(Sft(base=base, data=(Talks(rows=0),)))


def test_dpo_begins_at_log_two_and_widens_the_margin(workshop: Workshop, base: Given) -> None:
    step = Dpo(base=base, pairs=Pairs(), epochs=12, learning_rate=1e-3, batch_pairs=4, most_lost=50)
    model = workshop.make(step)
    first, *_, last = model.events("log")
    # As near as five digits: the reference was worked out in the number format of the training.
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert last["margin"] > first["margin"] + 0.5
    assert {"chosen", "rejected", "accuracy"} <= last.keys()
    pairs, tokens = model.record.ledger.lines
    assert pairs.dropped == {"both answers equal": 1} and pairs.kept == 11
    assert tokens.kept == model.record.figures["trained_tokens"]


class SameIds(Step[Preferences]):
    """Three pairs, the first two of one prompt and one id."""

    name: ClassVar[str] = "test-same-ids"
    ids: tuple[str, ...] = ("p", "p", "q")

    def run(self, work: Work) -> None:
        prompts = ("How many rows?", "How many rows?", "How many columns?")
        answers = (("three", "four"), ("three of them", "none"), ("seven", "one or two"))
        made = [
            Preference(name, [Message("user", prompt)], *said, 1.0, 0.0, "test")
            for name, prompt, said in zip(self.ids, prompts, answers, strict=True)
        ]
        work.count("pair", len(made), Preferences.write(work.folder, made), made={"pair": len(made)})


def test_dpo_trains_on_every_pair_of_an_id_as_if_each_had_its_own(workshop: Workshop, base: Given) -> None:
    fields: dict[str, Any] = {"base": base, "batch_pairs": 3, "epochs": 2, "most_lost": 50}
    same, own = (workshop.make(Dpo(pairs=SameIds(ids=ids), **fields)) for ids in (("p", "p", "q"), ("a", "b", "c")))
    assert same.record.figures["pairs"] == 3 and same.record.ledger.lines[0].kept == 3
    losses = [[event["loss"] for event in made.events("log")] for made in (same, own)]
    assert len(losses[0]) == 2 and losses[0] == losses[1]


def test_names_of_pairs_are_their_ids_and_differ_where_those_do_not() -> None:
    pairs = [Preference(name, [], "a", "b", 1, 0, "r") for name in ("a", "a#2", "a", "b", "a", "a#2")]
    assert list(named(pairs)) == ["a", "a#2", "a#2#2", "b", "a#4", "a#2#5"]
    assert [pair.id for pair in named(pairs).values()] == [pair.id for pair in pairs]


def test_dpo_warns_then_stops_when_even_chosen_answers_become_unlikely(
    workshop: Workshop, base: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = PreferenceTrainer.prepare

    def likelier(self: PreferenceTrainer) -> None:  # as if the reference had found each answer 50 nats likelier
        prepare(self)
        self.reference = {name: [chosen + 50, rejected] for name, (chosen, rejected) in self.reference.items()}

    monkeypatch.setattr(PreferenceTrainer, "prepare", likelier)
    with pytest.raises(Failure, match="chosen answers unlikely"):
        workshop.make(Dpo(base=base, pairs=Pairs(), most_lost=0.2))
    model = workshop.make(Dpo(base=base, pairs=Pairs(), most_lost=8))
    assert "nats a token" in model.record.warnings[0]


def test_a_pair_shares_its_prompt_and_trains_only_its_last_answer(tiny_model_folder: Path) -> None:
    prompt = [Message("user", "one"), Message("assistant", "two"), Message("user", "three")]
    tokenizer = load_tokenizer(tiny_model_folder)
    group = pair_group(Preference("p", prompt, "yes", "no", 1, 0, "r"), tokenizer)
    chosen, rejected = group.rows
    ends = [tokenizer.decode([i for i, m in zip(row.ids, row.mask, strict=True) if m]) for row in group.rows]
    assert ends == ["yes<|im_end|>", "no<|im_end|>"]
    assert group.prefix == min(len(row.ids) - sum(row.mask) for row in group.rows) - 2  # a newline follows the end
    assert window_of([group]).trained == chosen.trained + rejected.trained
