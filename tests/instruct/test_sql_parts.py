"""The parts that tasks of SQL are made of."""

from __future__ import annotations

import random
import re

import pytest

from metier.instruct.sql.breakage import BREAKAGES
from metier.instruct.sql.checks import why_unfair
from metier.instruct.sql.databases import Databases, draw_scripts
from metier.instruct.sql.schemas import Column, Schema, Table, draw_schema, entity, plural
from metier.instruct.sql.slots import unheard
from metier.instruct.sql.wording import as_pattern, choose, put

TRACK = Table(
    "track",
    "track",
    (Column("id", "key"), Column("title", "label"), Column("genre", "category"), Column("seconds", "integer")),
)
SCHEMA = Schema("train", (TRACK,), None)
CREATE = "CREATE TABLE track(id INTEGER PRIMARY KEY, title TEXT, genre TEXT, seconds INTEGER);INSERT INTO track VALUES "
SCRIPTS = [
    CREATE + "(1,'Ada','jazz',100),(2,'Bix','jazz',300),(3,'Cy','folk',200),(4,'Dot','soul',50);",
    CREATE + "(1,'Eve','folk',90),(2,'Fay','jazz',30),(3,'Gus','folk',70),(4,'Hal','soul',80);",
    CREATE + "(1,'Ivy','soul',10),(2,'Jo','soul',60),(3,'Kim','jazz',40),(4,'Lee','folk',90);",
]


def unfair(gold: str, probe: str | None = None, ordered: bool = False) -> str | None:
    databases = Databases(SCRIPTS)
    try:
        return why_unfair(gold, probe, ordered, SCHEMA, databases)
    finally:
        databases.close()


def test_a_task_is_fair_when_no_simpler_statement_gives_the_same() -> None:
    assert unfair("SELECT title FROM track WHERE seconds > 75;") is None


@pytest.mark.parametrize(
    ("gold", "reason"),
    [
        ("SELECT title FROM track WHERE seconds > 5;", "not discriminating"),  # all rows: the filter does nothing
        ("SELECT title FROM track WHERE genre = 'polka';", "empty"),
        ("SELECT title FROM song;", "error"),
        ("SELECT id, title, genre, seconds FROM track;", "not discriminating"),
        ("SELECT DISTINCT title FROM track;", "not discriminating"),  # titles are different anyway
    ],
)
def test_an_unfair_task_is_dropped_with_its_reason(gold: str, reason: str) -> None:
    assert unfair(gold) == reason


def test_an_order_that_ties_leave_open_is_unfair() -> None:
    tied = [script.replace("'jazz'", "'folk'") for script in SCRIPTS]
    databases = Databases(tied)
    assert why_unfair("SELECT title FROM track ORDER BY genre;", None, True, SCHEMA, databases) == "ties"
    databases.close()


def test_a_write_that_changes_nothing_is_unfair() -> None:
    assert unfair("DELETE FROM track WHERE seconds < 5;", probe="SELECT * FROM track ORDER BY id") == "empty"


def test_a_statement_leaves_the_databases_as_they_were() -> None:
    databases = Databases(SCRIPTS)
    before = databases.column("track", "seconds")
    databases.outcomes("DROP TABLE track;", None)
    databases.outcomes("DELETE FROM track;", "SELECT COUNT(*) FROM track")
    assert databases.column("track", "seconds") == before
    databases.close()


@pytest.mark.parametrize(
    ("kind", "sql", "broken"),
    [
        ("missing_group_by", "SELECT genre, COUNT(*) FROM track GROUP BY genre;", "SELECT genre, COUNT(*) FROM track;"),
        ("equals_null", "SELECT title FROM track WHERE genre IS NULL;", "SELECT title FROM track WHERE genre = NULL;"),
        ("missing_from", "SELECT title FROM track;", "SELECT title track;"),
        ("missing_comma", "SELECT title, genre FROM track;", "SELECT title genre FROM track;"),
        ("unquoted_literal", "SELECT id FROM track WHERE genre = 'jazz';", "SELECT id FROM track WHERE genre = jazz;"),
        (
            "top_for_limit",
            "SELECT title FROM track ORDER BY seconds LIMIT 2;",
            "SELECT TOP 2 title FROM track ORDER BY seconds;",
        ),
        ("clause_order", "SELECT title FROM track WHERE id > 1;", "SELECT title WHERE id > 1 FROM track;"),
        (
            "star_for_percent",
            "SELECT title FROM track WHERE title LIKE 'A%';",
            "SELECT title FROM track WHERE title LIKE 'A*';",
        ),
        (
            "aggregate_in_where",
            "SELECT genre FROM track GROUP BY genre HAVING COUNT(*) >= 2;",
            "SELECT genre FROM track WHERE COUNT(*) >= 2 GROUP BY genre;",
        ),
    ],
)
def test_a_breakage_does_what_its_name_says(kind: str, sql: str, broken: str) -> None:
    assert BREAKAGES[kind](sql, SCHEMA, random.Random(0)) == broken


def test_a_misspelt_column_is_no_other_column() -> None:
    for seed in range(30):
        broken = BREAKAGES["column_typo"]("SELECT genre FROM track WHERE seconds > 5;", SCHEMA, random.Random(seed))
        assert broken is not None
        assert unfair(broken) == "error"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("track", "tracks"),
        ("spring match", "spring matches"),
        ("bakery", "bakeries"),
        ("bus", "buses"),
        ("play", "plays"),
    ],
)
def test_plurals_of_tables(word: str, expected: str) -> None:
    assert plural(word) == expected


@pytest.mark.parametrize(("word", "expected"), [("hours", "hours"), ("status", "statuses"), ("country", "countries")])
def test_plurals_of_columns(word: str, expected: str) -> None:
    assert plural(word, column=True) == expected


def test_an_entity_is_read_from_its_line() -> None:
    read = entity("track.title:phrase seconds#90-420 genre=jazz/folk released^")
    assert read[:3] == ("track", "title", "phrase")
    assert read.columns == (("seconds", "#", "90-420"), ("genre", "=", "jazz/folk"), ("released", "^", ""))


def test_every_drawn_schema_works_in_sqlite() -> None:
    rng = random.Random(1)
    for group in ("train", "dev", "held_out"):
        for _ in range(60):
            schema = draw_schema(group, rng)
            Databases(draw_scripts(schema, rng)).close()
            for table in schema.tables:
                assert len({column.name for column in table.columns}) == len(table.columns)


@pytest.mark.parametrize(
    ("labels", "shape"),
    [(("Ada Silva", "Bo Costa"), r"\w+ \w+"), (("AB-12", "CD-34"), r"\w+-\d+"), (("Oslo", "Rome"), r"\w+")],
)
def test_a_new_label_looks_like_the_others(labels: tuple[str, ...], shape: str) -> None:
    assert re.fullmatch(shape, unheard(labels, random.Random(0)))


def test_choices_are_made_and_empty_ones_leave_no_gap() -> None:
    assert {choose("[show|list] the {col}[, all|]", random.Random(seed)) for seed in range(40)} == {
        "show the {col}",
        "list the {col}",
        "show the {col}, all",
        "list the {col}, all",
    }


def test_a_template_is_recognised_in_all_its_forms() -> None:
    pattern = as_pattern("[Show|List] the {col} of {rows}?")
    assert pattern.fullmatch("list the {col} of {rows}")
    assert not pattern.fullmatch("print the {col} of {rows}")


def test_braces_inside_a_part_stay() -> None:
    assert put("fix {broken} now", {"broken": "SELECT '{col}'"}) == "fix SELECT '{col}' now"
