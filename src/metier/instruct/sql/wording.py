"""Say a filled family in words: templates from YAML, choices in them, and the way people type.

`train.yaml`, `train_second.yaml` (another author) and `repair.yaml` are trained; `dev.yaml` serves tuning and
`held_out.yaml` the exam, and neither is ever trained. A template is a line with slots in braces and, in trained
wording, choices: `[show|list] the {col}`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml

from metier.instruct.sql.schemas import Column, Table, plural
from metier.instruct.sql.slots import Filled

Wording = Mapping[str, tuple[str, ...]]

TRAINED = ("train.yaml", "train_second.yaml")
TUNING, EXAM = "dev.yaml", "held_out.yaml"
CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")
ORDER = re.compile(
    r"(?:show|list|print|find|give|get|pull|fetch|select|count|sum|add|take|sort|order|pick|rank|remove|delete|set|change"
    r"|create|make|insert|update|describe|extract|join|combine|group|compute|calculate|return|display|generate) ",
    re.IGNORECASE,
)
ASKED_POLITELY = (
    "please {}",
    "Please {}",
    "Could you {}?",
    "can you {}",
    "I'd like you to {}",
    "you should {}",
    "{}, please",
)
AROUND = (
    "Hi, {}",
    "Quick question: {}",
    "For the report: {}",
    "Next: {}",
    "{} Thanks!",
    "Hello! {}",
    "{} thank you",
    "ok, {}",
)


@cache
def load(name: str) -> Wording:
    """Return the templates of a wording file, by family."""
    path = files(__package__).joinpath("wording", name)
    if not path.is_file():
        return {}
    found: dict[str, list[str]] = yaml.safe_load(path.read_text("utf-8")) or {}
    return {family: tuple(lines) for family, lines in found.items()}


@cache
def trained() -> Wording:
    """Return all trained templates, by family, in the files' order."""
    merged: dict[str, tuple[str, ...]] = {}
    for name in TRAINED:
        for family, lines in load(name).items():
            merged[family] = merged.get(family, ()) + lines
    return merged


@cache
def as_pattern(template: str) -> re.Pattern[str]:
    """Return a pattern that matches every template text a choice template can become, case and end marks aside."""
    parts = CHOICE.split(template.strip().rstrip(".?!"))
    pattern = "".join(
        f"(?:{'|'.join(map(re.escape, part.split('|')))})" if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )
    return re.compile(pattern + r"[.?!]?", re.IGNORECASE)


def same_wording(templates: Wording, others: Wording) -> list[tuple[str, str]]:
    """Return the (family, template) of `others` that `templates` could produce for the same family."""
    return [
        (family, other.strip())
        for family, lines in others.items()
        for other in lines
        if any(as_pattern(line).fullmatch(other.strip()) for line in templates.get(family, ()))
    ]


def choose(template: str, rng: random.Random) -> str:
    """Return the template with every choice made."""
    chosen = CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template)
    return re.sub(r"\s+([,.?;:]|$)", r"\1", re.sub(r" {2,}", " ", chosen))


def say(template: str, filled: Filled, rng: random.Random) -> str:
    """Return the template with its slots filled; a column may appear in words or as its identifier."""
    spoken = dict(filled.sql)
    for slot, table in filled.tables.items():
        spoken |= table_words("parent" if slot == "ptable" else "row", table)
    for slot, column in filled.columns.items():
        spoken |= column_words(slot, column, rng)
    for slot in ("val", "val2"):
        if slot in spoken:
            spoken[slot] = rng.choices(("{}", "'{}'", '"{}"'), (65, 25, 10))[0].format(spoken[slot])
    return put(template, spoken)


def put(template: str, parts: Mapping[str, str]) -> str:
    """Return the template with `parts` in its slots; braces inside a part stay as they are."""
    return SLOT.sub(lambda match: parts[match[1]], template)


def table_words(slot: str, table: Table) -> dict[str, str]:
    """Return a table's name in words, singular and plural."""
    return {slot: table.singular, f"{slot}s": plural(table.singular)}


def column_words(slot: str, column: Column, rng: random.Random) -> dict[str, str]:
    """Return a column's name, singular and plural: in words, or as its identifier."""
    if rng.random() < 0.35:
        return {slot: column.name, f"{slot}s": column.name}
    return {slot: column.words, f"{slot}s": plural(column.words, column=True)}


def as_typed(text: str, rng: random.Random) -> str:
    """Return a question the way somebody might type it: with courtesies, without capitals or a full stop."""
    first, _, rest = text.partition(" ")
    if ORDER.match(text) and rng.random() < 0.3:
        text = rng.choice(ASKED_POLITELY).format(f"{first.lower()} {rest}".rstrip(".?! "))
    elif rng.random() < 0.1:
        text = rng.choice(AROUND).format(text if text[-1] in ".?!" else text + ".")
    if rng.random() < 0.2:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.2:
        return text.rstrip(".?!")
    if text[-1] not in ".?!" and rng.random() < 0.25:
        return text + "."
    return text
