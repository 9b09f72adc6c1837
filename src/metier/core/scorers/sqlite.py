"""Grade a SQL statement by what it does: run it and the gold on the same databases and compare.

A check holds:
    databases: set-up scripts, one a database; the answer must be right on all of them.
    gold: the right statement. `accepts`: other statements whose result is right as well.
    ordered: whether the question asks for an order of the rows.
    probe: a SELECT that is compared instead of the statement's rows, for statements that write or define.

Column names in the result do not count, the order of columns does; numbers are compared within one part in a million.
"""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any, NamedTuple

from metier.core.errors import Failure
from metier.core.scorers import Score

MAX_INSTRUCTIONS = 2_000_000  # of SQLite's virtual machine; a right answer on a small database takes some hundreds
MAX_SECONDS = 5.0
MAX_ROWS = 5_000
MAX_BYTES = 1_000_000  # of one value, and of one statement
INSTRUCTIONS_A_CALL = 1_000

READING_PRAGMAS = frozenset(
    ["table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list"]
)
FENCE = re.compile(r"```[ \t]*\w*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
STATEMENT_START = re.compile(
    r"(?:SELECT|WITH|INSERT|REPLACE|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|ATTACH|DETACH|VACUUM|BEGIN|COMMIT|EXPLAIN|VALUES)\s",
    re.IGNORECASE,
)

Rows = list[tuple[Any, ...]]


class Ran(NamedTuple):
    """What a statement gave on one database: rows, or why there are none."""

    rows: Rows
    error: str | None


class Found(NamedTuple):
    """The statement in an answer, or why none can be taken from it."""

    statement: str
    problem: str | None


def statement_in(answer: str) -> Found:
    """Find the one statement in an answer.

    It is what the first code fence holds, or else the answer from its first character on (so no prose may stand before
    it), up to the first `;` that completes a statement, or to the first blank line or the end where none does. Prose
    after it is left out; a second statement (a keyword in capitals, or any keyword with a later `;`) is not allowed.
    """
    fence = FENCE.search(answer)
    text = (fence[1] if fence else answer).strip()
    if not text:
        return Found("", "no statement")
    if "\x00" in text:
        return Found("", "a null character in the statement")
    end = next(
        (match.end() for match in re.finditer(";", text) if sqlite3.complete_statement(text[: match.end()])), None
    )
    if end is None:
        return Found(re.split(r"\n\s*\n", text, maxsplit=1)[0], None)
    rest = text[end:].lstrip()
    start = STATEMENT_START.match(rest)
    if start is not None and (start[0].isupper() or ";" in rest):
        return Found("", "more than one statement")
    return Found(text[:end], None)


def allow(action: int, one: str | None, two: str | None, _database: str | None, _trigger: str | None) -> int:
    """Deny what reaches beyond the database: ATTACH (VACUUM INTO uses it too), extensions, PRAGMAs that set."""
    if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH):
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (two or "").lower() in (
        "load_extension",
        "fts3_tokenizer",
        "edit",
        "writefile",
    ):
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA and (one or "").lower() not in READING_PRAGMAS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def budget() -> Callable[[], int]:
    """Return a progress handler that interrupts after too many instructions or too long."""
    left, until = MAX_INSTRUCTIONS // INSTRUCTIONS_A_CALL, time.monotonic() + MAX_SECONDS

    def spend() -> int:
        nonlocal left
        left -= 1
        return int(left < 0 or time.monotonic() > until)

    return spend


def run(script: str, statement: str, probe: str | None) -> Ran:
    """Run a statement on a fresh in-memory database and return its rows, or the probe's rows after it.

    Guards against files, extensions, endless statements and huge values; not against faults of SQLite itself.

    Raises:
        Failure: the set-up script is wrong.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        try:
            connection.executescript(script)
        except sqlite3.Error as problem:
            raise Failure("the set-up of a check's database fails", found=f"{problem}: {script[:80]}") from problem
        if probe is None:
            connection.execute("PRAGMA query_only = ON")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MAX_BYTES)
        connection.set_progress_handler(budget(), INSTRUCTIONS_A_CALL)
        connection.set_authorizer(allow)
        try:
            rows = connection.execute(statement).fetchmany(MAX_ROWS + 1)
            if probe is not None:
                connection.set_authorizer(None)
                rows = connection.execute(probe).fetchmany(MAX_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError, MemoryError) as problem:
            return Ran([], str(problem) or type(problem).__name__)
    return Ran([], "too many rows") if len(rows) > MAX_ROWS else Ran(rows, None)


@lru_cache(maxsize=4096)
def gold_rows(script: str, gold: str, probe: str | None) -> tuple[tuple[Any, ...], ...]:
    """Return what the gold gives. Raises Failure if it fails: then the check is at fault, not an answer."""
    ran = run(script, gold, probe)
    if ran.error is not None:
        raise Failure("the gold statement of a check fails", found=f"{ran.error}: {gold}")
    return tuple(ran.rows)


def sort_key(row: Sequence[Any]) -> list[tuple[str, str]]:
    """Return a key that puts rows which are equal within the tolerance next to each other."""
    return [
        ("number", f"{value:.6g}") if isinstance(value, int | float) else (type(value).__name__, repr(value))
        for value in row
    ]


def same_value(one: Any, two: Any) -> bool:
    """Return whether two values are equal; numbers within one part in a million."""
    if isinstance(one, int | float) and isinstance(two, int | float):
        return one == two or math.isclose(one, two, rel_tol=1e-6, abs_tol=1e-9)
    return type(one) is type(two) and bool(one == two)


def same_rows(one: Sequence[Sequence[Any]], two: Sequence[Sequence[Any]], ordered: bool) -> bool:
    """Return whether two results are equal, as lists if `ordered`, else as bags of rows."""
    if len(one) != len(two):
        return False
    if not ordered:
        one, two = sorted(one, key=sort_key), sorted(two, key=sort_key)
    return all(
        len(a) == len(b) and all(same_value(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(one, two, strict=True)
    )


class Sqlite:
    """1 if the answer's statement does what the gold does on every database, else 0."""

    def score(self, check: Mapping[str, Any], answer: str) -> Score:
        """Return 0 or 1. Raises Failure if the check's own set-up or gold fails."""
        found = statement_in(answer)
        if found.problem is not None:
            return Score(0.0, found.problem)
        databases, probe = check["databases"], check.get("probe")
        given = [run(script, found.statement, probe) for script in databases]
        errors = [ran.error for ran in given if ran.error is not None]
        if errors:
            return Score(0.0, f"error: {errors[0]}")
        for number, gold in enumerate([check["gold"], *check.get("accepts", ())]):
            wanted = [gold_rows(script, gold, probe) for script in databases]
            if all(
                same_rows(ran.rows, rows, check.get("ordered", False)) for ran, rows in zip(given, wanted, strict=True)
            ):
                return Score(1.0, "right" if number == 0 else "right in another reading")
        return Score(0.0, "other rows" if probe is None else "another state")
