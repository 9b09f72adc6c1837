from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from metier.core import Mistake, Workshop
from metier.core.tokens import Tokens, document_end
from metier.core.types import Document, Documents
from metier.corpus.mix import Mix
from metier.corpus.pack import Pack
from metier.corpus.pack.best_fit import best_fit_decreasing, cut_lengths, in_order
from metier.corpus.pack.ids import load_tokenizer
from metier.corpus.pack.shards import Packed, Packing, PackTask, tasks
from tests.corpus.given import HOST, TWO, GivenDocuments, GivenModel, write_shards

CORPUS = GivenDocuments(documents=150, words=60, held_out=10)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One for all, so that equal steps are made once."""
    return Workshop(tmp_path_factory.mktemp("workshop"), HOST)


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> GivenModel:
    return GivenModel(at=str(tiny_model_folder))


def test_a_document_is_cut_into_full_windows_and_a_rest() -> None:
    assert cut_lengths(10, 10) == [10]
    assert cut_lengths(27, 10) == [10, 10, 7]
    assert cut_lengths(3, 10) == [3]
    assert cut_lengths(21, 10) == [10, 9, 2]  # a rest of one token would never be predicted
    assert cut_lengths(1, 10) == [1]


def test_best_fit_gives_the_fullest_bin_that_still_has_room() -> None:
    # 7 and 6 open bins with 3 and 4 left; 4 fits the second, 3 the first.
    assert best_fit_decreasing([3, 6, 4, 7], 10) == [[0, 3], [1, 2]]
    # 2 goes where 2 are left, though more are left elsewhere.
    assert best_fit_decreasing([8, 5, 2], 10) == [[0, 2], [1]]
    assert best_fit_decreasing([], 10) == []


@pytest.mark.parametrize("seed", range(5))
def test_best_fit_puts_each_piece_in_one_bin_and_wastes_little(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(1, 100) for _ in range(2000)]
    bins = best_fit_decreasing(lengths, 128)
    assert sorted(index for one in bins for index in one) == list(range(2000))
    assert all(sum(lengths[index] for index in one) <= 128 and one == sorted(one) for one in bins)
    assert len(bins) <= 11 / 9 * -(-sum(lengths) // 128) + 1


@pytest.mark.parametrize("buffer", [1, 4, 32])
def test_packing_in_order_moves_no_piece_far(buffer: int) -> None:
    rng = random.Random(buffer)
    lengths = [rng.randint(1, 100) for _ in range(1000)]
    bins = in_order(lengths, 128, buffer)
    laid = [index for one in bins for index in one]
    assert sorted(laid) == list(range(1000))
    assert all(sum(lengths[index] for index in one) <= 128 for one in bins)
    # A piece is overtaken only by those that came while it waited, and at most `buffer` wait.
    moved = sum(abs(place - index) for place, index in enumerate(laid)) / len(laid)
    assert moved <= 2 * buffer


def test_a_longer_buffer_pads_less() -> None:
    rng = random.Random(0)
    lengths = [int(rng.paretovariate(1)) * 10 % 500 + 1 for _ in range(4000)]
    bins = [len(in_order(lengths, 512, buffer)) for buffer in (1, 8, 64)]
    assert bins == sorted(bins, reverse=True) and bins[0] > bins[2] >= len(best_fit_decreasing(lengths, 512))


def whole(tokens: Tokens) -> dict[str, list[int]]:
    """Return the ids of each document, its pieces put together in the order in which they lie."""
    found: dict[str, list[int]] = {}
    for window in tokens.windows():
        start = 0
        for length, document in zip(window.lengths, window.documents, strict=True):
            found.setdefault(document, []).extend(window.ids[start : start + length].tolist())
            start += length
        assert start == window.ids.size <= tokens.layout.sequence_length
    return found


def test_every_training_document_is_packed_whole_with_its_end(
    workshop: Workshop, model: GivenModel, tiny_model_folder: Path
) -> None:
    tokens = workshop.make(Pack(corpus=CORPUS, model=model, sequence_length=512))
    tokenizer = load_tokenizer(tiny_model_folder)
    end = document_end(tokenizer)
    found = whole(tokens)
    wanted = {row.id: [*tokenizer(row.text)["input_ids"], end] for row in workshop.make(CORPUS).rows("train")}
    assert found == wanted
    figures, record = tokens.record.figures, tokens.record
    total = sum(map(len, wanted.values()))
    assert (figures["tokens"], figures["windows"]) == (total, len(tokens)) == (tokens.tokens, figures["windows"])
    assert figures["padding_share"] == round(1 - total / (512 * len(tokens)), 5) < 0.05
    assert figures["documents_cut"] == 0 and figures["pieces"] == len(wanted)
    (line,) = record.ledger.lines
    assert line.dropped == {"not in the train split": 15}
    assert line.made == {"window": len(tokens), "token": total}


def test_only_documents_longer_than_a_window_are_cut(workshop: Workshop, model: GivenModel) -> None:
    tokens = workshop.make(Pack(corpus=CORPUS, model=model, sequence_length=64, buffer=8))
    pieces = Counter(document for window in tokens.windows() for document in window.documents)
    sizes = {document: len(ids) for document, ids in whole(tokens).items()}
    for document, count in pieces.items():
        assert count == -(-sizes[document] // 64)
    assert tokens.record.figures["documents_cut"] == sum(size > 64 for size in sizes.values()) > 10


def test_windows_in_order_follow_the_documents_and_others_are_shuffled(workshop: Workshop, model: GivenModel) -> None:
    def order(buffer: int | None) -> list[int]:
        tokens = workshop.make(Pack(corpus=CORPUS, model=model, sequence_length=256, buffer=buffer))
        assert tokens.layout.ordered == (buffer is not None)
        return [int(document[1:]) for window in tokens.windows() for document in window.documents]

    kept, shuffled = order(4), order(None)
    assert sorted(kept) == sorted(shuffled)

    def moved(numbers: list[int]) -> float:
        return sum(abs(a - b) for a, b in zip(numbers, sorted(numbers), strict=True)) / len(numbers)

    assert moved(kept) < 3 < 20 < moved(shuffled)


@pytest.mark.slow
def test_shards_are_the_same_whatever_the_workers(
    tmp_path: Path, model: GivenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.corpus.pack.shards._TASK_BYTES", 3000)
    step = Pack(corpus=CORPUS, model=model, sequence_length=128)
    here = Workshop(tmp_path / "here", HOST).make(step)
    assert len(here.layout.shards) == 4
    monkeypatch.setattr("metier.corpus.tasks._SMALL_BYTES", 0)
    assert Workshop(tmp_path / "there", TWO).make(step).record.output_sha256 == here.record.output_sha256


def test_after_a_kill_packing_goes_on_with_the_next_shard(
    tmp_path: Path, model: GivenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.corpus.pack.shards._TASK_BYTES", 3000)
    step = Pack(corpus=CORPUS, model=model, sequence_length=128)
    through, cut = (Workshop(tmp_path / name, HOST) for name in ("through", "cut"))
    pack, done = Packing._pack, list[PackTask]()

    def killed(self: Packing, task: PackTask) -> Packed:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(task)
        return pack(self, task)

    monkeypatch.setattr(Packing, "_pack", killed)
    with pytest.raises(KeyboardInterrupt):
        cut.make(step)
    done.clear()
    again = cut.make(step)
    assert [task.out.name for task in done] == ["part-00002.arrow", "part-00003.arrow"]
    monkeypatch.setattr(Packing, "_pack", pack)
    whole = through.make(step)
    assert again.record.output_sha256 == whole.record.output_sha256
    assert again.record.ledger == whole.record.ledger and again.record.figures == whole.record.figures


def test_small_shards_are_packed_together(tmp_path: Path) -> None:
    rows = [Document(f"d{number}", "word " * 200, "t", split="train") for number in range(60)]
    write_shards(tmp_path, rows, 10)
    shards = Documents(tmp_path).shards
    (task,) = tasks(shards, tmp_path / "tokens")
    assert task.shards == tuple(shards) and task.out.name == "part-00000.arrow"
    assert tasks([], tmp_path) == []


def test_the_channel_of_each_piece_is_kept_and_counted(workshop: Workshop, model: GivenModel) -> None:
    general = GivenDocuments(label="g", documents=100)
    mixed = Mix(channels={"domain": CORPUS, "general": general}, model=model)
    tokens = workshop.make(Pack(corpus=mixed, model=model, sequence_length=128))
    counts = Counter[str]()
    for window in tokens.windows():
        for length, document, channel in zip(window.lengths, window.documents, window.channels, strict=True):
            assert channel == {"d": "domain", "g": "general"}[document[0]]
            counts[channel] += length
    assert counts == tokens.record.figures["channel_tokens"]
    # Tokens counted for the mix are those that are packed.
    assert counts["general"] == workshop.make(mixed).record.figures["channels"]["general"]["after"]


def test_documents_that_were_never_split_are_packed_only_if_asked_for(workshop: Workshop, model: GivenModel) -> None:
    never = GivenDocuments(label="n", documents=10, split=None)
    with pytest.raises(Mistake, match="no text to pack") as caught:
        workshop.make(Pack(corpus=never, model=model))
    assert "10 documents: not in the train split" in (caught.value.found or "")
    tokens = workshop.make(Pack(corpus=never, model=model, unsplit=True))
    assert tokens.record.ledger.lines[0].kept == 10


class Odd(GivenDocuments):
    """An empty document, one too long for a tokenizer, one that holds special tokens, and a plain one."""

    name = "given-odd"

    def document(self, number: int) -> Document:
        text = ["", "a b " * 60_000, "stop <|endoftext|> here <|im_end|>", "ends in <|endoftext|>"][number]
        return Document(f"o{number}", text, "odd", split="train")


def test_what_cannot_be_packed_is_in_the_ledger_and_the_rest_goes_on(
    workshop: Workshop, model: GivenModel, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.corpus.pack.ids.LONGEST_TEXT", 200_000)
    tokens = workshop.make(Pack(corpus=Odd(documents=4), model=model))
    (line,) = tokens.record.ledger.lines
    assert line.dropped == {"longer than 200,000 characters": 1, "no text": 1}
    found, tokenizer = whole(tokens), load_tokenizer(tiny_model_folder)
    end = document_end(tokenizer)
    # Special tokens in a text are what they are to the tokenizer; an end of turn at its end gives way to its own end.
    assert found["o2"] == [*tokenizer("stop <|endoftext|> here <|im_end|>")["input_ids"][:-1], end]
    assert found["o3"][-1] == end != found["o3"][-2]  # one end and not two


def test_ids_are_as_narrow_as_the_vocabulary_allows(workshop: Workshop, model: GivenModel) -> None:
    tokens = workshop.make(Pack(corpus=CORPUS, model=model, sequence_length=512))
    assert tokens.window(0).ids.dtype == "uint16"


def test_tokens_that_are_packed_stay_small_in_memory(workshop: Workshop, model: GivenModel) -> None:
    tokens = workshop.make(Pack(corpus=CORPUS, model=model, sequence_length=512))
    before = pa.total_allocated_bytes()
    for window in tokens.windows(seed=0):
        assert window.ids.size
    assert pa.total_allocated_bytes() - before < 100_000  # files are mapped, not read
