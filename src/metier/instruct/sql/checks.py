"""Does a gold answer tell right from wrong on these databases?

A task is kept only if its gold gives something on at least two of the three databases and if no mutant of the gold
(another column, no filter, the opposite comparison, no grouping ...) gives the same on all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from metier.instruct.sql.databases import Databases, Outcome
from metier.instruct.sql.schemas import Schema

WHERE = re.compile(r" WHERE .*?(?= GROUP BY| ORDER BY| LIMIT|\) FROM|;)")
SWAPS: tuple[tuple[str, str], ...] = (
    (" > ", " < "), (" < ", " > "), (" >= ", " < "), ("COUNT(*) >= ", "COUNT(*) > "), (" = '", " <> '"),
    (" IS NULL", " IS NOT NULL"), (" AND ", " OR "), (" OR ", " AND "), ("DISTINCT ", ""), (" UNION ", " UNION ALL "),
    (" DESC", ""), ("SUM(", "AVG("), ("AVG(", "SUM("), ("MAX(", "MIN("), ("MIN(", "MAX("), ("MAX(", "AVG("),
    ("COUNT(", "MAX("), ("LEFT JOIN", "JOIN"), (" STRICT", ""), ("UPPER(", "("),
    ("LIKE", "NOT LIKE"), ("GLOB", "NOT GLOB"),
)  # fmt: skip
PATTERNS: tuple[tuple[str, str], ...] = (
    (r" LIMIT \d+", ""), (r" ORDER BY (?!.*\)).*?(?= LIMIT|;)", ""), (r" HAVING [^;]*", ""), (r" ON CONFLICT[^;]*", ""),
    (r"INSERT INTO (.*) ON CONFLICT[^;]*", r"REPLACE INTO \1"),
    (r"INSERT INTO (\w+) \(id, (\w+)\) VALUES \((\d+), (\d+)\).*;", r"UPDATE \1 SET \2 = \4 WHERE id = \3;"),
    (r"ROUND\((\w+), \d\)", r"\1"), (r"COALESCE\((\w+), [^)]*\)", r"\1"),
    (r", '([^']*)'\)", ")"), (r" ON \S+ = \S+", ""), (r"SELECT (?!COUNT)(.*?) FROM", "SELECT COUNT(*) FROM"),
    (r"CASE WHEN (.*) THEN '(.*)' ELSE '(.*)' END", r"CASE WHEN \1 THEN '\3' ELSE '\2' END"),
)  # fmt: skip
TIE_BREAK = re.compile(r"(ORDER BY \w+(?: DESC)?)")


def mutants(gold: str, schema: Schema) -> Iterator[str]:
    """Return wrong variants of a statement."""
    for table in schema.tables:
        yield f"SELECT * FROM {table.name};"
        yield f"SELECT COUNT(*) FROM {table.name};"
    if " EXISTS " not in gold:
        yield WHERE.sub("", gold)
    for old, new in SWAPS:
        if old in gold:
            yield gold.replace(old, new, 1)
    for pattern, new in PATTERNS:
        yield re.sub(pattern, new, gold, count=1)
    yield from other_columns(gold, schema)


def other_columns(gold: str, schema: Schema) -> Iterator[str]:
    """Return the statement with one column name replaced by another of the same table."""
    for table in schema.tables:
        names = [column.name for column in table.columns]
        for name in names:
            if re.search(rf"\b{name}\b", gold):
                for other in names:
                    if other not in (name, "id") and name != "id":
                        yield re.sub(rf"\b{name}\b", other, gold, count=1)


def comparable(outcomes: Sequence[Outcome], ordered: bool) -> list[object]:
    """Return outcomes in a form that is equal exactly when the answers count as equal."""
    return [outcome.error or (outcome.rows if ordered else Counter(outcome.rows)) for outcome in outcomes]


def gives_something(outcome: Outcome) -> bool:
    """Return whether the rows hold more than nothing, NULL or zero."""
    return any(value not in (None, 0, 0.0) for row in outcome.rows for value in row)


def why_unfair(gold: str, probe: str | None, ordered: bool, schema: Schema, databases: Databases) -> str | None:
    """Return why a task cannot be an exam question, or None."""
    right = databases.outcomes(gold, probe)
    if any(outcome.error for outcome in right):
        return "error"
    if probe is None and sum(map(gives_something, right)) < 2:
        return "empty"
    target = comparable(right, ordered)
    if probe is not None and sum(a != b for a, b in zip(databases.outcomes("SELECT 1", probe), right, strict=True)) < 2:
        return "empty"
    if "RECURSIVE" in gold or gold.startswith("PRAGMA"):
        return None
    if any(
        mutant != gold and comparable(databases.outcomes(mutant, probe), ordered) == target
        for mutant in dict.fromkeys(mutants(gold, schema))
    ):
        return "not discriminating"
    if "ORDER BY" in gold and any(
        comparable(databases.outcomes(TIE_BREAK.sub(rf"\1, id{way}", gold), probe), ordered) != target
        for way in ("", " DESC")
    ):
        return "ties"
    return None
