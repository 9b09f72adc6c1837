"""All tasks of SQL, split by split: `generate` is a pure function of its arguments."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from metier.core import Failure
from metier.core.types import TRAIN, Conversation
from metier.instruct.sql import wording
from metier.instruct.sql.asking import ask, ask_repair
from metier.instruct.sql.breakage import BREAKAGES, NEEDS_SCHEMA
from metier.instruct.sql.desk import Advance, Desk, Tally, draw_desks, draw_task
from metier.instruct.sql.families import Family, families
from metier.instruct.sql.schemas import Group

ROUNDS = 4  # a schema may be asked the same kind of question this often, where a split has few kinds


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    train_schemas: int = 500
    tasks_per_schema: int = 9
    repair_share: float = 0.2
    held_out_schemas: int = 20
    tasks_per_split: int = 120


class Sheet(NamedTuple):
    """One split's families and wording, and what was made of it."""

    split: str
    pool: tuple[Family, ...]
    templates: wording.Wording
    typed: bool
    tally: Tally
    made: Counter[str]


def generate(
    seed: int = 0,
    sizes: Sizes | None = None,
    *,
    tuning: bool = False,
    tallies: dict[str, Tally] | None = None,
    advance: Advance = lambda n: None,
) -> Iterator[Conversation]:
    """Yield the held-out splits, with `tuning` the dev splits, then the training rows, schema by schema.

    Args:
        tallies: filled with the candidates of each split, kept and dropped by reason.
        advance: called after each schema.

    Raises:
        Failure: a held-out wording is one that training can produce.
    """
    sizes, tallies = sizes or Sizes(), {} if tallies is None else tallies
    refuse_trained_wording()
    asked: set[tuple[str | None, str]] = set()
    groups: tuple[Group, ...] = ("held_out", "dev") if tuning else ("held_out",)
    for group in groups:
        for row in held_out_rows(group, sizes, seed, tallies, advance):
            asked.add((row.cluster, row.messages[1].content))
            yield row
    tally = tallies.setdefault(TRAIN, Tally())
    for row in train_rows(sizes, seed, tally, advance):
        if (row.cluster, row.messages[1].content) in asked:
            tally.kept -= 1
            tally.dropped["asked in a held-out split"] += 1
        else:
            yield row


def refuse_trained_wording() -> None:
    """Raise Failure if a template of the exam or of tuning is one that training can produce."""
    for name in (wording.EXAM, wording.TUNING):
        same = wording.same_wording(wording.trained(), wording.load(name))
        if same:
            raise Failure(f"{len(same)} templates of wording/{name} are trained", found=f"{same[0][0]}: {same[0][1]}")


def held_out_rows(
    group: Group, sizes: Sizes, seed: int, tallies: dict[str, Tally], advance: Advance
) -> Iterator[Conversation]:
    """Yield the rows of the exam (group "held_out") or of tuning ("dev"), all splits on the same schemas."""
    sheets = [*text_sheets(group, tallies), sheet("repair" if group == "held_out" else "dev_repair", tallies)]
    for number, desk in enumerate(draw_desks(group, sizes.held_out_schemas, seed, advance), start=1):
        rng = random.Random(f"{seed}/{desk.name}")
        for one in sheets:
            due = sizes.tasks_per_split * number // sizes.held_out_schemas - one.tally.kept
            yield from text_rows(desk, one, due, rng) if one.pool else repair_rows(desk, one, due, rng)


def train_rows(sizes: Sizes, seed: int, tally: Tally, advance: Advance) -> Iterator[Conversation]:
    """Yield the training rows, those of one schema after another."""
    texts = Sheet(TRAIN, families("trained"), wording.trained(), True, tally, Counter())
    repairs = texts._replace(made=Counter())
    for desk in draw_desks("train", sizes.train_schemas, seed, advance):
        rng = random.Random(f"{seed}/{desk.name}")
        broken = int(sizes.tasks_per_schema * sizes.repair_share + rng.random())
        yield from text_rows(desk, texts, sizes.tasks_per_schema - broken, rng)
        yield from repair_rows(desk, repairs, broken, rng)


def sheet(
    split: str, tallies: dict[str, Tally], pool: tuple[Family, ...] = (), templates: wording.Wording | None = None
) -> Sheet:
    """Return the sheet of a split, its tally kept in `tallies`; courtesies and typing habits are trained wording."""
    said = wording.trained() if templates is None else templates
    return Sheet(split, pool, said, templates is None, tallies.setdefault(split, Tally()), Counter())


def text_sheets(group: Group, tallies: dict[str, Tally]) -> list[Sheet]:
    """Return the splits of questions in words that are drawn on a group of held-out schemas."""
    trained = families("trained")
    if group == "dev":
        new = wording.load(wording.TUNING)
        return [
            sheet("dev_seen_wording", tallies, trained),
            sheet("dev_new_wording", tallies, trained, new),
            sheet("dev_new_kind", tallies, families("tuning"), new),
        ]
    new = wording.load(wording.EXAM)
    return [
        sheet("seen_wording", tallies, trained),
        sheet("new_wording", tallies, trained, new),
        sheet("new_kind", tallies, families("held_out"), new),
    ]


def text_rows(desk: Desk, page: Sheet, count: int, rng: random.Random) -> Iterator[Conversation]:
    """Yield up to `count` questions in words on one schema, the kinds made least often first."""
    pool = {family.id: family for family in page.pool}
    for family_id in ROUNDS * in_turn(list(pool), page.made, rng):
        if count <= 0:
            return
        task = draw_task(pool[family_id], desk, page.tally, rng)
        if task is None:
            continue
        said = ask(task, page.templates, rng, typed=page.typed)
        if desk.accepts(said, task.gold, page.split, page.tally):
            page.made[family_id] += 1
            count -= 1
            yield desk.conversation(said, task, page.split)


def repair_rows(desk: Desk, page: Sheet, count: int, rng: random.Random) -> Iterator[Conversation]:
    """Yield up to `count` broken statements on one schema, the breakages made least often first."""
    pool = families("trained")
    for kind in ROUNDS * in_turn(list(BREAKAGES), page.made, rng):
        if count <= 0:
            return
        for family in rng.sample(pool, len(pool)):
            if not applies(kind, family, desk):
                continue
            task = draw_task(family, desk, page.tally, rng)
            said = ask_repair(task, kind, desk, rng) if task else None
            if task is None or said is None:
                continue
            if desk.accepts(said, said.question, page.split, page.tally):
                page.made[kind] += 1
                count -= 1
                yield desk.conversation(said, task, page.split)
            break


def in_turn(names: Sequence[str], made: Counter[str], rng: random.Random) -> list[str]:
    """Return the names, those made least often first, with some chance in it."""
    return sorted(names, key=lambda name: made[name] + rng.uniform(0, 1.5))


def applies(kind: str, family: Family, desk: Desk) -> bool:
    """Return whether a breakage can change the family's SQL, seen on an outline with words and numbers in its slots."""
    outline = re.sub(r"\{(\w+)\}", r"\1", re.sub(r"\{(n|m|k|d|id|lo|hi|year)\}", "5", family.sql))
    return kind in NEEDS_SCHEMA or BREAKAGES[kind](outline, desk.schema, random.Random(0)) not in (None, outline)
