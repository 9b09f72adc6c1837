"""Grade a program by running it with tests, behind the walls of a sandbox.

A check holds:
    tests: the text of the test program; it fails by raising, or by a non-zero exit code.
    prompt: what stands before the answer when the answer only goes on with it (a signature and a docstring).
    language: "python" (the default), "sql" (SQLite), or the name of a program file for `command`.
    command: how the file is run, as in ["scilab-cli", "-f", "program.sce"]; for other languages.
    sentinel: a line that the tests print at their very end. An interpreter that exits with 0 after a syntax error
        passes nothing without it, and neither does an answer that exits before the tests.
"""

from __future__ import annotations

import ast
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metier.core.errors import Failure
from metier.core.sandbox import Limits, Outcome, Sandbox
from metier.core.scorers import Score

_FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
# What HumanEval's authors cut samples at: a new statement at the left edge (Chen et al. 2021, section 3).
_STOPS = re.compile(r"\n(?=(?:class |def |#|if |print|@|import |from |assert )\S?)")

_BY_METIER = ("python", "sql")  # the languages that need no command; the first is meant where none is named


class Program(NamedTuple):
    """What is run: files by name, and the command."""

    files: dict[str, str]
    command: tuple[str, ...]


class ProgramScorer:
    """1 if the program passes its tests, else 0 with the reason.

    Args:
        limits: what one run may take.
        readable: folders of the machine that the programs may read (an interpreter's library).
        weak: run with limits alone where the machine has no walls; see `metier.core.sandbox`.
    """

    def __init__(self, limits: Limits | None = None, readable: Sequence[Path] = (), weak: bool = False) -> None:
        self._sandbox = Sandbox(limits or Limits(), readable, weak)

    @property
    def kind(self) -> str:
        """Whether programs run behind "namespaces" or within "limits" alone."""
        return self._sandbox.kind

    def absent(self, commands: Iterable[str]) -> list[str]:
        """Return those of `commands` that a program would not find."""
        return [name for name in sorted(set(commands)) if name != "python" and not self._sandbox.has(name)]

    def score(self, check: Mapping[str, Any], answer: str) -> Score:
        """Return the grade. Raises Failure if the check cannot be used; see `require_gradable`."""
        token = secrets.token_hex(8)
        program = program_of(check, answer, token)
        outcome = self._sandbox.run(program.command, program.files)
        wanted = str(check.get("sentinel") or token)
        passed = outcome.ok and outcome.stdout.rstrip().endswith(wanted)
        return Score(float(passed), "passed" if passed else _why(outcome))


def require_gradable(check: Mapping[str, Any]) -> None:
    """Raise Failure if no answer can be graded by `check`: it lacks its tests, its command or its sentinel."""
    given = ", ".join(name for name in check if name != "scorer") or "an empty check"
    tests, command, sentinel = (check.get(name) for name in ("tests", "command", "sentinel"))
    if not isinstance(tests, str) or not tests.strip():
        found = given if tests is None else f"{type(tests).__name__}: {tests!r:.60}"
        raise Failure("a check for a program has no 'tests'", found=found, hint="tests: the text of the test program")
    language = _language(check)
    if language in _BY_METIER:
        if command or check.get("file"):
            raise Failure(
                f"a check for a program in {language} has a command or a file, which only other languages have",
                found=given,
                hint=f"leave both out, or say which language it is: {', '.join(_BY_METIER)} are run by Metier itself",
            )
        return
    if not (isinstance(command, list) and command and all(isinstance(part, str) and part for part in command)) or not (
        isinstance(sentinel, str) and sentinel.strip()
    ):
        raise Failure(
            f"a check for a program in {language} lacks its command or its sentinel",
            found=given,
            hint=f'command: ["node", "program.js"], sentinel: a line that the tests print last; '
            f"without them: language: {' or '.join(_BY_METIER)}",
        )
    file = check.get("file") or command[-1]
    if not isinstance(file, str) or Path(file).is_absolute() or ".." in Path(file).parts:
        raise Failure("a program's file leads out of its folder", found=repr(file), hint='file: "program.js"')


def program_of(check: Mapping[str, Any], answer: str, token: str) -> Program:
    """Return the program that an answer and its tests make. Its last act is to print `token`.

    Raises:
        Failure: the check cannot be used; see `require_gradable`.
    """
    require_gradable(check)
    tests, language = check["tests"], _language(check)
    code = code_in(answer, str(check.get("prompt") or ""), language)
    if language == "python":
        ending = f"\n\nprint()\nprint({token!r}, flush=True)\n"
        return Program({"program.py": f"{code}\n\n{tests}{ending}"}, ("python", "-I", "program.py"))
    if language == "sql":
        return Program({"program.sql": f"{code}\n{tests}\nSELECT '{token}';\n", "run.py": _SQL}, ("python", "run.py"))
    command = check["command"]
    return Program({check.get("file") or command[-1]: f"{code}\n{tests}\n"}, tuple(command))


def _language(check: Mapping[str, Any]) -> str:
    return str(check.get("language") or _BY_METIER[0]).lower()


# An error ends the script with exit code 1; what the last statement gives is printed.
_SQL = """
import sqlite3
connection = sqlite3.connect(":memory:")
statement = ""
for part in open("program.sql", encoding="utf-8").read().split(";"):
    statement += part + ";"
    if sqlite3.complete_statement(statement):
        for row in connection.execute(statement):
            print(*row)
        statement = ""
if statement.strip("; \\n\\t"):
    connection.execute(statement)
"""


def code_in(answer: str, prompt: str, language: str) -> str:
    """Return the code of an answer: what its first fence holds, or else all of it.

    An answer that only goes on with `prompt` (no definition of its own) is put after it; a Python one ends where the
    next top-level statement begins, as HumanEval's samples do.
    """
    found = _FENCE.search(answer)
    code = found.group(1) if found else answer
    if not prompt:
        return code
    if language == "python" and _defines(code, prompt):
        # Imports and helpers that the prompt holds are needed by a whole definition, too.
        return f"{_before_definition(prompt)}\n{code}"
    return prompt + (_STOPS.split(code, maxsplit=1)[0] if language == "python" else code)


def _defines(code: str, prompt: str) -> bool:
    names = re.findall(r"^\s*(?:async\s+)?def\s+(\w+)", prompt, re.MULTILINE)
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return bool(names) and re.search(rf"^def\s+{re.escape(names[-1])}\b", code, re.MULTILINE) is not None
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in names for node in tree.body)


def _before_definition(prompt: str) -> str:
    last = list(re.finditer(r"^(?:async\s+)?def\s", prompt, re.MULTILINE))
    return prompt[: last[-1].start()] if last else ""


def _why(outcome: Outcome) -> str:
    if outcome.stopped is not None:
        return f"stopped at its limit of {outcome.stopped}"
    if outcome.ok:
        return "ended before its tests did"
    last = outcome.stderr.strip().rpartition("\n")[2]
    return f"exit code {outcome.exit_code}" + (f": {last[:200]}" if last else "")
