from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.core import Step, Work, Workshop
from metier.core.tables import write_rows
from metier.core.types import Document, Documents
from metier.corpus.dedup.buckets import CROWD, candidates, packed, unpacked
from metier.corpus.dedup.contained import Samples, compilations
from metier.corpus.dedup.hamming import different, table_keys, tables
from metier.corpus.dedup.near import Near, bands_for, near_duplicates, stand_ins
from metier.corpus.dedup.scratch import Settings
from metier.corpus.dedup.shingles import Shingler, jaccard
from metier.corpus.dedup.step import COMPILATION, EXACT, NEAR, Dedup, find
from tests.corpus.given import HOST, TWO
from tests.corpus.pages import documents, prose

REASONS = (None, EXACT, NEAR, COMPILATION)


class InOrder:
    """A pool of one worker: this process."""

    workers = 1

    def __init__(self, order: Callable[[list[Any]], list[Any]] = list, stop_after: int | None = None) -> None:
        self.order, self.left = order, stop_after

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any], **_: Any) -> Generator[Any, None, None]:
        yield from self.every(function, tasks)

    def every(self, function: Callable[[Any], Any], tasks: Iterable[Any], **_: Any) -> Generator[Any, None, None]:
        listed = list(tasks)
        results = {}
        for at in self.order(list(range(len(listed)))):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
            results[at] = function(listed[at])
        yield from (results[at] for at in range(len(listed)))


def shards_of(rows: list[Document], folder: Path, per_shard: int = 50) -> list[Path]:
    write_rows(folder, (row._asdict() for row in rows), Documents.columns, rows_per_shard=per_shard)
    return sorted(folder.glob("part-*.parquet"))


def left_out(
    rows: list[Document],
    folder: Path,
    threshold: float = 0.9,
    compilation: float | None = None,
    per_shard: int = 50,
    pool: Any = None,
    **other: Any,
) -> dict[int, tuple[Any, int, Any]]:
    """Return reason, stand-in and similarity of what deduplication leaves out, by number."""
    chosen = {"width": 5, "method": "minhash", "hamming": 6, "verify": True, **other}
    keep = chosen.pop("keep", "longest")
    shards = shards_of(rows, folder / "in", per_shard)
    verdicts = find(shards, folder / "scratch", Settings(threshold, **chosen), keep, compilation, pool or InOrder())
    return {
        int(at): (REASONS[verdicts.reason[at]], int(verdicts.stands_in[at]), float(verdicts.similarity[at]))
        for at in np.flatnonzero(verdicts.reason)
    }


def edited(text: str, every: int, rng: random.Random) -> str:
    """Return the text with one word in `every` replaced."""
    words = text.split()
    for at in range(rng.randrange(every), len(words), every):
        words[at] = f"edit{rng.randrange(10**6)}"
    return " ".join(words)


def pairs_with_known_jaccard() -> tuple[list[str], list[tuple[int, int, float]]]:
    rng = random.Random(7)
    texts = [prose(1000 + number, 300) for number in range(120)]
    known = []
    for number in range(120):
        texts.append(edited(texts[number], rng.choice([20, 40, 60, 90, 150, 400]), rng))
        one, other = Shingler()(texts[number]), Shingler()(texts[-1])
        known.append((number, len(texts) - 1, jaccard(one, other)))
    return texts, known


@pytest.mark.parametrize("threshold", [0.8, 0.9])
def test_every_planted_pair_above_the_threshold_is_found_and_none_below(tmp_path: Path, threshold: float) -> None:
    texts, known = pairs_with_known_jaccard()
    dropped = left_out(documents(texts), tmp_path, threshold)
    above = [(one, other, similarity) for one, other, similarity in known if similarity >= threshold]
    assert len(above) > 20
    for one, other, similarity in above:
        gone, stands_in = (one, other) if one in dropped else (other, one)
        assert dropped[gone][1:] == (stands_in, pytest.approx(similarity, abs=1e-6))
        assert dropped[gone][0] == (EXACT if texts[one] == texts[other] else NEAR)
    assert len(dropped) == len(above), "a document was dropped that is near no other"
    in_memory = near_duplicates(texts, threshold)
    pairs = zip(in_memory.numbers.tolist(), in_memory.kept.tolist(), strict=True)
    assert {frozenset(pair) for pair in pairs} == {frozenset(pair[:2]) for pair in above}


def test_bands_share_a_key_as_the_formula_says() -> None:
    for threshold in (0.51, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0):
        bands, rows = bands_for(threshold)
        assert 1 - (1 - threshold**rows) ** bands >= 0.998 and bands * rows <= 128
    assert bands_for(0.9) == (14, 9) and bands_for(0.8) == (21, 6)


def test_jaccard_is_shared_over_all_shingles() -> None:
    # "a b c d e f" and "a b c d e g" have two 5-grams each, and share "a b c d e": 1 / 3.
    shingle = Shingler()
    assert jaccard(shingle("a b c d e f"), shingle("a b c d e g")) == 1 / 3


def test_chinese_characters_are_tokens() -> None:
    shingle = Shingler()
    assert shingle("数据库是仓库吗").size == 3  # seven characters, five in a shingle
    assert jaccard(shingle("数据库是一个仓库，用来存储数据。"), shingle("数据库 是一个仓库 用来存储数据")) == 1.0


def test_the_longest_copy_is_kept_and_then_the_one_with_the_smallest_id(tmp_path: Path) -> None:
    text = prose(1, 400)
    rows = documents([text, text + " More.", text, prose(2)])
    dropped = left_out(rows, tmp_path)
    # The longer text stands in for the others; of the two equal ones the smaller id is compared with it.
    first, second = sorted((0, 2), key=lambda number: rows[number].id)
    assert {number: row[:2] for number, row in dropped.items()} == {second: (EXACT, first), first: (NEAR, 1)}


@pytest.mark.parametrize(("keep", "stays"), [("longest", 1), ("first", 0), ("last", 2)])
def test_which_copy_stays_is_the_stated_rule(tmp_path: Path, keep: str, stays: int) -> None:
    text = prose(1, 400)
    dropped = left_out(documents([text + " One.", text + " Two more.", text]), tmp_path, keep=keep)
    assert set(dropped) == {0, 1, 2} - {stays}
    assert {row[1] for row in dropped.values()} == {stays}


def test_white_space_alone_makes_no_other_text_but_case_and_marks_do(tmp_path: Path) -> None:
    rows = documents([prose(1), prose(1).replace(" ", "\n\t "), prose(1).upper(), prose(1) + "!"])
    dropped = left_out(rows, tmp_path, keep="first")
    assert {number: row[0] for number, row in dropped.items()} == {1: EXACT, 2: NEAR, 3: NEAR}


def near(*pairs: tuple[int, int]) -> Near:
    one, other = np.array(pairs, np.int64).reshape(-1, 2).T
    return Near(one, other, np.full(len(one), 0.95))


def never(one: Any, other: Any) -> Any:
    raise AssertionError("there are no crowds here")


def test_a_chain_of_likeness_does_not_drop_its_far_end() -> None:
    # 0 ~ 1 ~ 2, but 0 is not near 2: 1 goes for 0, and 2 stays.
    found = stand_ins(near((0, 1), (1, 2)), [], np.arange(3), never)
    assert found.numbers.tolist() == [1] and found.kept.tolist() == [0]


EDGES = st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]))


@settings(max_examples=60, deadline=None)
@given(EDGES, st.permutations(range(10)))
def test_no_two_kept_are_near_and_every_dropped_has_a_kept_stand_in(
    edges: set[tuple[int, int]], rank: list[int]
) -> None:
    found = stand_ins(near(*sorted(edges)), [], np.array(rank), never)
    dropped = set(found.numbers.tolist())
    for one, other in edges:
        assert one in dropped or other in dropped
    for number, kept in zip(found.numbers.tolist(), found.kept.tolist(), strict=True):
        assert kept not in dropped and rank[kept] < rank[number]
        assert (min(number, kept), max(number, kept)) in edges


@settings(max_examples=60, deadline=None)
@given(EDGES, st.permutations(range(10)))
def test_a_crowd_is_decided_as_all_its_pairs_would_be(edges: set[tuple[int, int]], rank: list[int]) -> None:
    def compare(one: Any, other: Any) -> Any:
        pairs = zip(one.tolist(), other.tolist(), strict=True)
        return np.array([0.95 * ((min(pair), max(pair)) in edges) for pair in pairs])

    by_pairs = stand_ins(near(*sorted(edges)), [], np.array(rank), never)
    in_crowds = stand_ins(near(), [np.arange(10)], np.array(rank), compare)
    assert by_pairs.numbers.tolist() == in_crowds.numbers.tolist()
    assert by_pairs.kept.tolist() == in_crowds.kept.tolist()


@given(st.lists(st.integers(0, 30), max_size=200))
def test_candidates_are_all_pairs_of_a_bucket_once_and_crowds_are_apart(values: list[int]) -> None:
    keys = np.array(values, np.uint64) << np.uint64(40)
    found = candidates(keys, np.arange(100, 100 + len(values)))
    members = {value: [100 + at for at, v in enumerate(values) if v == value] for value in values}
    expected = {(a, b) for group in members.values() if len(group) <= CROWD for a in group for b in group if a < b}
    one, other = unpacked(found.pairs)
    assert set(zip(one.tolist(), other.tolist(), strict=True)) == expected and len(one) == len(expected)
    assert np.array_equal(packed(other, one), found.pairs) and (np.diff(found.pairs.astype(float)) > 0).all()
    crowds = sorted(group for group in members.values() if len(group) > CROWD)
    assert sorted(crowd.tolist() for crowd in found.crowds) == crowds


def test_many_copies_of_one_page_leave_one(tmp_path: Path) -> None:
    text = prose(5, 500)
    rows = documents([f"{text} Copy{number}." for number in range(3 * CROWD)])
    assert len(left_out(rows, tmp_path)) == 3 * CROWD - 1


def test_pages_of_one_template_stay_and_their_copies_go(tmp_path: Path) -> None:
    # Two thirds of each page are the template: every page meets all others, and is near none but its own copy.
    template = prose(5, 400)
    pages = [f"{template} {prose(100 + number, 200)}" for number in range(2 * CROWD)]
    rows = documents(pages + [f"{page} Copy." for page in pages[: CROWD // 2]])
    dropped = left_out(rows, tmp_path)
    assert set(dropped) == set(range(CROWD // 2))
    assert all(row[1] == number + 2 * CROWD for number, row in dropped.items())


def test_documents_without_words_are_no_duplicates_of_each_other_unless_equal(tmp_path: Path) -> None:
    dropped = left_out(documents(["!!!", "???", "!!!", ""]), tmp_path, compilation=0.7)
    assert [row[0] for row in dropped.values()] == [EXACT]


def test_a_compilation_goes_and_its_parts_stay(tmp_path: Path) -> None:
    parts = [prose(number) for number in range(8)]
    rows = documents([*parts, "\n\n".join(parts), prose(99, 900)])
    dropped = left_out(rows, tmp_path, compilation=0.7)
    # Of its 8 * 120 - 4 shingles, 4 at each of the seven joints are its own.
    assert dropped == {8: (COMPILATION, -1, pytest.approx((956 - 28) / 956, abs=1e-6))}


@pytest.mark.parametrize("share", [1, 4])
def test_of_two_that_say_the_same_one_stays_whatever_share_is_sampled(share: int) -> None:
    values = np.arange(1, 101, dtype=np.uint64) << np.uint64(55)
    rng = np.random.default_rng(0)
    own = rng.integers(0, 2**64 // share, 60, np.uint64)
    samples = [
        Samples(np.sort(values // np.uint64(share)), np.zeros(100, np.int64)),
        Samples(np.sort(np.append(values[:90] // np.uint64(share), own[:10])), np.ones(100, np.int64)),
        Samples(np.sort(own), np.full(60, 2)),
    ]
    # Document 0 says 90 of its 100 in 1; when it is gone, 1 has only the 10 that 2 says too; and 2 has 10 of 60.
    assert compilations(samples, share, 0.7) == {0: 0.9}


@pytest.mark.parametrize("per_shard", [7, 1000])
def test_shards_and_the_order_of_their_tasks_change_nothing(tmp_path: Path, per_shard: int) -> None:
    texts, _ = pairs_with_known_jaccard()
    rows = documents([*texts, "\n\n".join(texts[:6]), texts[3], *(f"{prose(5, 300)} {at}" for at in range(80))])
    expected = left_out(rows, tmp_path / "whole", compilation=0.7)
    assert {row[0] for row in expected.values()} == {EXACT, NEAR, COMPILATION}
    backwards = InOrder(order=lambda tasks: tasks[::-1])
    assert left_out(rows, tmp_path / "cut", compilation=0.7, per_shard=per_shard, pool=backwards) == expected


def test_an_attempt_after_a_kill_goes_on_with_what_is_finished(tmp_path: Path) -> None:
    texts, _ = pairs_with_known_jaccard()
    rows = documents(texts)
    expected = left_out(rows, tmp_path / "whole", compilation=0.7)
    attempts = 0
    for stop_after in range(1, 40, 3):
        try:
            found = left_out(rows, tmp_path, compilation=0.7, pool=InOrder(stop_after=stop_after))
        except KeyboardInterrupt:
            attempts += 1
        else:
            break
    assert found == expected and attempts >= 4


def test_simhash_proposes_and_the_exact_similarity_decides(tmp_path: Path) -> None:
    texts, known = pairs_with_known_jaccard()
    dropped = left_out(documents(texts), tmp_path / "verified", method="simhash", hamming=10)
    above = {pair[:2] for pair in known if pair[2] >= 0.9}
    found = {tuple(sorted((number, row[1]))) for number, row in dropped.items()}
    assert found <= above and len(found) >= 0.9 * len(above)
    # Without verification, pairs below the threshold are among them, and similarity is that of the bits.
    alone = left_out(documents(texts), tmp_path / "alone", method="simhash", hamming=10, verify=False)
    assert set(dropped) < set(alone)
    assert all(row[2] in [pytest.approx(1 - bits / 64) for bits in range(11)] for row in alone.values())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=6), st.sampled_from([10, 10**6]))
def test_hashes_that_differ_in_few_bits_share_a_table(one: int, bits: set[int], documents: int) -> None:
    both = np.array([one, one ^ sum(1 << bit for bit in bits)], np.uint64)
    assert different(both[:1], both[1:]).tolist() == [len(bits)]
    keys = np.array([table_keys(both, table) for table in tables(documents, 6)])
    assert (keys[:, 0] == keys[:, 1]).any()


class GivenCopies(Step[Documents]):
    """Documents with copies among them, in shards of 20."""

    name: ClassVar[str] = "given-copies"

    def run(self, work: Work) -> None:
        texts = pairs_with_known_jaccard()[0]
        rows = documents([*texts[:60], *texts[120:180], texts[3], "\n\n".join(texts[:6])])
        write_rows(work.folder / "documents", (row._asdict() for row in rows), Documents.columns, rows_per_shard=20)
        work.count("document", len(rows), len(rows), made={"document": len(rows)})


def test_the_step_writes_what_stays_lists_what_goes_and_its_ledger_adds_up(tmp_path: Path) -> None:
    step = Dedup(corpus=GivenCopies())
    made = [Workshop(tmp_path / str(host.threads), host=host).make(step) for host in (HOST, TWO)]
    kept, listed = [], []
    for artifact in made:
        kept.append([document.id for document in Documents(artifact.folder).rows()])
        lines = (artifact.folder / "duplicates.jsonl").read_text().splitlines()
        listed.append([json.loads(line) for line in lines])
        assert not list(artifact.folder.glob(".scratch*"))
    # One worker or two: the same, to the byte.
    assert kept[0] == kept[1] and listed[0] == listed[1]
    assert made[0].record.output_sha256 == made[1].record.output_sha256
    (line,) = [line for line in made[0].record.ledger.lines if line.unit == "document"]
    assert (
        line.came == 122 and line.kept == len(kept[0]) and line.dropped == Counter(row["reason"] for row in listed[0])
    )
    assert set(line.dropped) == {EXACT, NEAR, COMPILATION}
    by_id = {row["id"]: row for row in listed[0]}
    assert not set(by_id) & set(kept[0]) and len(by_id) + len(kept[0]) == 122
    for row in listed[0]:
        assert (row["stands_in"] in kept[0]) if row["reason"] == NEAR else True
        assert row["stands_in"] is None or row["reason"] != COMPILATION
    shards = sorted((made[0].folder / "dropped").glob("*.parquet"))
    told = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    assert [(row["id"], row["reason"]) for row in told] == [(row["id"], row["reason"]) for row in listed[0]]


@pytest.mark.slow
def test_after_kill_9_the_step_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    code = (
        "import sys; from metier.core import Workshop; from metier.corpus.dedup.step import Dedup; "
        "from tests.corpus.given import HOST; from tests.corpus.test_dedup import GivenCopies; "
        "Workshop(sys.argv[1], host=HOST).make(Dedup(corpus=GivenCopies()))"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "killed")], cwd=root)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("killed/*/.scratch-dedup-*/measured/00*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    killed.kill()
    killed.wait()
    assert list(tmp_path.glob("killed/*/.scratch-dedup-*")), "it was killed too late to show anything"
    again, whole = (
        Workshop(tmp_path / name, host=HOST).make(Dedup(corpus=GivenCopies())) for name in ("killed", "whole")
    )
    assert again.record.output_sha256 == whole.record.output_sha256
    assert again.record.ledger == whole.record.ledger


@given(st.text())
def test_shingles_are_sorted_and_distinct(text: str) -> None:
    found = Shingler()(text)
    assert np.array_equal(found, np.unique(found))
