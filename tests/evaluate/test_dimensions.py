"""Dimensions, and what an exam gives away to rules that know nothing."""

from __future__ import annotations

import random

import pytest

from metier.core.chat import Message, Reply
from metier.core.errors import Failure
from metier.core.scorers import scorer_for
from metier.core.scorers.agreement import longest_common
from metier.core.types import Conversation, Document
from metier.evaluate import dimensions
from metier.evaluate.bias import echo, rules
from metier.evaluate.execution import graded
from metier.evaluate.multiple_choice import Item
from metier.evaluate.open_questions import open_questions


def item(kind: str = "own", options: tuple[str, ...] = ("a", "b", "c", "d"), answer: int = 0, at: int = 0) -> Item:
    return Item(f"i{at}", "Which?", list(options), answer, "doc", kind)


def row(task: str, check: dict[str, str] | None = None) -> Conversation:
    asked = [Message("user", "What is a lock?"), Message("assistant", "a lock is a lock")]
    return Conversation("r", asked, task, "held_out", check=check or {"scorer": "agreement", "reference": "a lock"})


@pytest.mark.parametrize(
    ("kind", "dimension"),
    [
        ("name of a function", "terminology"),
        ("name like SQLITE_", "terminology"),
        ("definition ending", "terminology"),
        ("section opening", "disambiguation"),
        ("sentence ending, because", "reasoning"),
        ("sentence ending, that", "understanding"),
        ("function ending", "understanding"),
    ],
)
def test_the_dimension_of_a_generated_question_follows_from_its_kind(kind: str, dimension: str) -> None:
    assert dimensions.of_item(item(kind)) == dimension
    assert dimensions.of_item(item(kind)._replace(dimension="syntax")) == "syntax"


def test_the_dimension_of_a_task_is_stated_or_what_it_asks_or_the_task_itself() -> None:
    assert dimensions.of_row(row("doc-qa/definition")) == "terminology"
    assert dimensions.of_row(row("open/question")) == "reasoning"
    assert dimensions.of_row(row("text-to-sql")) == "task: text-to-sql"
    stated = {"scorer": "agreement", "reference": "a", "dimension": "syntax"}
    assert dimensions.of_row(row("text-to-sql", stated)) == "syntax"
    assert graded(row("text-to-sql", stated), Reply("a", 1, True))["dimension"] == "syntax"
    thought = graded(row("text-to-sql", stated), Reply("<think>b c d</think> a", 1, True))
    assert (thought["score"], thought["answer"]) == (1.0, "<think>b c d</think> a")  # a thought is kept, and not graded


def test_an_exam_whose_right_options_are_long_is_found_out_and_a_fair_one_is_not() -> None:
    rng = random.Random(0)
    given_away, fair = [], []
    for at in range(80):
        options = [f"{rng.choice('xyz') * rng.randrange(3, 9)} {place}" for place in range(4)]
        fair.append(item("own", tuple(options), at % 4, at))
        options[at % 4] += " and so on and so forth"
        given_away.append(item("own", tuple(options), at % 4, at))
    worst = rules(given_away)[0]
    assert (worst.name, worst.accuracy, worst.chance) == ("the longest option", 1.0, 0.25) and worst.excess > 0.6
    assert not any(rule.beats_chance for rule in rules(fair))


def test_rules_that_cannot_choose_score_as_guessing_does() -> None:
    same = [item("own", ("aa", "bb"), at % 2, at) for at in range(10)] + [item("own", ("aa", "bb", "cc"), 0, 11)]
    by_name = {rule.name: rule.accuracy for rule in rules(same)}
    assert by_name["the longest option"] == pytest.approx((10 / 2 + 1 / 3) / 11)
    assert by_name["option 3"] == pytest.approx(10 * 0.5 / 11)  # nobody's right option; two have no third
    assert rules([]) == []


def test_few_fair_exams_are_called_biased() -> None:
    rng = random.Random(1)

    def drawn() -> list[Item]:
        texts = [tuple("w" * rng.randrange(1, 30) + str(at) for at in range(4)) for _ in range(60)]
        return [item("own", options, rng.randrange(4), at) for at, options in enumerate(texts)]

    called = sum(any(rule.beats_chance for rule in rules(drawn())) for _ in range(100))
    assert called <= 10  # 5 expected at most; 10 or more have a chance below 3%


def test_questions_of_one_source_that_are_alike_prove_a_rule_no_better_than_one_of_them() -> None:
    """Ten questions of each of four documents, all with the longest option right: four happened to be so, not forty."""
    options = ("short", "the longest of all", "mid size", "tiny")
    told, alone = [], []
    for at in range(80):
        right = 1 if at // 10 < 4 else at // 10 % 4
        one = item("own", options, right, at)
        told.append(one._replace(source=f"document {at // 10}"))
        alone.append(one._replace(source=f"question {at}"))
    longest = ({rule.name: rule for rule in rules(items)}["the longest option"] for items in (told, alone))
    clustered, single = longest
    assert clustered.accuracy == single.accuracy > 0.5
    assert single.beats_chance and not clustered.beats_chance


def test_repeating_the_question_is_graded_like_any_answer() -> None:
    assert echo([]) is None
    # "what is a lock" and "a lock": 2 shared of 4 and 2
    assert echo([row("open/section")]) == pytest.approx(2 * 2 / 6)


TEXT = """# Locks

A lock keeps two writers of a database file apart, so that each of them sees the file as a whole.

## Waiting For Locks

Waiting for locks ends when the time limit is over, and the statement then fails with an error of its own.
"""


def test_open_questions_are_the_documents_and_none_is_asked_that_is_known() -> None:
    document = Document("d", TEXT, "d.md", "Locks", split="held_out")
    made = open_questions([document], [], 0)
    assert made and open_questions([document], made, 0) == []
    for question in made:
        reference = question.messages[-1].content
        assert reference in TEXT and question.check == {"scorer": "agreement", "reference": reference}
        assert (question.split, question.cluster) == ("held_out", "d") and question.task.startswith("open/")


def test_the_best_of_several_references_counts() -> None:
    check = {"reference": "in the first quarter", "accepts": ["q1"]}
    assert scorer_for("agreement").score(check, "Q1").value == 1.0


def test_rouge_l_counts_words_in_their_order_only() -> None:
    # Lin 2004, section 3.1: "police kill the gunman" shares 2 in order, "the gunman kill police" 2, of 4 and 4
    reference = {"reference": "police killed the gunman", "measure": "rouge-l"}
    scorer = scorer_for("agreement")
    assert scorer.score(reference, "police kill the gunman").value == pytest.approx(0.75)
    assert scorer.score(reference, "the gunman kill police").value == pytest.approx(0.5)
    with pytest.raises(Failure, match="unknown measure"):
        scorer.score({"reference": "a", "measure": "bleu"}, "a")


def test_the_longest_common_subsequence_is_that_of_all_subsequences() -> None:
    rng = random.Random(0)

    def subsequences(words: list[str]) -> set[tuple[str, ...]]:
        picks = range(1 << len(words))
        return {tuple(word for at, word in enumerate(words) if pick >> at & 1) for pick in picks}

    for _ in range(40):
        one, other = ([rng.choice("abc") for _ in range(rng.randrange(7))] for _ in range(2))
        assert longest_common(one, other) == max(map(len, subsequences(one) & subsequences(other)))
