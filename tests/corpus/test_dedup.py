from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.corpus.dedup import COMPILATION, EXACT, NEAR, duplicates, measure
from metier.corpus.near import Pair, stand_ins
from metier.corpus.shingles import Shingler, jaccard
from tests.corpus.pages import documents, prose


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


def test_every_planted_pair_above_the_threshold_is_found_and_none_below(tmp_path: Path) -> None:
    texts, known = pairs_with_known_jaccard()
    for threshold in (0.8, 0.9):
        dropped = duplicates(measure(documents(texts), tmp_path / str(threshold)), threshold, None)
        above = [(one, other) for one, other, similarity in known if similarity >= threshold]
        assert len(above) > 20
        found = sum(one in dropped or other in dropped for one, other in above)
        assert found / len(above) >= 0.995
        assert len(dropped) == found, "a document was dropped that is near no other"


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
    dropped = duplicates(measure(rows, tmp_path), 0.9, None)
    # The longer text stands in for the others; of the two equal ones the smaller id is compared with it.
    assert set(dropped) == {0, 2}
    first, second = sorted((0, 2), key=lambda number: rows[number].id)
    assert dropped[second].reason == EXACT and dropped[second].stands_in == rows[first].id
    assert dropped[first].reason == NEAR and dropped[first].stands_in == rows[1].id


def test_a_chain_of_likeness_does_not_drop_its_far_end() -> None:
    # 0 ~ 1 ~ 2, but 0 is not near 2: 1 goes for 0, and 2 stays.
    assert set(stand_ins([Pair(0, 1, 0.9), Pair(1, 2, 0.9)], [0, 1, 2])) == {1}


@settings(max_examples=60)
@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1])))
def test_no_two_kept_are_near_and_every_dropped_has_a_kept_stand_in(edges: set[tuple[int, int]]) -> None:
    pairs = [Pair(one, other, 0.95) for one, other in sorted(edges)]
    dropped = stand_ins(pairs, list(range(10)))
    for pair in pairs:
        assert pair.one in dropped or pair.other in dropped
    for number, pair in dropped.items():
        assert pair.one + pair.other - number not in dropped


def test_a_compilation_goes_and_its_parts_stay(tmp_path: Path) -> None:
    parts = [prose(number) for number in range(8)]
    rows = documents([*parts, "\n\n".join(parts), prose(99, 900)])
    dropped = duplicates(measure(rows, tmp_path), 0.9, 0.7)
    assert {number: row.reason for number, row in dropped.items()} == {8: COMPILATION}


def test_many_copies_of_one_page_leave_one(tmp_path: Path) -> None:
    text = prose(5, 500)
    rows = documents([f"{text} Copy{number}." for number in range(150)])
    assert len(duplicates(measure(rows, tmp_path), 0.9, None)) == 149


def test_documents_without_words_are_no_duplicates_of_each_other_unless_equal(tmp_path: Path) -> None:
    dropped = duplicates(measure(documents(["!!!", "???", "!!!", ""]), tmp_path), 0.9, 0.7)
    assert [row.reason for row in dropped.values()] == [EXACT]


@given(st.text())
def test_shingles_are_sorted_and_distinct(text: str) -> None:
    found = Shingler()(text)
    assert np.array_equal(found, np.unique(found))
