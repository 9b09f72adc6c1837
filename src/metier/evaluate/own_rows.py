"""The rows of a team's own exam: what each asks and how it is graded, or what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from metier.core.chat import Message
from metier.core.errors import Problem
from metier.core.scorers import scorer_for
from metier.core.types import HELD_OUT, Conversation
from metier.evaluate.multiple_choice import Item

Answers = Literal["any", "letter", "text", "index from 0", "index from 1"]

KIND = "own"
"""Kind of a multiple-choice question, and task of a row, that states none."""

COLUMNS = frozenset(
    re.findall(
        r"[^|]+",
        "id|question|options|answer|reference|accepts|check|tests|gold|databases|dimension|task|source|system",
    )
)
"""Columns with a meaning, beside those of single options: A, B, C ... or option_a, option 1 ..."""

_OPTION = re.compile(r"(?:(?:option|choice)[ _]?)?([A-Z])|(?:option|choice)[ _]?(\d{1,2})", re.IGNORECASE)
_MOST_OPTIONS = 26


class Bad(NamedTuple):
    """What is wrong with a row: in which field, and what was found there."""

    field: str
    what: str
    found: str

    @property
    def reason(self) -> str:
        """The same without the particulars, for the ledger: "question is asked" in whichever row."""
        return f"{self.field} {re.split(r' in | of |[,:(]', self.what)[0].strip()}"


class Placed(NamedTuple):
    """A bad row with its place: the file and the number of its line."""

    place: str
    bad: Bad

    def __str__(self) -> str:
        shown = f": {self.bad.found[:80]!r}" if self.bad.found else ""
        return f"{self.place} {self.bad.field} {self.bad.what}{shown}"


def own_row(row: Mapping[str, Any], answers: Answers = "any") -> Item | Conversation | Bad:
    """Return a question of a team's own: with options, with a reference, or with a check.

    Args:
        row: by column, names in lower case; an empty cell counts as none.
        answers: how right options are named, where "any" would leave a doubt.
    """
    question = _text(row, "question")
    if question is None:
        return Bad("question", "is empty", "")
    options = _options(row)
    if isinstance(options, Bad):
        return options
    if options:
        return _choice(row, question, options, answers)
    check = _check(row)
    if isinstance(check, Bad):
        return check
    messages = [Message("user", question), Message("assistant", str(check.pop("expected")))]
    if system := _text(row, "system"):
        messages.insert(0, Message("system", system))
    if dimension := _text(row, "dimension"):
        check["dimension"] = dimension
    told = [message.content for message in messages[:-2]]
    id = _text(row, "id") or _digest(question, json.dumps(check, sort_keys=True), *told)
    source = _text(row, "source")
    return Conversation(id, messages, _text(row, "task") or KIND, HELD_OUT, source or "", source or id, check)


def duplicates(rows: Iterable[tuple[str, Item | Conversation]]) -> dict[str, Bad]:
    """Return what is wrong with rows that ask what an earlier one asks, or have its id, by their place in the files.

    What is asked is the question with all that is given with it: its options in any order, or the system message and
    the databases.
    """
    asked: dict[tuple[str, ...], tuple[str, Item | Conversation]] = {}
    ids: dict[str, str] = {}
    found: dict[str, Bad] = {}
    for place, row in rows:
        question = _given(row)
        if question in asked:
            earlier, other = asked[question]
            differs = "" if _right(row) == _right(other) else ", with another answer"
            found[place] = Bad("question", f"is asked in {earlier} already{differs}", _asked(row))
        elif row.id in ids:
            found[place] = Bad("id", f"is that of {ids[row.id]}", row.id)
        else:
            asked[question], ids[row.id] = (place, row), place
    return found


def _choice(row: Mapping[str, Any], question: str, options: list[str], answers: Answers) -> Item | Bad:
    if len(options) < 2:
        return Bad("options", "are fewer than two", options[0])
    twice = [option for at, option in enumerate(options) if _bare(option) in map(_bare, options[:at])]
    if twice:
        return Bad("options", "has the same option twice", twice[0])
    written = row.get("answer")
    if written is None or not str(written).strip():
        return Bad("answer", "is empty", "")
    at = _answer(str(written).strip(), options, answers)
    if isinstance(at, Bad):
        return at
    id = _text(row, "id") or _digest(question, *options)
    source = _text(row, "source") or id
    return Item(id, question, options, at, source, _text(row, "task") or KIND, _text(row, "dimension"))


def _answer(written: str, options: list[str], answers: Answers) -> int | Bad:
    """Return which option an answer names: by its text, its letter, or its number."""
    ways: dict[str, int] = {}
    if _bare(written) in (bare := [_bare(option) for option in options]):
        ways["text"] = bare.index(_bare(written))
    letter = _letter(written)
    if letter and ord(letter) - ord("A") < len(options):
        ways["letter"] = ord(letter) - ord("A")
    if re.fullmatch(r"\d{1,3}(\.0)?", written):
        number = int(float(written))
        if number < len(options):
            ways["index from 0"] = number
        if 1 <= number <= len(options):
            ways["index from 1"] = number - 1
    if answers != "any":
        return (
            ways[answers] if answers in ways else Bad("answer", f"is not among the options, read as {answers}", written)
        )
    meant = set(ways.values())
    if not meant:
        return Bad("answer", "is not among the options", written)
    if len(meant) > 1:
        return Bad("answer", f"could be {' or '.join(ways)}: say which with `answers`", written)
    return meant.pop()


def _letter(written: str) -> str | None:
    """Return the letter of an option as a capital, also of a full-width one; None if it is none."""
    found = re.fullmatch(r"\(?([A-Za-z])[).:]?", unicodedata.normalize("NFKC", written))
    return found[1].upper() if found else None


def _options(row: Mapping[str, Any]) -> list[str] | Bad:
    listed: Any = row.get("options")
    if isinstance(listed, str) and listed.strip():
        try:
            listed = json.loads(listed) if listed.lstrip().startswith("[") else listed.split("|")
        except (ValueError, RecursionError) as error:
            return Bad("options", f"is no JSON list ({error})", listed)
    found: list[str]
    if listed:
        if not isinstance(listed, list):
            return Bad("options", "is no list", str(listed))
        found = [str(option).strip() if option is not None else "" for option in listed]
    else:
        named = [(at, name) for name in row if (at := _place(name)) is not None]
        first = min((at for at, _ in named), default=0)  # option_0, option_1 ... count from 0
        columns = {at - min(0, first): _text(row, name) for at, name in named}
        if len(columns) < len(named) or (first < 0 and any(len(name) == 1 for _, name in named)):
            return Bad("options", "have two columns for one option", ", ".join(name for _, name in named))
        last = max((at for at, text in columns.items() if text is not None), default=-1)
        found = [columns.get(at) or "" for at in range(last + 1)]
    if len(found) > _MOST_OPTIONS:
        return Bad("options", f"are more than {_MOST_OPTIONS}", str(len(found)))
    if "" in found:
        return Bad("options", f"option {chr(ord('A') + found.index(''))} is empty", " | ".join(found))
    return found


def _place(name: str) -> int | None:
    match = _OPTION.fullmatch(name)
    if match is None:
        return None
    return ord(match[1].upper()) - ord("A") if match[1] else int(match[2]) - 1


def is_column(name: str) -> bool:
    """Say whether a column has a meaning."""
    return name in COLUMNS or _place(name) is not None


def _check(row: Mapping[str, Any]) -> dict[str, Any] | Bad:
    """Return a check with what is expected under "expected": stated as `check`, `tests` or `gold`, or a reference."""
    reference = _text(row, "reference") or _text(row, "answer")
    accepts = _json(row.get("accepts") or "[]")
    if row.get("check"):
        stated = _json(row["check"])
        if not isinstance(stated, dict) or not isinstance(stated.get("scorer"), str):
            return Bad("check", "is no JSON object with a 'scorer'", str(row["check"]))
        check = dict(stated)
    elif tests := _text(row, "tests"):
        check = {"scorer": "program", "tests": tests}
    elif gold := _text(row, "gold"):
        databases = _json(row.get("databases") or "[]")
        check = {
            "scorer": "sqlite",
            "gold": gold,
            "databases": databases if isinstance(databases, list) else [databases],
        }
    elif reference is None:
        return Bad("answer", "is empty: a row needs options and an answer, a reference, or a check", "")
    elif _text(row, "reference") is None and _letter(reference):
        return Bad("options", "are missing: the answer names one; call their columns A, B, C", reference)
    elif not isinstance(accepts, list):
        return Bad("accepts", "is no JSON list", str(accepts))
    else:
        check = {"scorer": "agreement", "reference": reference, "accepts": accepts}
    expected = reference or str(check.get("gold") or check.get("reference") or "")
    return _fault(check, expected) or {**check, "expected": expected}


def _fault(check: Mapping[str, Any], expected: str) -> Bad | None:
    """Return why a check cannot grade, or grades its own expected answer below 1. Programs are not run here."""
    try:
        scorer = scorer_for(str(check["scorer"]))
        if check["scorer"] == "program":
            return None if str(check.get("tests") or "").strip() else Bad("check", "has no tests", str(dict(check)))
        if check["scorer"] == "sqlite" and not check.get("databases"):
            return Bad("databases", "are missing: each a script that sets up what the statement runs on", "")
        score = scorer.score(check, expected)
    except Problem as problem:
        return Bad("check", problem.what, problem.found or "")
    except (KeyError, TypeError, ValueError) as error:
        return Bad("check", f"cannot be used: {type(error).__name__} {error}", str(dict(check)))
    return (
        None if score.value == 1.0 else Bad("reference", f"is itself graded {score.value:g}: {score.reason}", expected)
    )


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return str(value).strip() or None if value is not None and not isinstance(value, list | dict) else None


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _asked(row: Item | Conversation) -> str:
    return row.question if isinstance(row, Item) else row.messages[-2].content


def _given(row: Item | Conversation) -> tuple[str, ...]:
    if isinstance(row, Item):
        return "options", _bare(row.question), *sorted(map(_bare, row.options))
    databases = (row.check or {}).get("databases")
    return "open", json.dumps(databases, sort_keys=True), *(_bare(message.content) for message in row.messages[:-1])


def _right(row: Item | Conversation) -> str:
    return _bare(row.options[row.answer] if isinstance(row, Item) else row.messages[-1].content)


def _bare(text: str) -> str:
    return " ".join(text.casefold().split())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
