from __future__ import annotations

import pytest

from metier.core import Failure
from metier.core.sandbox import Limits
from metier.core.scorers import scorer_for
from metier.core.scorers.program import ProgramScorer, code_in

PROMPT = 'from typing import List\n\ndef add(a: int, b: int) -> int:\n    """Return the sum."""\n'
CHECK = {"scorer": "program", "prompt": PROMPT, "tests": "assert add(2, 3) == 5\nassert add(-1, 1) == 0"}


@pytest.fixture(scope="module")
def scorer() -> ProgramScorer:
    return ProgramScorer(Limits(seconds=3), weak=True)


@pytest.mark.parametrize(
    "answer",
    [
        "    return a + b\n",
        "    return a + b\n\nprint(add(1, 2))\nundefined_name",
        "Here it is:\n\n```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```\nIt adds.",
        "```\ndef add(a, b):\n    x: List[int] = [a, b]\n    return sum(x)\n```",
    ],
)
def test_a_right_answer_passes_whether_it_goes_on_or_begins_anew(scorer: ProgramScorer, answer: str) -> None:
    assert scorer.score(CHECK, answer) == (1.0, "passed")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("    return a - b\n", "AssertionError"),
        ("    return a +\n", "SyntaxError"),
        ("    while True: pass\n", "limit of time"),
        ("    import sys; sys.exit(0)\n", "ended before its tests did"),
        ("    import os; print('passed'); os._exit(0)\n", "ended before its tests did"),
        ("", "IndentationError"),
    ],
)
def test_a_wrong_answer_fails_with_its_reason(scorer: ProgramScorer, answer: str, reason: str) -> None:
    score = scorer.score(CHECK, answer)
    assert score.value == 0.0 and (reason in score.reason or reason == "IndentationError")


def test_sql_is_run_and_its_assertions_count(scorer: ProgramScorer) -> None:
    check = {
        "scorer": "program",
        "language": "sql",
        "tests": "CREATE TABLE right_sum(x CHECK (x = 6)); INSERT INTO right_sum SELECT sum(v) FROM t;",
    }
    assert scorer.score(check, "CREATE TABLE t(v); INSERT INTO t VALUES (1), (2), (3);").value == 1.0
    assert "CHECK constraint failed" in scorer.score(check, "CREATE TABLE t(v); INSERT INTO t VALUES (1);").reason
    assert scorer.score(check, "CREATE TABLE t(v").value == 0.0
    assert scorer.score({**check, "language": "SQL"}, "CREATE TABLE t(v); INSERT INTO t VALUES (6);").value == 1.0


def test_any_language_is_a_command_whose_tests_print_a_sentinel_last(scorer: ProgramScorer) -> None:
    check = {
        "scorer": "program",
        "language": "sh",
        "command": ["sh", "program.sh"],
        "file": "program.sh",
        "tests": '[ "$(double 4)" = 8 ] || exit 1\necho all tests passed',
        "sentinel": "all tests passed",
    }
    assert scorer.score(check, "double() { echo $(( $1 * 2 )); }").value == 1.0
    assert scorer.score(check, "double() { echo 7; }").value == 0.0
    # An interpreter that goes on after an error and exits with 0 passes nothing that its tests did not say.
    assert scorer.score({**check, "tests": "exit 0"}, "double() { echo 8; }").reason == "ended before its tests did"


def test_a_check_that_cannot_grade_is_no_score(scorer: ProgramScorer) -> None:
    with pytest.raises(Failure, match="no 'tests'"):
        scorer.score({"scorer": "program"}, "x")
    with pytest.raises(Failure, match="lacks its command or its sentinel"):
        scorer.score({"scorer": "program", "language": "lua", "tests": "x"}, "x")
    assert scorer_for("program").score(CHECK, "    return a + b").value == 1.0


def test_code_is_what_the_first_fence_holds_or_the_whole_answer() -> None:
    assert code_in("a\n```lua\nx = 1\n```\n```lua\ny = 2\n```", "", "lua") == "x = 1\n"
    assert code_in("x = 1", "", "lua") == "x = 1"
    assert code_in("return 1", "f = function() ", "lua") == "f = function() return 1"
