"""Every answer was executed, nothing of the exam is trained, and the same fields give the same rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

from metier.core import Failure, Workshop
from metier.core.scorers import scorer_for
from metier.core.types import Conversation
from metier.instruct.sql import wording
from metier.instruct.sql.desk import Tally
from metier.instruct.sql.families import families
from metier.instruct.sql.schemas import themes
from metier.instruct.sql.tasks import Sizes, generate, held_out_rows
from metier.instruct.sql_tasks import SqlTasks

SMALL = Sizes(train_schemas=24, held_out_schemas=5, tasks_per_split=25)


@cache
def rows() -> Sequence[Conversation]:
    return list(generate(3, SMALL, tuning=True))


def of(split: str) -> list[Conversation]:
    return [row for row in rows() if row.split == split]


def tables(row: Conversation) -> set[str]:
    return set(re.findall(r"(\w+)\(", row.messages[0].content))


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert list(generate(3, SMALL, tuning=True)) == rows()
    assert list(generate(4, SMALL, tuning=True)) != rows()


def test_every_gold_answer_is_right_by_execution() -> None:
    for row in rows():
        assert row.check is not None
        score = scorer_for(row.check["scorer"]).score(row.check, row.messages[-1].content)
        assert score.value == 1, (row.messages, score)


def test_showing_a_whole_table_answers_nothing() -> None:
    for row in rows():
        assert row.check is not None
        for table in tables(row):
            assert scorer_for("sqlite").score(row.check, f"SELECT * FROM {table};").value == 0, row.messages


def test_the_broken_statement_of_a_repair_is_wrong() -> None:
    repairs = [row for row in rows() if row.task.startswith("repair/")]
    assert len(repairs) > 60
    for row in repairs:
        assert row.check is not None
        broken = re.search(r"\b(?:[A-Z_]{4,} |WITH )[^;]*;", row.messages[1].content)
        assert broken is None or scorer_for("sqlite").score(row.check, broken[0]).value == 0, row.messages[1]


def test_no_table_of_the_exam_is_trained_on() -> None:
    trained = {table for row in of("train") for table in tables(row)}
    for row in rows():
        assert row.split == "train" or not tables(row) & trained
    entities = [{one.name for pair in themes(group) for one in pair} for group in ("train", "dev", "held_out")]
    assert sum(map(len, entities)) == len(set.union(*entities))


def test_no_kind_that_is_held_out_is_trained() -> None:
    kinds = {
        split: {row.source.split("/")[0].removeprefix("sql:") for row in of(split)}
        for split in ("train", "new_kind", "dev_new_kind")
    }
    assert kinds["train"] <= {family.id for family in families("trained")}
    assert kinds["new_kind"] <= {family.id for family in families("held_out")}
    assert kinds["dev_new_kind"] <= {family.id for family in families("tuning")}


@pytest.mark.parametrize("file", [wording.EXAM, wording.TUNING])
def test_no_wording_of_the_exam_or_of_tuning_is_trained(file: str) -> None:
    assert wording.same_wording(wording.trained(), wording.load(file)) == []
    other = wording.EXAM if file == wording.TUNING else wording.TUNING
    assert wording.same_wording(wording.load(other), wording.load(file)) == []


def test_generating_refuses_held_out_wording_that_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    leaked = {"count_all": ("how many {rows} are there altogether",)}
    monkeypatch.setattr(wording, "load", lambda name: leaked)
    with pytest.raises(Failure, match="are trained"):
        next(generate(0, SMALL))


@pytest.mark.parametrize("file", [*wording.TRAINED, wording.TUNING, wording.EXAM])
def test_every_template_names_all_slots_of_its_family_and_no_other(file: str) -> None:
    silent = {"table", "ptable", "fk", "d"}  # the schema, the link and a number of digits are said by other slots
    always = {"table", "ptable", "rows", "row", "parents", "parent"}
    for family in families("trained", "held_out", "tuning"):
        needed = (family.slots - silent) | ({"places"} if "d" in family.slots else set())
        for template in wording.load(file).get(family.id, ()):
            named = set(wording.SLOT.findall(template))
            singular = {slot.removesuffix("s") if slot.removesuffix("s") in needed else slot for slot in named}
            assert needed <= singular <= needed | always, (family.id, template)


def test_every_kind_is_worded_many_times_for_training_and_for_the_exam() -> None:
    for family in families("trained"):
        assert len(wording.trained()[family.id]) >= 15, family.id
    for family in families("trained", "held_out"):
        assert len(wording.load(wording.EXAM)[family.id]) >= 4, family.id
    for family in families("trained", "tuning"):
        assert len(wording.load(wording.TUNING)[family.id]) >= 2, family.id


def test_the_rows_of_a_schema_follow_each_other_and_share_their_system_message() -> None:
    systems = [system for system, _ in groupby(of("train"), key=lambda row: row.messages[0].content)]
    assert len(systems) == len(set(systems)) == SMALL.train_schemas


def test_ids_and_questions_on_a_schema_are_all_different() -> None:
    assert len({row.id for row in rows()}) == len(rows())
    assert len({(row.split, row.cluster, row.messages[1].content) for row in rows()}) == len(rows())


def test_by_default_every_split_has_at_least_96_tasks_on_12_schemas_or_more() -> None:
    tallies: dict[str, Tally] = {}
    drawn = list(held_out_rows("held_out", Sizes(), 0, tallies, lambda n: None))
    assert set(tallies) == {"seen_wording", "new_wording", "new_kind", "repair"}
    for split, tally in tallies.items():
        assert tally.kept >= 96
        assert len({row.cluster for row in drawn if row.split == split}) >= 12


def test_the_step_writes_what_the_generator_gives_and_its_ledger_adds_up(tmp_path: Path) -> None:
    step = SqlTasks(seed=3, train_schemas=24, held_out_schemas=5, tasks_per_split=25, tuning=True)
    made = Workshop(tmp_path).make(step)
    assert list(made.rows()) == rows()
    assert made.record.ledger.made("conversation") == len(rows())
    for line in made.record.ledger.lines:
        assert line.came == line.kept + sum(line.dropped.values())
    assert made.record.figures["splits"]["train"] == len(of("train")) == 24 * 9
