"""A desk: one schema with its databases, where tasks are drawn, checked and counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from metier.core.chat import Message
from metier.core.types import Conversation
from metier.instruct.sql.checks import why_unfair
from metier.instruct.sql.databases import Databases, draw_scripts
from metier.instruct.sql.families import Family
from metier.instruct.sql.schemas import Group, Schema, draw_schema
from metier.instruct.sql.slots import Filled, Unfit, fill

SYSTEM = "Write one SQLite statement. Tables: {}"
ATTEMPTS = 5

Advance = Callable[[int], None]


@dataclass
class Tally:
    """Candidates of one split: kept, and dropped by reason."""

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def drawn(self) -> int:
        """Return how many candidates there were."""
        return self.kept + self.dropped.total()


class Task(NamedTuple):
    """A checked gold statement on a schema, before it is said in words."""

    family: Family
    filled: Filled
    gold: str
    probe: str | None


class Said(NamedTuple):
    """What the user asks, and how it is labelled."""

    question: str
    task: str
    source: str


@dataclass
class Desk:
    """One schema with its open databases, and what was made on it so far."""

    schema: Schema
    databases: Databases
    name: str
    seen: set[str] = field(default_factory=set)

    @property
    def system(self) -> str:
        """Return the system message: token for token the same in all rows of the schema."""
        return SYSTEM.format(self.schema.compact)

    def accepts(self, said: Said, key: str, split: str, tally: Tally) -> bool:
        """Count a candidate; return False for a question or `key` that this split has on this schema already."""
        keys = {f"{split}\n{said.question}", f"{split}\n{key}"}
        if keys & self.seen:
            tally.dropped["duplicate"] += 1
            return False
        self.seen |= keys
        tally.kept += 1
        return True

    def conversation(self, said: Said, task: Task, split: str) -> Conversation:
        """Return the finished row."""
        check: dict[str, Any] = {"scorer": "sqlite", "databases": self.databases.scripts, "gold": task.gold}
        check |= {"ordered": task.family.ordered, "probe": task.probe}
        if task.family.accepts is not None:
            check["accepts"] = [task.family.accepts.format(**task.filled.sql)]
        messages = [Message("system", self.system), Message("user", said.question), Message("assistant", task.gold)]
        name = f"{split}/{self.name}/{len(self.seen)}"
        return Conversation(name, messages, said.task, split, said.source, self.schema.compact, check)


def draw_desks(group: Group, count: int, seed: int, advance: Advance) -> Iterator[Desk]:
    """Yield `count` different schemas with their databases, open one at a time."""
    known: set[str] = set()
    rng = random.Random(f"{seed}/{group}")
    while len(known) < count:
        # held-out schemas go through the subjects in turn, so that clusters differ as much as they can
        schema = draw_schema(group, rng, None if group == "train" else len(known))
        if schema.compact in known:
            continue
        known.add(schema.compact)
        databases = Databases(draw_scripts(schema, rng))
        yield Desk(schema, databases, f"{group}-{len(known)}")
        databases.close()
        advance(1)


def draw_task(family: Family, desk: Desk, tally: Tally, rng: random.Random) -> Task | None:
    """Return a fair task of the family on this schema, or None after a few attempts."""
    for _ in range(ATTEMPTS):
        try:
            filled = fill(family, desk.schema, desk.databases, rng)
        except Unfit:
            continue
        gold = family.sql.format(**{slot: value.replace("'", "''") for slot, value in filled.sql.items()})
        probe = family.probe.format(**filled.sql) if family.probe else None
        reason = why_unfair(gold, probe, family.ordered, desk.schema, desk.databases)
        if reason is None:
            return Task(family, filled, gold, probe)
        tally.dropped[reason] += 1
    return None
