from __future__ import annotations

import random

import pytest

from metier.train.packing import (
    NOT_TRAINED,
    Group,
    Row,
    cut,
    optimizer_batches,
    share_prefixes,
    shareable,
    window_of,
    windows_of,
    windows_per_batch,
)
from tests.train.bench import rows_with_prefixes


def test_every_row_is_in_exactly_one_group() -> None:
    rows = rows_with_prefixes(0, 20)
    groups = share_prefixes(rows, 128, 4, random.Random(0))
    assert sorted(row.name for group in groups for row in group.rows) == sorted(row.name for row in rows)


def test_a_shared_prefix_stops_before_the_token_that_predicts_the_first_trained_one() -> None:
    row = Row("a", [5, 6, 7, 8, 9], [False, False, False, True, True])
    assert shareable(row) == 2  # 7, at index 2, predicts 8: rows of a group may differ there


def test_rows_that_begin_alike_share_the_beginning_once() -> None:
    prompt = list(range(100, 130))
    rows = [Row(name, [*prompt, 7, answer, 2], [False] * 31 + [True] * 2) for name, answer in (("a", 8), ("b", 9))]
    (group,) = share_prefixes(rows, 512, 8, random.Random(0))
    assert group.prefix == 30  # the 31st token, 7, predicts the first answer token
    assert group.tokens == 30 + 2 * 3


def test_rows_that_do_not_begin_alike_share_nothing() -> None:
    rows = [Row(str(i), [i * 50 + k for k in range(40)], [False] * 30 + [True] * 10) for i in range(4)]
    assert {group.prefix for group in share_prefixes(rows, 512, 8, random.Random(0))} == {0}


def test_no_group_is_longer_or_has_more_rows_than_allowed() -> None:
    groups = share_prefixes(rows_with_prefixes(1, 60), 100, 5, random.Random(0))
    assert max(group.tokens for group in groups) <= 100
    assert max(len(group.rows) for group in groups) <= 5


def test_a_window_has_no_padding_and_each_row_its_own_positions_and_targets() -> None:
    a = Row("a", [1, 2, 3, 10], [False, False, False, True])
    b = Row("b", [1, 2, 4, 11, 12], [False, False, False, True, True])
    window = window_of([Group((a, b), 2)])
    assert list(window.ids) == [1, 2, 3, 10, 4, 11, 12]
    assert list(window.positions) == [0, 1, 2, 3, 2, 3, 4]
    x = NOT_TRAINED
    assert list(window.targets) == [x, x, 10, x, 11, 12, x]
    assert list(window.row_of) == [0, 0, 0, 0, 1, 1, 1]
    assert window.trained == a.trained + b.trained == 3


def test_batches_are_of_one_size_with_no_small_rest() -> None:
    groups = [Group((Row(str(i), [1, 2], [False, True]),), 0) for i in range(41)]
    sizes = [len(batch) for batch in optimizer_batches(groups, [1] * 41, 8)]
    assert sizes == [8, 8, 9, 8, 8]  # 41 / 8 rounds to 5 batches of 8.2


def test_all_batches_are_cut_into_the_same_number_of_windows() -> None:
    groups = share_prefixes(rows_with_prefixes(2, 64), 96, 2, random.Random(0))
    batches = optimizer_batches(groups, [len(group.rows) for group in groups], 16)
    count = windows_per_batch(batches, 200)
    cuts = [windows_of(batch, count) for batch in batches]
    assert {len(windows) for windows in cuts} == {count}
    assert sum(len(window.names) for windows in cuts for window in windows) == 64


@pytest.mark.parametrize(("processes", "count"), [(1, 3), (2, 4), (4, 4), (8, 8), (64, 16)])
def test_batches_are_cut_for_all_processes_as_far_as_there_are_rows(processes: int, count: int) -> None:
    batch = [Group((Row(str(at), [1] * 30, [True] * 30),), 0) for at in range(16)]  # 480 tokens
    assert windows_per_batch([batch, batch], 200, processes) == count


def test_a_document_is_cut_only_when_longer_than_the_window() -> None:
    assert cut(range(10), 10) == [list(range(10))]
    assert [len(piece) for piece in cut(range(21), 10)] == [7, 7, 7]
    assert [token for piece in cut(range(1001), 64) for token in piece] == list(range(1001))
