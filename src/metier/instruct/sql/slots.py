"""Fill a family's slots from a schema and its databases.

In the SQL of `families.yaml`: table, ptable (the parent's), fk (the child's link to it); col, col2 (shown),
cat (a text with few values), num, num2, real, date, opt (may be NULL), json, pcol, pcat (of the parent); val,
val2 (values of cat or pcat), n, m, lo, hi (numbers), k (a small count), d (digits), id, year, start
(letters), pattern (GLOB), sep, yes, no, text, key (in json), index, new, a, b (what is to be created).
Wording has, besides, rows, row, parents, parent (tables in words), cols, cats, nums (columns in the plural)
and places ("2 decimal places", for d).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from metier.instruct.sql.databases import YEARS, Databases
from metier.instruct.sql.families import Family
from metier.instruct.sql.schemas import Column, Kind, Schema, Table, pool

SHOWN: tuple[Kind, ...] = ("label", "category", "integer", "real", "date")
ROLES: dict[str, tuple[Kind, ...]] = {
    "label": ("label",),
    "category": ("category",),
    "short": ("category", "integer", "date"),
}
PATTERNS = ("{two}*", "{one}*", "*{last}", "?{second}*", "*{last_two}")


class Unfit(Exception):  # noqa: N818 - a schema that does not fit a family is no error
    """The schema holds nothing that this family needs."""


class Filled(NamedTuple):
    """The value of each slot as SQL writes it, and the columns and tables it names."""

    sql: dict[str, str]
    columns: dict[str, Column]
    tables: dict[str, Table]


def fill(family: Family, schema: Schema, databases: Databases, rng: random.Random) -> Filled:
    """Return values for every slot of `family`; raises `Unfit` when the schema lacks what it needs."""
    return _Filling(family, schema, databases, rng).filled()


def unheard(labels: Sequence[str], rng: random.Random) -> str:
    """Return a label made of two others: "Ada Silva" and "Bo Costa" give "Ada Costa", AB-12 and CD-34 give AB-34."""
    one, two = rng.sample(labels, 2)
    mark = " " if " " in one else "-"
    return f"{one.split(mark)[0]}{mark}{two.split(mark)[-1]}" if mark in one and mark in two else one


class _Filling:
    def __init__(self, family: Family, schema: Schema, databases: Databases, rng: random.Random) -> None:
        self.family, self.schema, self.databases, self.rng = family, schema, databases, rng
        joined = "ptable" in family.slots
        if joined and schema.link is None:
            raise Unfit("one table only")
        self.main = schema.tables[0] if joined else rng.choice(schema.tables)
        self.sql = {"table": self.main.name}
        self.tables = {"table": self.main}
        self.columns: dict[str, Column] = {}
        if joined and schema.link is not None:
            self.tables["ptable"] = schema.tables[1]
            self.sql |= {"ptable": schema.tables[1].name, "fk": schema.link}

    def filled(self) -> Filled:
        """Return all slots filled."""
        slots = self.family.slots
        # columns that can be of one kind only come first, what is shown last
        for slot, kinds in COLUMN_SLOTS.items():
            if slot in slots:
                self.pick(slot, kinds)
        self.numbers(slots)
        self.literals(slots)
        self.names(slots)
        return Filled(self.sql, self.columns, self.tables)

    def pick(self, slot: str, kinds: Sequence[Kind]) -> None:
        """Give a column slot a column that no other slot holds."""
        role = self.family.roles.get(slot)
        table = self.tables["ptable"] if slot in ("pcol", "pcat") else self.main
        kinds = ROLES.get(role or "", kinds)
        taken = [
            column
            for other, column in self.columns.items()
            if (other in ("pcol", "pcat")) == (slot in ("pcol", "pcat"))
        ]
        free = [column for column in table.of_kind(*kinds) if column not in taken]
        if not free:
            raise Unfit(f"no column for {slot}")
        labels = [column for column in free if column.kind == "label"]
        chosen = labels[0] if labels and self.rng.random() < 0.6 else self.rng.choice(free)
        self.columns[slot] = chosen
        self.sql[slot] = chosen.name

    def values(self, slot: str) -> list[list[object]]:
        """Return the values of a column slot, database by database."""
        table = self.tables["ptable"] if slot in ("pcol", "pcat") else self.main
        return self.databases.column(table.name, self.columns[slot].name)

    def between(self, slot: str, low: float, high: float) -> str:
        """Return a bound that lies between two quantiles of the column's values, rounded as people round."""
        found = sorted(float(str(v)) for values in self.values(slot) for v in values)
        value = self.rng.uniform(found[int(low * (len(found) - 1))], found[int(high * (len(found) - 1))])
        if self.columns[slot].kind == "integer":
            step = 1 if value < 60 else self.rng.choice((1, 5, 10)) if value < 600 else self.rng.choice((1, 50, 100))
            return str(round(value / step) * step)
        return f"{value:.{self.rng.choice((0, 1))}f}" if value > 10 else f"{value:.1f}"

    def numbers(self, slots: frozenset[str]) -> None:
        """Fill bounds, counts and ids."""
        if "lo" in slots and "num" in slots:
            self.sql |= {"lo": self.between("num", 0.15, 0.45), "hi": self.between("num", 0.55, 0.85)}
        elif "lo" in slots:
            low = self.rng.randint(0, 60)
            self.sql |= {"lo": str(low), "hi": str(low + self.rng.randint(4, 40))}
        if "m" in slots:
            self.sql["m"] = self.between("num2", 0.3, 0.7)
        if "n" in slots and self.family.roles.get("n") == "new":
            self.sql["n"] = str(self.rng.randint(2, 99) * self.rng.choice((1, 1, 10)))
        elif "n" in slots:
            self.sql["n"] = self.between("num", 0.25, 0.75)
        if "k" in slots:
            self.sql["k"] = str(self.rng.randint(2, 3 if self.family.topic == "group" else 5))
        if "id" in slots:
            self.sql["id"] = str(self.rng.randint(5, 14))
        if "d" in slots:
            self.sql["d"] = str(self.rng.randint(1, 2))
            self.sql["places"] = "1 decimal place" if self.sql["d"] == "1" else "2 decimal places"

    def literals(self, slots: frozenset[str]) -> None:
        """Fill texts that the databases hold, years and patterns."""
        source = "pcat" if "pcat" in slots else "cat"
        if "val" in slots and self.family.roles.get("val") == "new":
            self.sql["val"] = unheard(self.columns["col"].choices, self.rng)
        elif "val" in slots:
            two = self.rng.sample(sorted({str(v) for values in self.values(source) for v in values}), 2)
            self.sql["val"], second = two
            if "val2" in slots:
                self.sql["val2"] = second
        if "year" in slots:
            self.sql["year"] = str(self.rng.randint(*YEARS))
        if slots & {"start", "pattern"}:
            text = str(self.rng.choice(self.values("col")[0]))
            self.sql["start"] = text[: self.rng.randint(1, 2)]
            parts = {"one": text[0], "two": text[:2], "second": text[1], "last": text[-1], "last_two": text[-2:]}
            self.sql["pattern"] = self.rng.choice(PATTERNS).format(**parts)

    def names(self, slots: frozenset[str]) -> None:
        """Fill separators, labels, and the names of what is to be created."""
        group, rng = self.schema.group, self.rng
        if "sep" in slots:
            self.sql["sep"] = rng.choice((" - ", ", ", " / ", ": ", " | ", "-", " + "))
        if "yes" in slots:
            self.sql["yes"], self.sql["no"] = rng.choice(pool(group, "label_pair")).split("/")
        if "text" in slots:
            self.sql["text"] = rng.choice(pool(group, "filler"))
        if "key" in slots:
            self.sql["key"] = rng.choice(self.columns["json"].choices)
        if "new" in slots:
            self.sql["new"] = rng.choice(pool(group, "new_table"))
            self.sql["a"] = rng.choice(pool(group, "new_text"))
            self.sql["b"] = rng.choice(pool(group, "new_number"))
        if "index" in slots:
            self.sql["index"] = rng.choice(("idx_{}", "{}_idx", "ix_{}", "{}_partial")).format(
                rng.choice((self.sql["col"], self.sql["cat"], f"{self.main.name}_{self.sql['col']}"))
            )


COLUMN_SLOTS: dict[str, tuple[Kind, ...]] = {
    "opt": ("optional",),
    "json": ("json",),
    "date": ("date",),
    "real": ("real",),
    "num": ("integer", "real"),
    "num2": ("integer", "real"),
    "cat": ("category",),
    "pcat": ("category",),
    "pcol": ("label", "category", "integer", "date"),
    "col": SHOWN,
    "col2": SHOWN,
}
