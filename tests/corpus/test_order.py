from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from metier.core import LocalPath, Workshop
from metier.core.types import Document, Documents
from metier.corpus.order import By, Order, rearrange
from metier.corpus.order.curriculum import curriculum, length, noise, readability
from metier.corpus.order.in_context import Members, divided, similarities, walk_within
from metier.corpus.order.neighbours import SCALE, cell_count, cells, nearest_cell, of_length, projected
from metier.corpus.order.rearrange import cut_parts
from tests.corpus.given import HOST, TWO, GivenDocuments, GivenModel

CORPUS = GivenDocuments(documents=120, words=60, held_out=10, rows_per_shard=25)
TOPICS = GivenDocuments(label="t", documents=120, words=60, rows_per_shard=25, topics=8)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One for all, so that equal steps are made once."""
    return Workshop(tmp_path_factory.mktemp("workshop"), HOST)


def assert_the_same_documents(one: Documents, other: Documents) -> None:
    assert sorted(one.rows()) == sorted(other.rows())


def test_noise_is_what_is_neither_a_word_nor_a_number() -> None:
    assert noise("A plain sentence, with 3 words (and 1,024 more).") == 0.0
    assert noise("don't re-read “quoted” words — and 50% of 3.14") == 0.0
    assert noise("th3 qu|ck") == 1.0
    assert noise("ab x=f(y)") == pytest.approx(6 / 8)
    assert noise("") == 1.0
    assert noise("数据库保存每一行。请问这个函数返回什么？用SQLite第3章") == 0.0
    assert noise("( " * 20_000 + "a" * 30_000) < 1.0  # and in no long time


def test_readability_is_lix() -> None:
    # 8 words in 2 sentences, 2 of them of more than 6 letters: 8 / 2 + 100 * 2 / 8 = 29.
    assert readability("The engine compiles statements. It reads one row.") == pytest.approx(29)
    assert readability("") == 0.0
    # 12 characters are 8 words of 1.5, in 2 sentences.
    assert readability("数据库保存每行。请问这函数。") == pytest.approx(8 / 2)
    assert length("数据") == 2


def test_a_curriculum_sorts_by_key_and_keeps_equal_ones_in_order() -> None:
    keys = np.array([3.0, 1.0, 2.0, 1.0])
    assert curriculum(keys, False, "sorted", 0.1, 0).tolist() == [1, 3, 2, 0]
    assert curriculum(keys, True, "sorted", 0.1, 0).tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("pacing", ["linear", "root"])
def test_with_a_pace_documents_are_drawn_from_the_easiest_so_far(pacing: Any) -> None:
    count, start = 2000, 0.1
    order = curriculum(np.arange(count, dtype=float), False, pacing, start, 0)
    assert sorted(order) == list(range(count))
    for place, number in enumerate(order.tolist()):
        time = place / count
        open_share = start + (1 - start) * time if pacing == "linear" else (start**2 + (1 - start**2) * time) ** 0.5
        assert (number + 1) / count <= open_share + 1 / count + 1e-9
    # It is no sorting: of 200 to 350 that are open at the beginning, easy and hard ones are drawn.
    assert 70 < float(np.mean(order[:40])) < 190
    assert curriculum(np.arange(count, dtype=float), False, pacing, start, 1).tolist() != order.tolist()


def test_documents_come_in_the_order_of_their_length(workshop: Workshop) -> None:
    ordered = workshop.make(Order(corpus=CORPUS, by="length"))
    rows = list(ordered.rows())
    train = [len(row.text) for row in rows if row.split == "train"]
    assert train == sorted(train)
    assert [row.split for row in rows] == ["train"] * 108 + ["held_out"] * 12
    assert_the_same_documents(ordered, workshop.make(CORPUS))
    down = [len(row.text) for row in workshop.make(Order(corpus=CORPUS, by="length", descending=True)).rows("train")]
    assert down == sorted(down, reverse=True)
    figures = ordered.record.figures["length"]
    assert figures["least"] == min(len(row.text) for row in rows) and figures["most"] == max(
        map(len, (r.text for r in rows))
    )


def test_noise_and_readability_order_by_their_measure(workshop: Workshop) -> None:
    measures: dict[By, Callable[[str], float]] = {"noise": noise, "readability": readability}
    for by, measure in measures.items():
        keys = [measure(row.text) for row in workshop.make(Order(corpus=TOPICS, by=by)).rows()]
        assert keys == sorted(keys)


def test_a_shuffled_order_has_every_document_once_and_depends_on_the_seed(workshop: Workshop) -> None:
    one, other = (workshop.make(Order(corpus=CORPUS, seed=seed)) for seed in (0, 1))
    ids = [[row.id for row in made.rows()] for made in (one, other)]
    assert ids[0] != ids[1] and sorted(ids[0]) == sorted(ids[1]) != ids[0]
    assert_the_same_documents(one, workshop.make(CORPUS))


def topic(row: Document) -> int:
    return int(row.id[1:]) % 8


def test_documents_of_one_topic_lie_together(workshop: Workshop) -> None:
    ordered = workshop.make(Order(corpus=TOPICS, by="similarity"))
    rows = list(ordered.rows())
    assert_the_same_documents(ordered, workshop.make(TOPICS))
    changes = sum(topic(one) != topic(other) for one, other in pairwise(rows))
    assert changes < 30  # of 119; 7 is the least there can be, and 104 is chance
    figures = ordered.record.figures["similarity"]
    assert figures["neighbours"] > figures["shuffled"] + 0.1


def test_similar_documents_lie_together_when_there_are_many_cells(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.corpus.order.neighbours.MOST_IN_CELL", 40)
    monkeypatch.setattr("metier.corpus.order.in_context.MOST_IN_CELL", 20)
    monkeypatch.setattr("metier.corpus.order.neighbours.CELL", 30)
    monkeypatch.setattr("metier.corpus.order.in_context.CELL", 15)
    monkeypatch.setattr("metier.corpus.order.in_context._DOCUMENTS_TOGETHER", 50)
    ordered = Workshop(tmp_path, HOST).make(Order(corpus=TOPICS, by="similarity"))
    assert_the_same_documents(ordered, workshop.make(TOPICS))
    assert sum(topic(one) != topic(other) for one, other in pairwise(ordered.rows())) < 40


@pytest.mark.slow
def test_an_order_is_the_same_whatever_the_workers_and_threads(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.corpus.tasks._SMALL_BYTES", 0)
    for step in (Order(corpus=TOPICS, by="similarity"), Order(corpus=TOPICS, by="length")):
        there = Workshop(tmp_path / step.by, TWO).make(step)
        assert there.record.output_sha256 == workshop.make(step).record.output_sha256
        assert there.record.figures == workshop.make(step).record.figures


@pytest.mark.parametrize("by", ["shuffled", "similarity"])
def test_a_killed_ordering_goes_on_and_ends_the_same(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: Any
) -> None:
    monkeypatch.setattr("metier.corpus.order.rearrange._SHARDS_TOGETHER", 1)
    monkeypatch.setattr("metier.corpus.order.rearrange.ROWS_PER_SHARD", 30)
    step = Order(corpus=TOPICS, by=by, seed=7)
    killed, write, written = Workshop(tmp_path / "killed", HOST), rearrange._write, list[str]()

    def dying(part: rearrange.Part, rows: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(part.file.name)
        write(part, rows)

    monkeypatch.setattr(rearrange, "_write", dying)
    with pytest.raises(KeyboardInterrupt):
        killed.make(step)
    written.clear()
    monkeypatch.setattr(rearrange, "read_batches", None)  # no run is written again
    again = killed.make(step)
    assert written == ["part-00002.parquet", "part-00003.parquet"]
    monkeypatch.undo()
    monkeypatch.setattr("metier.corpus.order.rearrange.ROWS_PER_SHARD", 30)
    assert Workshop(tmp_path / "through", HOST).make(step).record.output_sha256 == again.record.output_sha256
    assert not list(again.folder.glob(".scratch*"))


def test_the_result_has_shards_and_row_groups_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = np.array([5, 5, 5, 20, 1, 1, 1, 1, 9])
    monkeypatch.setattr(rearrange, "WEIGHT_PER_SHARD", 12)
    monkeypatch.setattr(rearrange, "BYTES_PER_GROUP", 9)
    monkeypatch.setattr(rearrange, "ROWS_PER_SHARD", 4)
    monkeypatch.setattr(rearrange, "ROWS_PER_BATCH", 3)
    parts = cut_parts(sizes, tmp_path)
    # A shard ends with the document that reaches 12 characters, or with its fourth; a group with 9, or with its third.
    assert [(part.start, part.stop) for part in parts] == [(0, 3), (3, 4), (4, 8), (8, 9)]
    assert [part.groups for part in parts] == [(0, 2), (3,), (4, 7), (8,)]
    assert [part.file.name for part in parts][:2] == ["part-00000.parquet", "part-00001.parquet"]


def test_rearranged_documents_are_read_as_any_others(workshop: Workshop) -> None:
    ordered = workshop.make(Order(corpus=CORPUS))
    (shard,) = ordered.shards
    assert pq.read_schema(shard).names == list(Documents.columns)
    assert ordered.record.ledger.made("document") == 120


def members(vectors: list[list[int]]) -> Members:
    dense = of_length(np.array(vectors))
    return Members(np.arange(len(vectors)), dense, None, None)


def test_a_walk_goes_to_the_most_similar_that_is_left() -> None:
    # Angles 0, 90, 10, 80 and 45 degrees.
    angles = np.radians([0, 90, 10, 80, 45])
    some = members((np.stack([np.cos(angles), np.sin(angles)], axis=1) * 1000).astype(int).tolist())
    assert walk_within(some, None).tolist() == [0, 2, 4, 3, 1]
    assert walk_within(some, some.dense[1]).tolist() == [1, 3, 4, 2, 0]


def test_similarities_of_words_are_exact_products() -> None:
    rng = np.random.default_rng(0)
    terms = np.array([rng.choice(40, 64 // 2, replace=False).tolist() + [0] * 32 for _ in range(30)], np.uint32)
    weights = np.zeros((30, 64), np.uint16)
    weights[:, :32] = rng.integers(1, 700, (30, 32))
    whole = np.zeros((30, 40), np.int64)
    for row in range(30):
        np.add.at(whole[row], terms[row, :32], weights[row, :32])
    found = similarities(Members(np.arange(30), np.zeros((30, 256), np.int16), terms, weights))
    assert np.array_equal(found, whole @ whole.T)


def test_products_of_vectors_do_not_depend_on_the_order_of_adding() -> None:
    rng = np.random.default_rng(1)
    dense = of_length(rng.normal(size=(50, 256)))
    exact = dense.astype(np.int64) @ dense.T.astype(np.int64)
    assert np.array_equal(dense.astype(np.float32) @ dense.T.astype(np.float32), exact)
    assert np.array_equal(dense[:, ::-1].astype(np.float32) @ dense[:, ::-1].T.astype(np.float32), exact)
    assert exact.diagonal().max() <= SCALE**2 < 2**24
    assert not of_length(np.zeros((1, 4))).any()


def test_projections_keep_similarity() -> None:
    rng = random.Random(0)
    terms = np.array([[rng.randrange(1 << 22) for _ in range(64)] for _ in range(60)], np.uint32)
    terms[1::2, :32] = terms[::2, :32]  # of each pair half the words are the same
    weights = np.full(terms.shape, SCALE // 8, np.uint16)
    dense = projected(terms, weights).astype(float) / SCALE
    pairs = [float(dense[at] @ dense[at + 1]) for at in range(0, 60, 2)]
    others = [float(dense[at] @ dense[at + 2]) for at in range(0, 58, 2)]
    assert np.mean(pairs) == pytest.approx(0.5, abs=0.05) and np.mean(others) == pytest.approx(0.0, abs=0.05)


def test_cells_hold_like_vectors() -> None:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(5, 256))
    vectors = of_length(np.repeat(centres, 40, axis=0) + 0.2 * rng.normal(size=(200, 256)))
    found = nearest_cell(vectors, cells(vectors, 12, 0))
    groups = [{number // 40 for number in np.flatnonzero(found == cell).tolist()} for cell in range(12)]
    assert all(len(group) <= 1 for group in groups) and set().union(*groups) == set(range(5))
    assert (cell_count(4000), cell_count(4001), cell_count(10**7), cell_count(10**8)) == (1, 3, 5000, 8192)


def test_a_crowded_cell_is_divided_and_equal_documents_are_cut_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.corpus.order.in_context.MOST_IN_CELL", 10)
    monkeypatch.setattr("metier.corpus.order.in_context.CELL", 5)
    equal = [part.numbers.tolist() for part in divided(members([[1, 1]] * 25))]
    assert equal == [list(range(10)), list(range(10, 20)), list(range(20, 25))]
    rng = random.Random(0)
    mixed = list(divided(members([[rng.randrange(-99, 99), rng.randrange(-99, 99)] for _ in range(100)])))
    assert max(part.numbers.size for part in mixed) <= 10
    assert sorted(number for part in mixed for number in part.numbers.tolist()) == list(range(100))


def test_documents_without_a_word_are_ordered_too(workshop: Workshop) -> None:
    wordless = GivenDocuments(label="w", documents=9, words=1, rows_per_shard=4)
    ordered = workshop.make(Order(corpus=wordless, by="similarity"))
    assert_the_same_documents(ordered, workshop.make(wordless))


def test_a_models_loss_orders_what_it_knows_first(
    workshop: Workshop, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metier.core.engine import EngineChat

    step = Order(corpus=TOPICS, by="loss", model=GivenModel(at=str(tiny_model_folder)), tokens=64)
    ordered = workshop.make(step)
    assert_the_same_documents(ordered, workshop.make(TOPICS))
    chat = EngineChat(tiny_model_folder, HOST)
    some = [row.text for row in ordered.rows()][::40]
    losses = []
    for text in some:
        beginning = chat.tokenizer.decode(chat.ids(text)[:64])
        (loss,) = chat.text_losses([beginning], 65)
        losses.append(loss.nats / loss.text_bytes)
    assert losses == sorted(losses) and losses[0] < losses[-1]
    figures = ordered.record.figures["loss"]
    assert 0 < figures["least"] < figures["median"] < figures["most"]


def test_an_encoder_may_say_what_is_similar(workshop: Workshop, tiny_model_folder: Path) -> None:
    step = Order(corpus=TOPICS, by="similarity", embedder=LocalPath(tiny_model_folder), tokens=32)
    ordered = workshop.make(step)
    assert_the_same_documents(ordered, workshop.make(TOPICS))
    figures = ordered.record.figures["similarity"]
    assert figures["neighbours"] > figures["shuffled"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"by": "loss"}, "`model` is needed"),
        ({"by": "shuffled", "pacing": "root"}, "say nothing"),
        ({"by": "similarity", "descending": True}, "say nothing"),
        ({"by": "length", "embedder": LocalPath("x")}, "`embedder`"),
    ],
)
def test_fields_that_do_not_agree_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Order(corpus=CORPUS, **fields)
