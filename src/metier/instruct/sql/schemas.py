"""Random small schemas: one or two tables with columns whose names and values read like real ones.

Subjects come from `themes.yaml` and sample values from `values.yaml`. The groups "train", "dev" and "held_out"
share no entity name, so no table of one group is ever seen in another, and the pools that literals come from
(people, places, titles) are split between training and the rest.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import yaml

Group = Literal["train", "dev", "held_out"]
Kind = Literal["key", "link", "label", "category", "integer", "real", "date", "optional", "flag", "json"]

ENTITY = re.compile(r"(\w+)\.(\w+):(\w+)(.*)")
COLUMN = re.compile(r"(\w+)([=#~@^])(\S*)")
OTHER_LABELS = {
    "person": ("full_name", "alias_name", "display_name"),
    "phrase": ("label", "title", "heading", "brand_name"),
    "code": ("ref", "number", "tag", "serial_no", "barcode"),
}
AS_IS_PLURAL = re.compile(r"[^us]s$")  # "stars", "hours"; not "status" or "class"


@dataclass(frozen=True)
class Column:
    """A column: `choices` for texts, `low` and `high` for numbers."""

    name: str
    kind: Kind
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    decimals: int = 2

    @property
    def words(self) -> str:
        """Return the name as one would say it."""
        return self.name.replace("_", " ")

    @property
    def declaration(self) -> str:
        """Return the column as CREATE TABLE declares it."""
        types = {
            "key": "INTEGER PRIMARY KEY",
            "link": "INTEGER",
            "integer": "INTEGER",
            "flag": "INTEGER",
            "real": "REAL",
        }
        return f"{self.name} {types.get(self.kind, 'TEXT')}"


@dataclass(frozen=True)
class Table:
    """A table, with the singular of its name in words."""

    name: str
    singular: str
    columns: tuple[Column, ...]

    def of_kind(self, *kinds: Kind) -> list[Column]:
        """Return the columns of these kinds, in order."""
        return [column for column in self.columns if column.kind in kinds]

    @property
    def compact(self) -> str:
        """Return `track(id, title, artist_id)`."""
        return f"{self.name}({', '.join(column.name for column in self.columns)})"


@dataclass(frozen=True)
class Schema:
    """One table, or a child table and its parent; `link` names the child's column that holds the parent's id."""

    group: Group
    tables: tuple[Table, ...]
    link: str | None

    @property
    def compact(self) -> str:
        """Return the schema as the prompt shows it."""
        return "; ".join(table.compact for table in self.tables)


class Entity(NamedTuple):
    """What a table may be about: its name, its label column, and its own columns as `themes.yaml` writes them."""

    name: str
    label: str
    label_pool: str
    columns: tuple[tuple[str, str, str], ...]  # name, sign, argument


@cache
def words() -> dict[str, Any]:
    """Return `values.yaml`."""
    loaded: dict[str, Any] = yaml.safe_load(files(__package__).joinpath("values.yaml").read_text("utf-8"))
    return loaded


@cache
def themes(group: Group) -> tuple[tuple[Entity, Entity], ...]:
    """Return the (parent, child) pairs of a group."""
    lines = yaml.safe_load(files(__package__).joinpath("themes.yaml").read_text("utf-8"))[group]
    return tuple((entity(line.split(" > ")[0]), entity(line.split(" > ")[1])) for line in lines)


def entity(text: str) -> Entity:
    """Read `track.title:phrase seconds#90-420 released^`."""
    match = ENTITY.match(text)
    if match is None:
        raise ValueError(f"not an entity: {text!r}")
    name, label, pool, rest = match.groups()
    return Entity(name, label, pool, tuple(COLUMN.findall(rest)))


def pool(group: Group, name: str) -> list[str]:
    """Return the sample values `name` for a group."""
    return [str(value) for value in words()[name]["train" if group == "train" else "other"]]


def plural(phrase: str, *, column: bool = False) -> str:
    """Return the English plural of a phrase, by its last word."""
    if column and AS_IS_PLURAL.search(phrase):
        return phrase
    if re.search(r"[^aeiou]y$", phrase):
        return phrase[:-1] + "ies"
    if re.search(r"(s|x|ch|sh)$", phrase):
        return phrase + "es"
    return phrase + "s"


def texts(group: Group, kind: str, count: int, rng: random.Random) -> tuple[str, ...]:
    """Return `count` different sample texts of a pool."""
    if kind in ("place", "country"):
        names = pool(group, kind)
        return tuple(rng.sample(names, min(count, len(names))))
    found: dict[str, None] = {}
    for value in endless(group, kind, rng):
        found[value] = None
        if len(found) == count:
            return tuple(found)
    raise AssertionError("endless() ended")


def endless(group: Group, kind: str, rng: random.Random) -> Iterator[str]:
    """Yield random texts of a kind that is put together: people, phrases, codes."""
    while True:
        if kind == "person":
            yield f"{rng.choice(pool(group, 'first'))} {rng.choice(pool(group, 'last'))}"
        elif kind == "phrase":
            yield f"{rng.choice(pool(group, 'adjective'))} {rng.choice(pool(group, 'noun'))}"
        else:
            yield f"{rng.choice('ABCDEFGHKLMNPRSTVX')}{rng.choice('ABCDEFGHKLMNPRSTVX')}-{rng.randint(100, 999)}"


def draw_schema(group: Group, rng: random.Random, subject: int | None = None) -> Schema:
    """Return a schema of one table (2 in 5) or of a child and its parent, on a given subject or any."""
    subjects = themes(group)
    parent, child = rng.choice(subjects) if subject is None else subjects[subject % len(subjects)]
    plural_names = rng.random() < 0.4
    if rng.random() < 0.4:
        return Schema(
            group, (draw_table(group, rng.choice((parent, child)), rng.randint(4, 5), plural_names, rng),), None
        )
    upper = draw_table(group, parent, rng.randint(2, 3), plural_names, rng)
    link = Column(upper.singular.replace(" ", "_") + "_id", "link")
    lower = draw_table(group, child, rng.choice((3, 4, 4, 5)), plural_names, rng, link)
    return Schema(group, (lower, upper), link.name)


def draw_table(
    group: Group, subject: Entity, size: int, plural_names: bool, rng: random.Random, link: Column | None = None
) -> Table:
    """Return a table of `size` columns besides its id and its link to a parent."""
    singular = subject.name.replace("_", " ")
    if rng.random() < 0.3 and " " not in singular:
        singular = f"{rng.choice(pool(group, 'modifier'))} {singular}"
    label = Column(label_name(group, subject, rng), "label", texts(group, subject.label_pool, 14, rng))
    columns = [label]
    for kinds in (("category",), ("integer", "real")):
        own = [column for column in subject_columns(group, subject, rng) if column.kind in kinds]
        columns.append(rng.choice(own) if own and rng.random() < 0.7 else extra(group, kinds[0], rng))
    while len(columns) < size:
        column = other_column(group, subject, rng)
        if column.name not in {known.name for known in columns}:
            columns.append(column)
    rest = dedupe(columns[1:]) + ([link] if link else [])
    rng.shuffle(rest)
    name = (plural(singular) if plural_names else singular).replace(" ", "_")
    return Table(name, singular, (Column("id", "key"), label, *rest))


def label_name(group: Group, subject: Entity, rng: random.Random) -> str:
    """Return the name of the column that names a row; in training often another than the subject's own."""
    others = OTHER_LABELS.get(subject.label_pool)
    return rng.choice(others) if others and group == "train" and rng.random() < 0.35 else subject.label


def dedupe(columns: Sequence[Column]) -> list[Column]:
    """Return the columns without those of a name that came before."""
    return list({column.name: column for column in columns}.values())


def other_column(group: Group, subject: Entity, rng: random.Random) -> Column:
    """Return a column of the subject's own or one of the kinds that any table may have."""
    own = subject_columns(group, subject, rng)
    if own and rng.random() < 0.3:
        return rng.choice(own)
    kind: Kind = rng.choices(
        ("optional", "date", "integer", "category", "real", "json", "flag"), (26, 18, 10, 6, 10, 24, 6)
    )[0]
    return extra(group, kind, rng)


def extra(group: Group, kind: str, rng: random.Random) -> Column:
    """Return a column that fits any table."""
    if kind == "category":
        name, _, choices = rng.choice(pool(group, "extra_category")).partition("=")
        return Column(name, "category", tuple(choices.split("/")))
    if kind in ("integer", "real"):
        name, low = rng.choice(pool(group, "extra_number")), rng.choice((1, 5, 10))
        high = low + rng.choice((60, 90, 300, 900, 4000))
        return number(group, name, "integer" if kind == "integer" else "real", low, high, rng)
    if kind == "json":
        return Column(rng.choice(pool(group, "json")), "json", tuple(rng.sample(pool(group, "json_key"), 2)))
    if kind == "optional":
        return Column(rng.choice(pool(group, "optional")), "optional", tuple(rng.sample(pool(group, "text_value"), 6)))
    if kind == "date":
        return Column(rng.choice(pool(group, "date")), "date")
    return Column(rng.choice(pool(group, "flag")), "flag")


def number(group: Group, name: str, kind: Kind, low: float, high: float, rng: random.Random) -> Column:
    """Return a number column, sometimes with a qualified name ("net_weight")."""
    if rng.random() < 0.25:
        name = f"{rng.choice(pool(group, 'measure'))}_{name}"
    return Column(name, kind, low=low, high=high, decimals=rng.choice((1, 2, 2, 3)))


def subject_columns(group: Group, subject: Entity, rng: random.Random) -> list[Column]:
    """Return the subject's own columns with their values drawn."""
    columns = []
    for name, sign, argument in subject.columns:
        if sign == "^":
            columns.append(Column(name, "date"))
        elif sign == "=":
            columns.append(Column(name, "category", tuple(argument.split("/"))))
        elif sign == "@":
            columns.append(Column(name, "category", texts(group, argument, 4, rng)))
        else:
            low, _, high = argument.partition("-")
            columns.append(number(group, name, "integer" if sign == "#" else "real", float(low), float(high), rng))
    return columns
