"""Units in = units kept + units dropped, at every hand-over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core import Failure, Ledger, Line

counts = st.integers(min_value=0, max_value=10**12)


@given(kept=counts, dropped=st.dictionaries(st.text(min_size=1), counts, max_size=5))
def test_a_line_whose_drops_have_reasons_adds_up(kept: int, dropped: dict[str, int]) -> None:
    Line(unit="row", came=kept + sum(dropped.values()), kept=kept, dropped=dropped).check("here")


@given(kept=counts, lost=st.integers(min_value=1, max_value=10**6))
def test_a_silent_loss_fails(kept: int, lost: int) -> None:
    with pytest.raises(Failure, match="does not add up"):
        Line(unit="row", came=kept + lost, kept=kept).check("here")


def test_a_negative_count_fails_even_where_the_sum_is_right() -> None:
    with pytest.raises(Failure):
        Line(unit="row", came=1, kept=2, dropped={"found twice": -1}).check("here")


def test_what_comes_must_be_what_the_inputs_made() -> None:
    one, two = Ledger(lines=[Line(unit="x", came=9, kept=9, made={"row": 3})]), Ledger()
    two.add(Line(unit="row", came=3, kept=3, source="data"), "sft", {"data": [one]})
    with pytest.raises(Failure, match="were lost between 'data' and 'sft'"):
        two.add(Line(unit="row", came=2, kept=2, source="data"), "sft", {"data": [one]})


def test_several_inputs_of_one_field_are_added() -> None:
    parts = [Ledger(lines=[Line(unit="row", came=n, kept=n, made={"row": n})]) for n in (2, 5)]
    ledger = Ledger()
    ledger.add(Line(unit="row", came=7, kept=7, source="data"), "sft", {"data": parts})
    assert [line.came for line in ledger.lines] == [7]


def test_an_input_that_does_not_speak_of_the_unit_fails() -> None:
    with pytest.raises(Failure):
        Ledger().add(Line(unit="row", came=0, kept=0, source="data"), "sft", {"data": [Ledger()]})
