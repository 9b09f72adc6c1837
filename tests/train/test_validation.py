"""Rows that are set aside, and the weights that their loss chooses."""

from __future__ import annotations

from pathlib import Path

import pytest

from metier.core import Failure
from metier.train.packing import Row
from metier.train.validation import best_weights, prompt_of, set_aside
from tests.train.bench import rows_with_prefixes


def test_rows_set_aside_are_the_same_in_every_attempt() -> None:
    rows = rows_with_prefixes(0, 20)
    train, held = set_aside(rows, 0.2, 3, lambda row: row.name)
    assert len(held) == 4 and sorted([*train, *held]) == sorted(rows)
    assert set_aside(rows, 0.2, 3, lambda row: row.name) == (train, held)
    twice = set_aside([*rows, *rows], 0.2, 3, lambda row: row.name)  # two epochs, or two pieces of one document
    assert not {row.name for row in twice[0]} & {row.name for row in twice[1]}


def test_answers_to_one_prompt_are_all_set_aside_or_none() -> None:
    rows = [Row(f"{at}", [1, at // 3, 5, at], [False, False, True, True]) for at in range(30)]
    train, held = set_aside(rows, 0.2, 3, prompt_of)
    assert len(held) == 6 and not {row.ids[1] for row in train} & {row.ids[1] for row in held}


def test_without_the_best_weights_a_validated_training_does_not_pass_off_the_last_ones(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="lowest validation loss are gone"):
        best_weights(tmp_path)
