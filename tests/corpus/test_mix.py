from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from metier.core import Mistake, Workshop
from metier.core.chat import Message
from metier.core.types import Conversation, Document
from metier.corpus.channels import PLACES, Channel, Measure, MeasureTask, Take, interleaved, place
from metier.corpus.mix import Mix, plain_text, planned
from metier.corpus.pack.ids import load_tokenizer
from tests.corpus.given import HOST, TWO, GivenConversations, GivenDocuments, GivenModel, write_shards

DOMAIN = GivenDocuments(label="d", documents=200, held_out=10)
GENERAL = GivenDocuments(label="g", documents=400, split=None)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One for all, so that equal steps are made once."""
    return Workshop(tmp_path_factory.mktemp("workshop"), HOST)


def test_shares_become_sizes() -> None:
    plan = planned({"domain": 700, "general": 9000}, {"domain": 0.7, "general": 0.3}, None, 4.0)
    assert [round(one.size) for one in plan.values()] == [700, 300]  # the first channel once, whole
    plan = planned({"domain": 700, "general": 9000}, {"domain": 1, "general": 5}, None, 4.0)
    assert [round(one.size) for one in plan.values()] == [700, 3500]
    plan = planned({"domain": 700, "general": 9000}, {"domain": 1, "general": 1}, 3000, 4.0)
    assert [round(one.size) for one in plan.values()] == [1500, 1500]


def test_no_channel_is_repeated_more_than_allowed() -> None:
    plan = planned({"domain": 100, "general": 9000}, {"domain": 0.5, "general": 0.5}, 2000, 4.0)
    assert (plan["domain"].size, plan["domain"].asked, plan["domain"].capped) == (400, 1000, True)
    assert not plan["general"].capped


def test_a_mix_has_seven_to_three_of_domain_and_general(workshop: Workshop) -> None:
    mixed = workshop.make(Mix(channels={"domain": DOMAIN, "general": GENERAL}))
    rows = list(mixed.rows())
    sizes = Counter[str]()
    for row in rows:
        sizes[row.channel or ""] += len(row.text)
    assert sizes["domain"] / sizes.total() == pytest.approx(0.7, abs=0.005)
    assert {row.split for row in rows} == {"train"}
    domain = [row.id for row in rows if row.channel == "domain"]
    assert len(domain) == 180 == len(set(domain))  # the first channel once, whole, but for what is held out
    told = mixed.record.figures["channels"]
    assert told["domain"]["after"] == sizes["domain"] and told["general"]["after"] == sizes["general"]
    assert told["domain"]["times"] == 1.0 and told["general"]["times"] < 0.5
    line = mixed.record.ledger.lines[0]
    assert line.dropped["held out"] == 20
    assert line.came == 600 and line.kept == len({row.id for row in rows}) == line.made["document"]


def test_what_is_held_out_is_never_mixed(workshop: Workshop) -> None:
    every = workshop.make(Mix(channels={"domain": DOMAIN}, shares={"domain": 1.0}, size=100_000))
    held_out = {row.id for row in workshop.make(DOMAIN).rows("held_out")}
    assert not held_out & {row.id.partition("#")[0] for row in every.rows()}


def test_every_beginning_of_a_mix_has_nearly_its_shares(workshop: Workshop) -> None:
    mixed = workshop.make(Mix(channels={"domain": DOMAIN, "general": GENERAL}, shares={"domain": 1, "general": 2}))
    domain = total = 0
    for row in mixed.rows():
        domain += len(row.text) if row.channel == "domain" else 0
        total += len(row.text)
        if total > 5000:
            assert domain / total == pytest.approx(1 / 3, abs=0.05)


def test_a_small_channel_is_repeated_pass_by_pass_and_its_copies_are_named(workshop: Workshop) -> None:
    small = GivenDocuments(label="s", documents=20)
    mixed = workshop.make(
        Mix(channels={"large": GENERAL, "small": small}, shares={"large": 0.9, "small": 0.1}, size=60_000)
    )
    told = mixed.record.figures["channels"]["small"]
    copies = Counter(row.id.partition("#")[0] for row in mixed.rows() if row.channel == "small")
    assert len(copies) == 20 and 2 < told["times"] <= 4
    assert set(copies.values()) == {int(told["times"]), int(told["times"]) + 1}
    ids = [row.id for row in mixed.rows()]
    assert len(ids) == len(set(ids))
    order = [row.id.partition("#")[2] or "1" for row in mixed.rows() if row.channel == "small"]
    assert order == sorted(order)  # one whole pass after the other
    line = next(line for line in mixed.record.ledger.lines if line.unit == "small character")
    assert line.came == line.kept == told["before"] and line.made["small character"] == told["after"]


def test_too_many_repetitions_are_cut_and_warned_of(workshop: Workshop) -> None:
    small = GivenDocuments(label="s", documents=5)
    mixed = workshop.make(Mix(channels={"large": GENERAL, "small": small}, shares={"large": 0.5, "small": 0.5}))
    assert mixed.record.figures["channels"]["small"]["times"] == 4.0
    assert "'small' would have to be repeated" in mixed.record.warnings[0] and "4 times" in mixed.record.warnings[0]


def test_adding_documents_moves_few_others(workshop: Workshop) -> None:
    def chosen(documents: int) -> set[str]:
        general = GivenDocuments(label="g", documents=documents, split=None)
        mixed = workshop.make(Mix(channels={"domain": DOMAIN, "general": general}))
        return {row.id for row in mixed.rows() if row.channel == "general"}

    before, after = chosen(400), chosen(404)
    assert len(before) > 60
    # The added documents take some of the room, and so the last of those there before lose theirs.
    assert len(before - after) <= 3 and len(after - before) <= 3


def test_another_seed_samples_other_documents(workshop: Workshop) -> None:
    one, other = (
        {row.id for row in workshop.make(Mix(channels={"domain": DOMAIN, "general": GENERAL}, seed=seed)).rows()}
        for seed in (0, 1)
    )
    assert one != other


def test_conversations_are_mixed_in_as_text(workshop: Workshop) -> None:
    talks = GivenConversations()
    shares = {"domain": 0.9, "tasks": 0.1}
    mixed = workshop.make(Mix(channels={"domain": DOMAIN}, instructions={"tasks": talks}, shares=shares))
    texts = [row.text for row in mixed.rows() if row.channel == "tasks"]
    assert "Be brief.\n\nWhat is 3?\n\nIt is 3." in texts
    assert not any("What is 9?" in text or "What is 29?" in text for text in texts)
    line = next(line for line in mixed.record.ledger.lines if line.unit == "conversation")
    assert line.came == 30 and line.dropped["not in the train split"] == 3
    assert mixed.record.ledger.made("document") == len(list(mixed.rows()))


def test_conversations_may_have_the_models_own_form(workshop: Workshop, tiny_model_folder: Path) -> None:
    model = GivenModel(at=str(tiny_model_folder))
    mixed = workshop.make(
        Mix(
            channels={"domain": DOMAIN},
            instructions={"tasks": GivenConversations()},
            shares={"domain": 0.8, "tasks": 0.2},
            model=model,
            instruction_format="chat",
        )
    )
    text = next(row.text for row in mixed.rows() if row.channel == "tasks")
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")


def test_tokens_are_those_of_the_model_with_the_document_end(workshop: Workshop, tiny_model_folder: Path) -> None:
    mixed = workshop.make(
        Mix(channels={"domain": DOMAIN, "general": GENERAL}, model=GivenModel(at=str(tiny_model_folder)))
    )
    tokenizer = load_tokenizer(tiny_model_folder)
    tokens = sum(len(tokenizer(row.text)["input_ids"]) + 1 for row in mixed.rows() if row.channel == "domain")
    assert mixed.record.figures["unit"] == "token"
    assert mixed.record.figures["channels"]["domain"]["after"] == tokens


@pytest.mark.slow
def test_the_mix_is_the_same_whatever_the_workers(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Mix(channels={"domain": DOMAIN, "general": GENERAL})
    monkeypatch.setattr("metier.corpus.tasks._SMALL_BYTES", 0)
    two = Workshop(tmp_path / "two", TWO).make(step)
    assert two.record.output_sha256 == workshop.make(step).record.output_sha256


def test_after_a_kill_nothing_is_measured_again(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Mix(channels={"domain": DOMAIN, "general": GENERAL})
    killed = Workshop(tmp_path / "killed", HOST)
    with monkeypatch.context() as patch:
        patch.setattr(Mix, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            killed.make(step)
    assert len(list((killed.folder_of(step) / ".scratch-mix").glob("*.npy"))) == 5 + 10
    monkeypatch.setattr(Measure, "_sizes", None)
    assert killed.make(step).record.output_sha256 == workshop.make(step).record.output_sha256


def test_a_share_is_met_to_a_document(tmp_path: Path) -> None:
    rows = [Document(f"x{number}", "a" * 10, "t", split="train") for number in range(100)]
    write_shards(tmp_path, rows, 100)
    task = MeasureTask(tmp_path / "documents/part-00000.parquet", tmp_path / "m")
    assert Measure(None, 0)(task) == (100, {})
    channel = Channel("x", [task])
    assert (channel.size, channel.documents) == (1000, 100)
    for wanted, size in ((1, 10), (304, 300), (306, 310), (1000, 1000), (2504, 2500), (998, 1000)):
        take = channel.take(wanted)
        assert channel.taken(take).repeated == size
        assert sum(size for _, size in channel.stream(take)) == size
    assert channel.take(1000) == channel.take(998) == Take(1, 0)
    assert channel.take(2000) == Take(2, 0)
    assert channel.taken(channel.take(2504)) == (2500, 1000, 250, 100)


def test_a_channel_without_text_is_named(workshop: Workshop) -> None:
    with pytest.raises(Mistake, match="'general' has no text"):
        workshop.make(Mix(channels={"domain": DOMAIN, "general": GivenDocuments(label="h", split="held_out")}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"shares": {"domain": 0.7, "genral": 0.3}}, "genral"),
        ({"shares": {"domain": 0.7, "general": 0.0}}, "above 0"),
        ({"instruction_format": "chat"}, "`model`"),
        ({"instructions": {"domain": GivenConversations()}}, "same name"),
    ],
)
def test_fields_that_do_not_agree_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Mix(channels={"domain": DOMAIN, "general": GENERAL}, **fields)


def test_streams_of_one_size_alternate() -> None:
    def stream(name: str, sizes: list[int]) -> list[tuple[Document, int]]:
        return [(Document(f"{name}{at}", "", ""), size) for at, size in enumerate(sizes)]

    streams = {"a": (iter(stream("a", [1, 1, 1])), 3), "b": (iter(stream("b", [2, 2, 2])), 6)}
    assert [document.id for document in interleaved(streams)] == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_places_are_even_and_fixed() -> None:
    places = [place(f"id{number}", 0) for number in range(4000)]
    assert place("id0", 0) == places[0] != place("id0", 1)
    assert all(0 <= one < PLACES for one in places)
    assert abs(sum(one < PLACES // 4 for one in places) - 1000) < 4 * 27  # sqrt(4000 / 4 * 3 / 4) = 27


def test_a_conversation_as_text_has_no_empty_messages() -> None:
    row = Conversation("c", [Message("system", " "), Message("user", "Q "), Message("assistant", "A")], "t")
    assert plain_text(row) == "Q\n\nA"
