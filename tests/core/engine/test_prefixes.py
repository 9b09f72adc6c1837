"""Prefixes shared by token sequences."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metier.core.engine.prefixes import Group, common_length, shared_prefix_groups

SEQUENCES = st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=12)


def cost(sequences: list[list[int]], groups: list[Group]) -> int:
    return sum(group.prefix + sum(len(sequences[row]) - group.prefix for row in group.rows) for group in groups)


@given(SEQUENCES)
def test_every_row_is_in_exactly_one_group_whose_prefix_it_has(sequences: list[list[int]]) -> None:
    groups = shared_prefix_groups(sequences, group_cost=0)
    assert sorted(row for group in groups for row in group.rows) == list(range(len(sequences)))
    for group in groups:
        first = sequences[group.rows[0]]
        assert all(common_length(first, sequences[row]) >= group.prefix for row in group.rows)


@given(SEQUENCES)
def test_grouping_never_costs_more_than_reading_each_row_alone(sequences: list[list[int]]) -> None:
    assert cost(sequences, shared_prefix_groups(sequences, group_cost=0)) <= sum(map(len, sequences))


def test_questions_about_two_schemas_form_two_groups() -> None:
    schemas = [[1, *range(100, 150)], [1, *range(200, 250)]]
    sequences = [schema + [300 + question] * 5 for schema in schemas for question in range(4)]
    groups = shared_prefix_groups(sequences)
    assert sorted((group.prefix, sorted(group.rows)) for group in groups) == [(51, [0, 1, 2, 3]), (51, [4, 5, 6, 7])]
    assert cost(sequences, groups) == 2 * (51 + 4 * 5)


def test_a_short_shared_prefix_is_not_worth_a_pass() -> None:
    assert shared_prefix_groups([[1, 2, 3], [1, 4, 5]], group_cost=16) == [Group(0, (0, 1))]


def test_prefixes_nested_deeper_than_recursion_goes_are_still_grouped() -> None:
    sequences = [list(range(length)) for length in range(1, 1500)]
    assert sum(len(group.rows) for group in shared_prefix_groups(sequences)) == len(sequences)
