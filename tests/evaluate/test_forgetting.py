"""General requests, and replies that are SQL where none was asked for."""

from __future__ import annotations

import random
import re

import pytest

from metier.evaluate.forgetting import general_requests, sql_in_reply

SQL = [
    "SELECT name FROM books;",
    "select name from books where price > 3;",
    "Sure! Here is the query:\n\nSELECT COUNT(*) FROM orders",
    "```sql\nSELECT 1\n```",
    "Try this:\n```\nselect a, b from t\n```",
    "CREATE TABLE recipes(id INTEGER PRIMARY KEY, title TEXT);",
    "INSERT INTO letters VALUES (1, 'Dear neighbour')",
    "UPDATE heater SET broken = 0 WHERE id = 1;",
    "DELETE FROM stains;",
    "PRAGMA table_info(plants);",
    "WITH days AS (SELECT 1) SELECT * FROM days;",
    "SELECT 'Dear Grandmother, happy birthday';",
]
PROSE = [
    "Select a ripe melon from the shelf and tap on it.",
    "Update your address set before the trip.",
    "Create a table of the costs and compare them with the budget.",
    "Delete from your phone what you no longer need.",
    "With patience, as (almost) always, it works.",
    "You can select the train from the list, or drop by at the station.",
    "Insert the key into the lock.",
    "```python\nprint('hello')\n```",
    "Dear neighbour,\n\nThank you for watering my plants.",
    "",
]


@pytest.mark.parametrize("reply", SQL)
def test_a_reply_with_a_statement_is_sql(reply: str) -> None:
    assert sql_in_reply(reply) is not None


@pytest.mark.parametrize("reply", PROSE)
def test_prose_that_names_a_keyword_is_not_sql(reply: str) -> None:
    assert sql_in_reply(reply) is None


def test_examination_and_rehearsal_share_no_request_and_nothing_close() -> None:
    small = {"a", "an", "the", "is", "are", "do", "does", "i", "in", "of", "to", "for", "how", "what", "why"}

    def words(prompt: str) -> set[str]:
        return set(re.findall(r"\w+", prompt.lower())) - small

    examined = general_requests("examination", 64, random.Random(0))
    rehearsed = general_requests("rehearsal", 204, random.Random(0))
    assert (len(examined), len(rehearsed)) == (64, 204)
    for request in examined:
        for other in rehearsed:
            ours, theirs = words(request.prompt), words(other.prompt)
            assert len(ours & theirs) / len(ours | theirs) < 0.6, (request.prompt, other.prompt)


def test_requests_are_drawn_evenly_from_the_subjects() -> None:
    drawn = general_requests("examination", 32, random.Random(3))
    subjects = [request.subject for request in drawn]
    assert {subjects.count(subject) for subject in subjects} == {2}
    assert drawn == general_requests("examination", 32, random.Random(3))


def test_no_request_speaks_of_the_trade_of_the_demo() -> None:
    for use in ("examination", "rehearsal"):
        for request in general_requests(use, 300, random.Random(0)):
            assert not re.search(r"\b(?:sql|database|query|sqlite)\b", request.prompt, re.IGNORECASE)
