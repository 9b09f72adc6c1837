"""Exam texts that stand in the training data."""

from __future__ import annotations

from metier.evaluate.leaks import found_in_training

WORDS = [f"word{at}" for at in range(100)]


def test_a_text_copied_word_for_word_is_found_whatever_its_case_and_punctuation() -> None:
    exam = {"a": " ".join(WORDS[:40])}
    assert found_in_training(exam, [f"before {', '.join(WORDS[:40]).upper()}! after"]) == {"a": 1.0}


def test_a_share_is_found_by_grams_of_13_words() -> None:
    # 40 words have 28 grams of 13; the first 26 words of them have 14
    exam = {"a": " ".join(WORDS[:40])}
    assert found_in_training(exam, [" ".join(WORDS[:26])]) == {"a": 0.5}


def test_a_short_text_is_matched_whole() -> None:
    exam = {"a": "List all books.", "b": "List all the books."}
    assert found_in_training(exam, ["Please list all books now"]) == {"a": 1.0, "b": 0.0}


def test_the_same_words_in_another_order_are_no_leak() -> None:
    exam = {"a": " ".join(WORDS[:20])}
    assert found_in_training(exam, [" ".join(reversed(WORDS[:20]))]) == {"a": 0.0}


def test_nothing_leaks_from_a_text_without_words() -> None:
    assert found_in_training({"a": "…", "b": ""}, ["…", ""]) == {"a": 0.0, "b": 0.0}
