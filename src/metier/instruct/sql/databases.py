"""Small random databases of a schema, and what a statement does to them."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from metier.instruct.sql.schemas import Column, Schema, Table

ROWS_OF_A_TABLE = (8, 11)
ROWS_OF_A_PARENT = (6, 7)
YEARS = (2019, 2023)
DATABASES = 3


class Outcome(NamedTuple):
    """What a statement gave: its rows, or the probe's rows after it; `error` is SQLite's own message."""

    rows: tuple[tuple[object, ...], ...]
    error: str | None


def literal(value: object) -> str:
    """Return a value as SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def draw_values(column: Column, count: int, parents: int, rng: random.Random) -> list[object]:
    """Return `count` values of a column; numbers are all different wherever the range allows."""
    if column.kind == "label":
        return list(rng.sample(column.choices, count))
    if column.kind == "category":
        return [rng.choice(column.choices) for _ in range(count)]
    if column.kind == "optional":
        return [None if rng.random() < 0.35 else rng.choice(column.choices) for _ in range(count)]
    if column.kind == "date":
        return [f"{rng.randint(*YEARS)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}" for _ in range(count)]
    if column.kind == "flag":
        return [rng.randint(0, 1) for _ in range(count)]
    if column.kind == "json":
        one, two = column.choices
        return [json.dumps({one: rng.choice("pqrstuvw"), two: rng.randint(1, 40)}) for _ in range(count)]
    if column.kind == "link":
        # one or two parents stay without a child, so that joins and left joins differ
        used = rng.sample(range(1, parents + 1), max(2, parents - rng.randint(1, 2)))
        return [rng.choice(used) for _ in range(count)]
    steps = 1 if column.kind == "integer" else 10**column.decimals
    span = range(int(column.low * steps), int(column.high * steps) + 1)
    drawn = rng.sample(span, count) if len(span) >= count else [rng.choice(span) for _ in range(count)]
    return list(drawn) if steps == 1 else [value / steps for value in drawn]


def table_script(table: Table, count: int, parents: int, rng: random.Random) -> str:
    """Return CREATE TABLE and one INSERT with `count` rows."""
    columns = [
        list(range(1, count + 1)) if column.kind == "key" else draw_values(column, count, parents, rng)
        for column in table.columns
    ]
    rows = ",".join("(" + ",".join(map(literal, row)) + ")" for row in zip(*columns, strict=True))
    create = f"CREATE TABLE {table.name}({', '.join(column.declaration for column in table.columns)});"
    return f"{create}INSERT INTO {table.name} VALUES {rows};"


def draw_scripts(schema: Schema, rng: random.Random) -> list[str]:
    """Return the set-up scripts of the schema's databases."""
    scripts = []
    for _ in range(DATABASES):
        parents = rng.randint(*ROWS_OF_A_PARENT)
        counts = [rng.randint(*ROWS_OF_A_TABLE), parents]
        scripts.append("".join(table_script(t, n, parents, rng) for t, n in zip(schema.tables, counts, strict=False)))
    return scripts


class Databases:
    """The schema's databases, open in memory; every statement is undone after its outcome was read.

    For statements this package wrote. A model's statements go through the "sqlite" scorer, which guards them.
    """

    def __init__(self, scripts: Sequence[str]) -> None:
        self.scripts = list(scripts)
        self.connections = [sqlite3.connect(":memory:", isolation_level=None) for _ in scripts]
        for connection, script in zip(self.connections, scripts, strict=True):
            connection.executescript(script)

    def close(self) -> None:
        """Close the connections."""
        for connection in self.connections:
            connection.close()

    def outcomes(self, statement: str, probe: str | None) -> list[Outcome]:
        """Return what `statement` gives on each database."""
        return [outcome(connection, statement, probe) for connection in self.connections]

    def column(self, table: str, column: str) -> list[list[object]]:
        """Return the values of a column, database by database."""
        query = f"SELECT {column} FROM {table}"
        return [[row[0] for row in connection.execute(query)] for connection in self.connections]


def outcome(connection: sqlite3.Connection, statement: str, probe: str | None) -> Outcome:
    """Run one statement and, with a probe, the probe after it; leave the database as it was."""
    connection.execute("BEGIN")
    try:
        rows = connection.execute(statement).fetchall()
        if probe is not None:
            rows = connection.execute(probe).fetchall()
    except (sqlite3.Error, sqlite3.Warning) as problem:
        return Outcome((), str(problem))
    finally:
        connection.execute("ROLLBACK")
    return Outcome(tuple(rows), None)
