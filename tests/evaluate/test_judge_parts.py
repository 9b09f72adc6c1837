"""The parts of a judge: reading replies, outcomes, strengths, agreement with people."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from pytest import approx

from metier.core import Mistake
from metier.evaluate.judge.agreement import Label, agreement, cohens_kappa, read_labels
from metier.evaluate.judge.contest import Question
from metier.evaluate.judge.outcomes import Outcome, Pair, bias, settled, shares
from metier.evaluate.judge.prompts import read_grades, read_winner
from metier.evaluate.judge.strength import bradley_terry, elo

CRITERIA = {"correctness": "right", "clarity": "clear"}


@pytest.mark.parametrize(
    ("reply", "winner"),
    [
        ('{"reason": "shorter", "winner": "A"}', "A"),
        ('Sure!\n```json\n{"Winner": "answer b"}\n```\nI hope this helps.', "B"),
        ('{"winner": "Tie"}', "tie"),
        ("<think>B? {\"winner\": \"B\"} no</think>{\"winner\": \"A\"}", "A"),
        ('{"verdict": "[[B]]"}', "B"),
        ("[[C]]", "tie"),
        ("Answer A.", "A"),
        ('{"reason": "he said "no"", "winner": "B"}', "B"),  # broken quotes
        ('{"winner": "A"} or rather {"winner": "B"}', None),
        ("Both are interesting answers to a hard question", None),
        ("A nice try", None),
        ('{"winner": 1}', None),
        ('{"reason": ' + "[" * 5000, None),
        ('{"a":' * 2000 + ' {"winner": "A"}', "A"),
        ("", None),
    ],
)  # fmt: skip
def test_verdicts_are_read_in_any_form_but_never_guessed(reply: str, winner: str | None) -> None:
    assert read_winner(reply) == winner


@pytest.mark.parametrize(
    ("reply", "grades"),
    [
        ('{"correctness": 4, "clarity": 5}', {"correctness": 4, "clarity": 5}),
        ('Grades: {"Correctness": "4/5", "clarity": 2.0, "reason": "ok"}', {"correctness": 4, "clarity": 2}),
        ('{"correctness": 4}', None),
        ('{"correctness": 6, "clarity": 5}', None),
        ('{"correctness": 3.5, "clarity": 5}', None),
        ('{"correctness": true, "clarity": 5}', None),
        ("4 and 5", None),
    ],
)
def test_a_rubric_is_whole_or_no_verdict(reply: str, grades: dict[str, int] | None) -> None:
    assert read_grades(reply, CRITERIA) == grades


def question(id: str, one: str = "x", two: str = "yy") -> Question:
    return Question(f"execution/repair/{id}", id, id, "?", None, {"one": one, "two": two, "three": "zzz"})


def won(id: int, winner: str | None, first: str = "one", second: str = "two") -> Outcome:
    return Outcome(question(str(id)), first, second, winner)


def test_verdicts_that_change_with_the_order_are_a_tie_and_counted() -> None:
    pair = Pair(question("1"), "one", "two")
    straight, swapped = pair.keys

    def found(a: str, b: str) -> Outcome | None:
        return settled(pair, {straight: a, swapped: b})  # type: ignore[dict-item]

    told = [found(a, b) for a in ("A", "B", "tie") for b in ("A", "B", "tie")]
    assert [one and one.winner for one in told] == [None, "one", None, "two", None, None, None, None, None]
    assert [one and one.leaning for one in told] == ["A", None, "mixed", None, "B", "mixed", "mixed", "mixed", None]
    assert settled(pair, {straight: "A"}) is None
    seen = bias([one for one in told if one])
    assert seen.disagreed is not None and seen.disagreed.value == approx(6 / 9)
    assert (seen.for_first, seen.for_second, seen.mixed) == (1, 1, 4)


def test_the_same_answer_twice_is_a_tie_that_needs_no_judge() -> None:
    outcome = settled(Pair(question("1", "same", " same\n"), "one", "two"), {})
    assert outcome is not None and outcome.winner is None and bias([outcome]).disagreed is None


def test_the_longer_answer_wins_as_often_as_it_does() -> None:
    # "yy" of "two" is the longer: it wins 3 of 4, ties do not count
    found = bias([won(1, "two"), won(2, "two"), won(3, "two"), won(4, "one"), won(5, None)]).longer_wins
    assert found is not None and (found.value, found.n) == (0.75, 4)


def test_wins_ties_and_losses_are_shares_of_the_same_pairs() -> None:
    told = shares([won(1, "one"), won(2, None), won(3, "two"), won(4, "two")], "one")
    assert [one.value for one in told] == [0.25, 0.25, 0.5]
    assert told.wins.low < 0.25 < told.wins.high


def test_strengths_of_two_are_the_ratio_of_their_wins() -> None:
    first, second = bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]))
    assert first / second == approx(3)


def test_strengths_solve_the_likelihood_equations() -> None:
    # Hunter 2004, (3): W_i = sum over j of n_ij p_i / (p_i + p_j)
    wins = np.array([[0.0, 7, 3], [4, 0, 6], [5, 2, 0]])
    p = bradley_terry(wins)
    games = wins + wins.T
    for i in range(3):
        assert wins[i].sum() == approx(sum(games[i, j] * p[i] / (p[i] + p[j]) for j in range(3) if j != i), rel=1e-6)


@pytest.mark.parametrize(("models", "questions"), [(3, 1_400), (4, 10_000), (8, 1_000_000)])
def test_models_that_are_cleanly_ordered_have_strengths_however_many_questions(models: int, questions: int) -> None:
    wins = np.triu(np.full((models, models), float(questions)), 1) + 0.5 * (1 - np.eye(models))
    p, games = bradley_terry(wins), wins + wins.T
    assert (np.diff(p) < 0).all() and np.log(p).sum() == approx(0, abs=1e-9)
    assert wins.sum(axis=1) == approx((games * p[:, None] / (p[:, None] + p)).sum(axis=1), rel=1e-6)


def test_a_model_that_never_lost_has_no_strength_without_a_prior() -> None:
    with pytest.raises(ValueError, match="no finite maximum"):
        bradley_terry(np.array([[0.0, 5.0], [0.0, 0.0]]))


def test_elo_is_400_points_for_ten_times_the_odds_around_1000() -> None:
    # 9.5 + 0.5 to 0.5 + 0.5: odds of 10 to 1
    outcomes = [won(at, "one") for at in range(9)] + [won(9, None)]
    first, second = elo(outcomes, ["one", "two"])
    assert first.value - second.value == approx(400) and first.value + second.value == approx(2000)
    assert first.low < first.value < first.high and first.n == 10


@pytest.mark.slow
def test_elo_intervals_cover_the_truth_in_95_of_100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.evaluate.judge.strength.ROUNDS", 300)
    rng, covered, games = random.Random(1), 0, 200
    truth = 1000 + 400 * math.log10(0.65 / 0.35) / 2
    for _ in range(200):
        first, _ = elo([won(at, "one" if rng.random() < 0.65 else "two") for at in range(games)], ["one", "two"])
        covered += first.low <= truth <= first.high
    assert covered / 200 == approx(0.95, abs=0.035)


def test_cohens_kappa_by_hand() -> None:
    # Cohen 1960: 20 + 15 of 50 agree, .7; by chance 25/50 * 30/50 + 25/50 * 20/50 = .5; (.7 - .5) / .5
    said = [("first", "first")] * 20 + [("first", "second")] * 5 + [("second", "first")] * 10 + [("second",) * 2] * 15
    assert cohens_kappa(said) == approx(0.4)
    assert cohens_kappa([("tie", "tie")] * 9) is None


def test_a_judge_is_trusted_when_it_agrees_clearly_and_not_on_a_few_labels() -> None:
    outcomes = [won(at, "one" if at % 2 else "two") for at in range(60)]
    people = [Label(str(at), "two", "one", "one" if at % 2 else "two") for at in range(60)]
    whole = agreement(outcomes, people)
    assert whole.kappa is not None and whole.kappa.value == 1 and whole.kappa.low > 0.8 and whole.trusted(0.4)
    assert not agreement(outcomes, people[:3]).trusted(0.4)  # three of three may well be luck
    assert not agreement(outcomes, [*people[30:45], *[one._replace(winner=None) for one in people[:30]]]).trusted(0.4)


def test_labels_of_pairs_that_were_not_judged_are_counted_and_none_at_all_is_a_mistake() -> None:
    found = agreement([won(1, "one")], [Label("1", "one", "two", None), Label("7", "one", "two", None)])
    assert (found.labels, found.unmatched, found.agreed) == (1, 1, 0)
    with pytest.raises(Mistake, match="no label is of a pair"):
        agreement([won(1, "one")], [Label("7", "one", "two", None)])


def test_labels_come_from_csv_and_jsonl(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("\ufeffid,first,second,winner\n1,one,two,first\n2,two,one,one\n3,one,two,Tie\n")
    rows = tmp_path / "labels.jsonl"
    rows.write_text('{"id": 1, "first": "one", "second": "two", "winner": "second"}\n')
    assert [label.winner for label in read_labels(table, ["one", "two"])] == ["one", "one", None]
    assert read_labels(rows, ["one", "two"]) == [Label("1", "one", "two", "two")]


def test_a_cell_may_hold_any_end_of_line_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    table, rows = tmp_path / "labels.csv", tmp_path / "labels.jsonl"
    table.write_text('id,first,second,winner\n"1\u2028a\x85b",one,two,first\n"2\nb",one,two,three\n', encoding="utf-8")
    with pytest.raises(Mistake, match=r"labels\.csv:4 has a winner that was not in the pair"):
        read_labels(table, ["one", "two"])
    row = {"id": "1\u2028a\x85b", "first": "one", "second": "two", "winner": "second"}
    rows.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_labels(rows, ["one", "two"])[0].id == row["id"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,first,second,winner\n1,one,two,one,why not\n", "line 2 has more cells"),
        ('id,first,second,winner\n1,"one,two,one\n', "unexpected end of data"),
        ("id,first,second\n1,one,two\n", "2 has no 'winner'"),
        ("id,first,second,winner\n1,one,ten,one\n", "names no model"),
        ("id,first,second,winner\n1,one,two,three\n", "not in the pair"),
        ("id,first,second,winner\n1,one,one,one\n", "against itself"),
        ("id,first,second,winner\n", "holds no labels"),
    ],
)
def test_labels_that_cannot_be_used_say_where(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(Mistake, match=words):
        read_labels(tmp_path / "labels.csv", ["one", "two", "three"])
