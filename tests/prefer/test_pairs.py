"""Pairs from graded answers."""

from __future__ import annotations

import pytest

from metier.core.chat import Message
from metier.core.types import Conversation, Preference
from metier.prefer.pairs import ALL_RIGHT, ALL_WRONG, NO_WRONG_TEXT, TOO_CLOSE, Graded, choose_pair, lint

ROW = Conversation("row", [Message("user", "q"), Message("assistant", "gold")], "t", source="s")


def answers(*pairs: tuple[str, float]) -> list[Graded]:
    return [Graded(text, score, f"scored {score}", True) for text, score in pairs]


def test_the_best_is_chosen_and_the_worst_rejected() -> None:
    pair, dropped = choose_pair(ROW, answers(("a", 0.5), ("b", 1.0), ("c", 0.0)), 0.3, False)
    assert dropped is None and pair is not None
    assert (pair.chosen, pair.rejected, pair.chosen_score, pair.rejected_score) == ("b", "c", 1.0, 0.0)
    assert (pair.id, pair.source, pair.prompt) == ("row", "s", [Message("user", "q")])


def test_of_equally_bad_answers_the_commonest_is_rejected() -> None:
    pair, _ = choose_pair(ROW, answers(("once", 0.0), ("twice", 0.0), ("good", 1.0), ("twice", 0.0)), 0.3, False)
    assert pair is not None and pair.rejected == "twice"


@pytest.mark.parametrize(
    ("scores", "reason"),
    [((1.0, 1.0), ALL_RIGHT), ((0.0, 0.0), ALL_WRONG), ((0.5, 0.6), TOO_CLOSE), ((0.1, 0.2), ALL_WRONG)],
)
def test_without_a_real_difference_there_is_a_reason(scores: tuple[float, float], reason: str) -> None:
    found = choose_pair(ROW, answers(("a", scores[0]), ("b", scores[1])), 0.3, False)
    assert found == (None, reason)


def test_where_all_are_wrong_the_reference_can_be_chosen() -> None:
    pair, _ = choose_pair(ROW, answers(("a", 0.0), ("b", 0.1)), 0.3, True)
    assert pair is not None and (pair.chosen, pair.rejected, pair.chosen_score) == ("gold", "a", 1.0)
    assert choose_pair(ROW, answers(("gold", 0.0)), 0.3, True).dropped == ALL_WRONG


def test_an_answer_that_was_cut_is_never_chosen() -> None:
    cut = [Graded("cut", 1.0, "", False), Graded("bad", 0.0, "", True)]
    assert choose_pair(ROW, cut, 0.3, False).pair is None


def test_an_empty_answer_is_neither_chosen_nor_rejected() -> None:
    assert choose_pair(ROW, answers(("", 0.0), (" ", 0.0)), 0.3, True) == (None, NO_WRONG_TEXT)


def pair(chosen: str, rejected: str, prompt: str = "q") -> Preference:
    return Preference("id", [Message("user", prompt)], chosen, rejected, 1.0, 0.0, "")


def test_lint_drops_equal_texts_and_duplicates_and_says_so() -> None:
    found = lint([pair("a b", "a  b"), pair("a", "b"), pair("a", "b"), pair("a", "b", "other")])
    assert found.dropped == {"equal texts": 1, "duplicate": 1} and len(found.kept) == 2 and not found.warnings


def test_lint_warns_of_a_bias_in_length_with_the_figures() -> None:
    found = lint([pair("x" * 40, "y" * 10)])
    assert (found.chosen_characters, found.rejected_characters) == (40, 10)
    assert "longer" in found.warnings[0] and "40 and 10" in found.warnings[0]
