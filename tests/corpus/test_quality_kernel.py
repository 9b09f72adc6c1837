from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.corpus.kernel import Texts, compiled, texts
from metier.corpus.kernel.classify import Automaton, automaton_scores, named_ngrams, ngram_buckets, ngram_sums

# Letters, digits of three scripts, Han, kana, marks, punctuation, white space, controls and what is unassigned.
TEXT = st.text(
    st.sampled_from("aBßİé Ж0129٣४一漢カー한.—-=_!。\n\t\r \x00\u0300\u0378\U0001f600\U00020000Ⅷ") | st.characters()
)

needs_kernel = pytest.mark.skipif(compiled("_classify") is None, reason="the kernel is not built")


@contextmanager
def twin() -> Iterator[None]:
    before = os.environ.get("METIER_KERNEL")
    os.environ["METIER_KERNEL"] = "python"
    try:
        yield
    finally:
        if before is None:
            del os.environ["METIER_KERNEL"]
        else:
            os.environ["METIER_KERNEL"] = before


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=8), st.integers(1, 3))
def test_the_kernel_and_its_twin_agree_on_any_text(rows: list[str], order: int) -> None:
    column = texts(rows)
    weights = np.random.default_rng(0).integers(-(1 << 30), 1 << 30, 1 << 12).astype(np.int32)
    (sums, counts), (starts, buckets) = ngram_sums(column, weights, order), ngram_buckets(column, 12, order)
    with twin():
        slow = ngram_sums(column, weights, order), ngram_buckets(column, 12, order)
    assert np.array_equal(sums, slow[0][0]) and np.array_equal(counts, slow[0][1])
    assert np.array_equal(starts, slow[1][0]) and np.array_equal(buckets, slow[1][1])


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_the_kernel_and_its_twin_agree_on_bytes_that_are_no_text(data: bytes) -> None:
    column = Texts(np.array([0, len(data)]), memoryview(data))
    weights = np.arange(1 << 10, dtype=np.int32)
    fast = ngram_sums(column, weights, 2)
    with twin():
        assert all(np.array_equal(a, b) for a, b in zip(fast, ngram_sums(column, weights, 2), strict=True))


@needs_kernel
@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 2**32 - 1))
def test_the_automaton_and_its_twin_agree(rows: list[bytes], seed: int) -> None:
    rng = np.random.default_rng(seed)
    states, features, classes = 7, 5, 3
    automaton = Automaton(
        rng.integers(0, states, 4 * 256).astype(np.uint32),
        rng.integers(0, 4, states).astype(np.uint32),
        rng.integers(-2, features, states).astype(np.int32),
        rng.integers(0, 256, (features, classes)).astype(np.uint8),
        np.array([0, 700, 1100, 1400], np.int32),
    )
    data = b"".join(rows)
    column = Texts(np.cumsum([0, *map(len, rows)]).astype(np.int64), memoryview(data))
    fast = automaton_scores(column, automaton)
    with twin():
        slow = automaton_scores(column, automaton)
    assert np.array_equal(fast[0], slow[0]) and np.array_equal(fast[1], slow[1])


@pytest.mark.parametrize("kernel", ["", "python"])
def test_an_automaton_that_points_outside_itself_is_refused(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METIER_KERNEL", kernel)
    automaton = Automaton(
        np.full(256, 9, np.uint32),
        np.zeros(1, np.uint32),
        np.zeros(1, np.int32),
        np.zeros((1, 2), np.uint8),
        np.zeros(2, np.int32),
    )
    with pytest.raises(ValueError, match="outside themselves"):
        automaton_scores(texts(["ab"]), automaton)


def test_an_automaton_counts_what_it_meets() -> None:
    # Two states: state 1 after each "a", and it stands for feature 0; damping of 2 meetings is 11.
    moves = np.zeros(256, np.uint32)
    moves[ord("a")] = 1
    weights = np.array([[3, 2]], np.uint8)
    automaton = Automaton(
        moves, np.zeros(2, np.uint32), np.array([-1, 0], np.int32), weights, np.array([0, 7, 11], np.int32)
    )
    scores, distinct = automaton_scores(texts(["xax", "aab", "bcd"]), automaton)
    assert scores.tolist() == [[21, 14], [33, 22], [0, 0]] and distinct.tolist() == [1, 1, 0]


def names(text: str, order: int = 1) -> list[str]:
    return [name for _, name in named_ngrams(text, 12, order)]


def test_tokens_are_words_numbers_marks_and_ends_of_lines() -> None:
    assert names("The CAFÉ, 12345!") == ["the", "café", ",", "0000", "!"]
    assert names("v1.2-----x_y") == ["v0", ".", "0", "---", "x", "_", "y"]
    assert names("漢字カナ한국어") == ["漢", "字", "カ", "ナ", "한국어"]
    assert names("a\nb \n \n c\n") == ["a", "⏎", "b", "¶", "c", "⏎"]


def test_ngrams_end_with_each_token_in_turn() -> None:
    assert names("a b c", 3) == ["a", "b", "a b", "c", "b c", "a b c"]


def test_a_sum_is_that_of_the_buckets_weights() -> None:
    weights = np.arange(1 << 12, dtype=np.int32)
    column = texts(["one two", "", "three"])
    starts, buckets = ngram_buckets(column, 12, 2)
    sums, counts = ngram_sums(column, weights, 2)
    assert starts.tolist() == [0, 3, 3, 4] and counts.tolist() == [3, 0, 1]
    assert sums.tolist() == [int(buckets[:3].sum()), 0, int(buckets[3])]


def test_weights_that_are_no_power_of_two_are_refused() -> None:
    with pytest.raises(ValueError, match="no power of two"):
        ngram_sums(texts(["a"]), np.zeros(1000, np.int32), 1)
