"""Break a right statement the way people do; each type keeps enough for the repair to be determined.

A breakage returns None where it does not apply. Types whose broken statement runs (and gives something else) are
asked with the intent in words; the others may show SQLite's message instead.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from metier.instruct.sql.schemas import Schema

Breakage = Callable[[str, Schema, random.Random], str | None]

KEYWORD = re.compile(
    r"\b(SELECT|FROM|WHERE|GROUP BY|ORDER BY|LIMIT|INSERT|INTO|VALUES|UPDATE|DELETE|JOIN|BETWEEN|HAVING|DISTINCT"
    r"|CREATE|UNION)\b"
)
FUNCTIONS: tuple[tuple[str, str], ...] = (
    (r"AVG\(", "MEAN("), (r"AVG\(", "AVERAGE("), (r"MAX\(", "MAXIMUM("), (r"MAX\(", "HIGHEST("), (r"MIN\(", "MINIMUM("),
    (r"SUM\(", "ADD_UP("), (r"COUNT\(\*\)", "COUNTROWS()"), (r"UPPER\(", "UCASE("), (r"UPPER\(", "TO_UPPER("),
    (r"COALESCE\(", "NVL("),
    (r"json_extract\(", "json_get("), (r"ROUND\(", "ROUND_TO("),
    (r"strftime\('%Y', (\w+)\) = '(\d+)'", r"YEAR(\1) = \2"),
)  # fmt: skip
OPERATORS: tuple[tuple[str, str], ...] = (
    (">=", "=>"), (" AND ", " && "), (" = '", " === '"), (" <> ", " =! "), (" > ", " greater than "),
    (" < ", " less than "),
)  # fmt: skip


def typo(word: str, rng: random.Random) -> str:
    """Return the word with two letters swapped, one lost or one doubled."""
    at = rng.randrange(1, len(word) - 1)
    ways = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
    )
    return rng.choice([way for way in ways if way != word])


def one(pattern: str | re.Pattern[str], sql: str, rng: random.Random) -> re.Match[str] | None:
    """Return one of the pattern's matches, or None."""
    found = list(re.finditer(pattern, sql))
    return rng.choice(found) if found else None


def replace(sql: str, match: re.Match[str] | None, new: str) -> str | None:
    """Return the text with a match replaced, or None if there is no match."""
    return None if match is None else sql[: match.start()] + new + sql[match.end() :]


def keyword_typo(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Misspell a keyword."""
    match = one(KEYWORD, sql, rng)
    return (
        replace(sql, match, typo(match[0].replace(" BY", ""), rng) + (" BY" if " BY" in match[0] else ""))
        if match
        else None
    )


def missing_keyword(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Leave out BY, INTO, SET, VALUES, TABLE, INDEX, THEN or END."""
    return replace(sql, one(r" BY\b| INTO\b| SET\b| VALUES\b| TABLE\b| INDEX\b| THEN\b| END\b", sql, rng), "")


def missing_from(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Leave out FROM."""
    return replace(sql, one(r" FROM\b", sql, rng), "")


def missing_comma(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Leave out a comma; between two columns that makes an alias."""
    return replace(sql, one(", ", sql, rng), " ")


def extra_comma(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Put a comma where a list ends."""
    return replace(sql, match := one(r" FROM| WHERE|\) VALUES|\)", sql, rng), "," + match[0] if match else "")


def missing_parenthesis(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Leave out one parenthesis."""
    return replace(sql, one(r"[()]", sql, rng), "")


def missing_quote(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Leave out one quote."""
    return replace(sql, one("'", sql, rng), "")


def unquoted_literal(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Write a text without its quotes."""
    match = one(r"'([A-Za-z][\w -]*)'", sql, rng)
    return replace(sql, match, match[1]) if match else None


def clause_order(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Swap two clauses."""
    swapped = re.sub(r"( ORDER BY .*?)( LIMIT \d+);", r"\2\1;", sql)
    swapped = re.sub(r"( GROUP BY \w+)( HAVING .*);", r"\2\1;", swapped)
    if swapped == sql and not sql.startswith("CREATE"):
        swapped = re.sub(r"( FROM \w+)( WHERE [^()]*?)( GROUP.*| ORDER.*)?;$", r"\2\1\3;", sql)
    if swapped == sql:
        swapped = re.sub(r"( SET .*)( WHERE .*);", r"\2\1;", sql)
    return swapped


def column_typo(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Misspell a column of the schema."""
    names = {column.name for table in schema.tables for column in table.columns if len(column.name) > 3}
    used = [name for name in sorted(names) if re.search(rf"\b{name}\b", sql)]
    if not used or sql.startswith(("INSERT", "CREATE")):
        return None
    name = rng.choice(used)
    return re.sub(rf"\b{name}\b", typo(name, rng), sql)


def table_typo(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Misspell a table of the schema."""
    name = rng.choice(schema.tables).name
    return re.sub(rf"\b{name}\b", typo(name, rng), sql) if len(name) > 3 else None


def missing_group_by(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Leave out GROUP BY."""
    return re.sub(r" GROUP BY [\w.]+(?=;)", "", sql)


def equals_null(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Compare with NULL by `=`."""
    return sql.replace(" IS NULL", " = NULL")


def aggregate_in_where(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Use an aggregate where only WHERE can see it."""
    moved = re.sub(r" GROUP BY (\w+) HAVING (.*);", r" WHERE \2 GROUP BY \1;", sql)
    return re.sub(r"> \(SELECT (AVG\(\w+\)) FROM \w+\)", r"> \1", moved)


def wrong_function(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Call a function by another name than SQLite does."""
    return first_change(sql, [re.sub(old, new, sql) for old, new in FUNCTIONS], rng)


def wrong_operator(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Write an operator as other languages do."""
    ways = [sql.replace(old, new, 1) for old, new in OPERATORS if not (old == " AND " and "BETWEEN" in sql)]
    return first_change(sql, [*ways, re.sub(r"(BETWEEN \S+) AND ", r"\1 TO ", sql)], rng)


def missing_on(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Leave out the condition of a join."""
    return None if "LEFT" in sql else re.sub(r" ON \S+ = [\w.]+", "", sql)


def top_for_limit(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Write TOP n for LIMIT n."""
    return re.sub(r"^SELECT (.*) LIMIT (\d+);", r"SELECT TOP \2 \1;", sql)


def star_for_percent(sql: str, schema: Schema, rng: random.Random) -> str | None:
    """Use the wildcard of GLOB in LIKE."""
    return re.sub(r"LIKE '(.*)%'", r"LIKE '\1*'", sql)


def first_change(sql: str, ways: list[str], rng: random.Random) -> str | None:
    """Return one of the ways that differ from the statement, or None."""
    changed = [way for way in ways if way != sql]
    return rng.choice(changed) if changed else None


BREAKAGES: Mapping[str, Breakage] = {
    function.__name__: function
    for function in (
        keyword_typo, missing_keyword, missing_from, missing_comma, extra_comma, missing_parenthesis, missing_quote,
        unquoted_literal, clause_order, column_typo, table_typo, missing_group_by, equals_null, aggregate_in_where,
        wrong_function, wrong_operator, missing_on, top_for_limit, star_for_percent,
    )
}  # fmt: skip
NEEDS_SCHEMA = frozenset({"column_typo", "table_typo"})
