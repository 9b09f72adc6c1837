"""Grades mean what they say, and no answer can break the grader."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.core import Failure, Mistake
from metier.core.scorers import Score, scorer_for
from metier.core.scorers.sqlite import statement_in

CREATE = "CREATE TABLE track(id INTEGER PRIMARY KEY, title TEXT, seconds INTEGER);"
ONE = CREATE + "INSERT INTO track VALUES (1,'Ada',100),(2,'Bix',300),(3,'Cy',200);"
TWO = CREATE + "INSERT INTO track VALUES (1,'Dot',10),(2,'Eve',20);"
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"


def check(gold: str, **more: Any) -> dict[str, Any]:
    return {"scorer": "sqlite", "databases": [ONE, TWO], "gold": gold, "ordered": False, "probe": None, **more}


def grade(gold: str, answer: str, **more: Any) -> float:
    return scorer_for("sqlite").score(check(gold, **more), answer).value


def test_an_answer_is_right_when_it_gives_the_same_rows_by_another_way() -> None:
    assert grade("SELECT MAX(seconds) FROM track;", "SELECT seconds FROM track ORDER BY seconds DESC LIMIT 1") == 1


def test_an_answer_must_be_right_on_every_database() -> None:
    right_on_the_first_only = "SELECT title FROM track WHERE seconds = 300;"
    assert grade("SELECT title FROM track ORDER BY seconds DESC LIMIT 1;", right_on_the_first_only) == 0


def test_column_names_do_not_count_but_the_order_of_columns_does() -> None:
    assert grade("SELECT title, seconds FROM track;", "SELECT title AS a, seconds AS b FROM track") == 1
    assert grade("SELECT title, seconds FROM track;", "SELECT seconds, title FROM track") == 0


@pytest.mark.parametrize(("ordered", "value"), [(False, 1), (True, 0)])
def test_the_order_of_rows_counts_only_if_it_was_asked_for(ordered: bool, value: float) -> None:
    gold, answer = "SELECT title FROM track ORDER BY seconds;", "SELECT title FROM track ORDER BY seconds DESC;"
    assert grade(gold, answer, ordered=ordered) == value


def test_a_row_too_often_is_wrong() -> None:
    assert grade("SELECT title FROM track;", "SELECT title FROM track UNION ALL SELECT title FROM track;") == 0


def test_numbers_are_equal_within_one_part_in_a_million() -> None:
    assert grade("SELECT AVG(seconds) FROM track;", "SELECT SUM(seconds) * 1.0000001 / COUNT(*) FROM track;") == 1
    assert grade("SELECT AVG(seconds) FROM track;", "SELECT SUM(seconds) * 1.00001 / COUNT(*) FROM track;") == 0


def test_a_number_is_not_its_text() -> None:
    assert grade("SELECT seconds FROM track;", "SELECT CAST(seconds AS TEXT) FROM track;") == 0


def test_a_write_is_graded_by_the_state_it_leaves() -> None:
    probe = "SELECT * FROM track ORDER BY id"
    gold = "DELETE FROM track WHERE seconds < 150;"
    assert grade(gold, "DELETE FROM track WHERE NOT seconds >= 150", probe=probe) == 1
    assert grade(gold, "DELETE FROM track", probe=probe) == 0
    assert grade(gold, "SELECT 1", probe=probe) == 0
    assert grade(gold, "DROP TABLE track", probe=probe) == 0


def test_a_question_is_not_answered_by_a_write() -> None:
    reason = scorer_for("sqlite").score(check("SELECT COUNT(*) FROM track;"), "DELETE FROM track RETURNING 1;").reason
    assert reason == "error: attempt to write a readonly database"


def test_another_accepted_reading_counts_as_right() -> None:
    score = scorer_for("sqlite").score(check("SELECT 1;", accepts=["SELECT 2;"]), "SELECT 2;")
    assert score == Score(1.0, "right in another reading")


@pytest.mark.parametrize(
    ("answer", "statement"),
    [
        ("SELECT 1;", "SELECT 1;"),
        ("  SELECT 1", "SELECT 1"),
        ("SELECT ';' ;", "SELECT ';' ;"),
        ("```sql\nSELECT 1;\n```\nThis selects one.", "SELECT 1;"),
        ("Here you are:\n```\nSELECT 1\n```", "SELECT 1"),
        ("SELECT 1; This is what you want; enjoy.", "SELECT 1;"),
        ("SELECT 1\n\nIt selects one.", "SELECT 1"),
        ("SELECT 1; with this query you get one", "SELECT 1;"),
    ],
)
def test_one_statement_is_taken_from_an_answer(answer: str, statement: str) -> None:
    assert statement_in(answer) == (statement, None)


@pytest.mark.parametrize(
    "answer", ["SELECT 1; SELECT 2", "SELECT 1; delete from track;", "```sql\nSELECT 1; DROP TABLE track;\n```"]
)
def test_a_second_statement_is_refused(answer: str) -> None:
    assert statement_in(answer).problem == "more than one statement"


@pytest.mark.parametrize("statement", ["ATTACH '{}' AS other;", "VACUUM INTO '{}';"])
def test_no_file_can_be_written(statement: str, tmp_path: Path) -> None:
    target = tmp_path / "out.db"
    for probe in (None, "SELECT 1"):
        score = scorer_for("sqlite").score(check("SELECT 1;", probe=probe), statement.format(target))
        assert score.value == 0
        assert "authoriz" in score.reason
    assert not target.exists()


@pytest.mark.parametrize(
    "statement", ["PRAGMA writable_schema = 1;", "SELECT load_extension('x');", "PRAGMA query_only = 0;"]
)
def test_settings_and_extensions_are_denied(statement: str) -> None:
    assert "not authorized" in scorer_for("sqlite").score(check("SELECT 1;"), statement).reason


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (f"{ENDLESS} SELECT COUNT(*) FROM n;", "error: interrupted"),
        (f"{ENDLESS} SELECT x FROM n;", "error: too many rows"),
        ("SELECT zeroblob(900000000);", "error: string or blob too big"),
    ],
)
def test_endless_and_huge_answers_are_stopped(statement: str, reason: str) -> None:
    start = time.monotonic()
    assert scorer_for("sqlite").score(check("SELECT 1;"), statement) == Score(0.0, reason)
    assert time.monotonic() - start < 5


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["SELECT", "*", "FROM track", "'", ";", "(", "--", "/*", "\x00", "?"])).map(" ".join)
)
@settings(max_examples=150, deadline=None)
def test_no_answer_raises(answer: str) -> None:
    assert 0 <= scorer_for("sqlite").score(check("SELECT title FROM track;"), answer).value <= 1


def test_a_broken_check_is_a_failure_and_not_a_grade() -> None:
    with pytest.raises(Failure, match="gold"):
        grade("SELEC 1;", "SELECT 1;")
    with pytest.raises(Failure, match="set-up"):
        grade("SELECT 1;", "SELECT 1;", databases=["CREATE TABLE ("])


def test_agreement_is_the_f1_of_the_words() -> None:
    # shared: the, page, size -> 2 * 3 / (4 + 5)
    score = scorer_for("agreement").score({"reference": "sets the page size limit"}, "The page's size")
    assert score.value == pytest.approx(2 * 3 / (4 + 5))


def test_agreement_counts_characters_where_words_have_no_spaces() -> None:
    assert scorer_for("agreement").score({"reference": "数据库"}, "数据").value == pytest.approx(2 * 2 / (2 + 3))


def test_agreement_without_a_reference_is_a_failure() -> None:
    with pytest.raises(Failure, match="reference"):
        scorer_for("agreement").score({"scorer": "agreement"}, "anything")


def test_an_unknown_scorer_names_the_nearest() -> None:
    with pytest.raises(Mistake) as problem:
        scorer_for("sqlit")
    assert problem.value.hint == "did you mean 'sqlite'?"
