"""What rows lose, that answers end, and that what is shown as trained is what is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metier.core import Failure, Mistake, Workshop
from metier.core.chat import Message
from metier.core.types import Conversation
from metier.train import Sft
from metier.train.network import load_tokenizer
from metier.train.packing import Group, Row, window_of
from metier.train.safety import check_ends, fit, preview, runs, split_turns, stop_ids
from metier.train.sft import rendered
from tests.train.bench import HOST, Given, Talks, work_in

TALK = [Message("user", "one"), Message("assistant", "two"), Message("user", "three"), Message("assistant", "four")]

# Two answers, at 4..7 and 10..12.
ROW = Row("r", list(range(100, 112)), [False] * 4 + [True] * 3 + [False] * 3 + [True] * 2)


def test_the_answers_of_a_row_are_its_stretches_of_trained_tokens() -> None:
    assert runs(ROW.mask) == [(4, 7), (10, 12)]
    assert runs([]) == []


def test_truncating_counts_every_token_and_every_end_that_is_lost() -> None:
    found = fit([ROW], 11, "truncate")
    assert found.rows == [Row("r", ROW.ids[:11], ROW.mask[:11])]
    assert found.lost[0]._asdict() == {"name": "r", "tokens": 12, "lost_tokens": 1, "lost_trained": 1, "lost_ends": 1}
    nothing_left = fit([ROW, ROW._replace(name="s", ids=ROW.ids[:4], mask=ROW.mask[:4])], 4, "truncate")
    assert nothing_left.dropped == 1 and [row.name for row in nothing_left.rows] == ["s"]


def test_splitting_makes_a_row_of_each_answer_and_loses_none() -> None:
    first, second = split_turns(ROW)
    assert (first.ids, runs(first.mask)) == (ROW.ids[:7], [(4, 7)])
    assert (second.ids, runs(second.mask)) == (ROW.ids, [(10, 12)])
    padded = Row("p", [*ROW.ids, 0, 0], [*ROW.mask, False, False])
    found = fit([padded], 12, "split")
    assert [row.trained for row in found.rows] == [3, 2] and found.dropped == 0
    assert found.lost[0].lost_trained == 0
    with pytest.raises(Mistake, match="too long already"):
        fit([ROW], 11, "split")


def test_all_rows_that_cannot_be_split_are_told_at_once_with_a_length_that_holds_them() -> None:
    rows = [Row(f"r{n}", [1] * n, [False, *[True] * (n - 1)]) for n in (20, 30, 10)]
    with pytest.raises(Mistake, match="2 of 3 rows") as caught:
        fit(rows, 15, "split")
    assert (caught.value.found or "").startswith("r30 (30 tokens), r20")
    assert caught.value.hint == "set sequence_length: 30, or too_long: drop or truncate"
    assert len(fit(rows, 30, "split").rows) == 3
    with pytest.raises(Mistake) as caught:
        fit(rows, 15, "raise", "drop")  # a step that can do no more
    assert caught.value.hint == "set sequence_length: 30, or too_long: drop"


def test_too_long_rows_are_named_worst_first() -> None:
    rows = [Row(f"r{n}", [1] * n, [True] * n) for n in (30, 10, 20)]
    with pytest.raises(Mistake, match="2 of 3 rows") as caught:
        fit(rows, 15, "raise")
    assert (caught.value.found or "").startswith("r30 (30 tokens), r20")
    found = fit(rows, 15, "drop")
    assert [row.name for row in found.rows] == ["r10"] and [one.name for one in found.lost] == ["r30", "r20"]


def test_an_answer_that_does_not_end_its_turn_stops_the_training(tiny_model_folder: Path, tmp_path: Path) -> None:
    tokenizer, work = load_tokenizer(tiny_model_folder), work_in(tmp_path)
    (row,) = rendered([Conversation("c", TALK, "t")], tokenizer)
    ends = {row.ids[end - 1] for _, end in runs(row.mask)}
    assert tokenizer.decode(list(ends)) == "<|im_end|>"
    assert check_ends([window_of([Group((row,), 0)])], set(), tiny_model_folder, tokenizer, work) == 2
    assert work.warnings == []
    cut = Row("c", row.ids, [trained and token not in ends for trained, token in zip(row.mask, row.ids, strict=True)])
    windows = [window_of([Group((cut,), 0)])]
    with pytest.raises(Failure, match="row c does not end"):
        check_ends(windows, set(), tiny_model_folder, tokenizer, work)
    assert check_ends(windows, {"c"}, tiny_model_folder, tokenizer, work) == 0  # cut by the user's choice


def test_an_end_at_which_no_server_stops_is_told(tiny_model_folder: Path, tmp_path: Path) -> None:
    tokenizer, work = load_tokenizer(tiny_model_folder), work_in(tmp_path / "work")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [0]}')
    (row,) = rendered([Conversation("c", TALK, "t")], tokenizer)
    check_ends([window_of([Group((row,), 0)])], set(), tmp_path, tokenizer, work)
    assert "trained to end in <|im_end|>" in work.warnings[0]
    assert stop_ids(tmp_path / "none", tokenizer) == {tokenizer.eos_token_id}


def test_the_preview_marks_answers_with_their_end_and_nothing_else(tiny_model_folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    (row,) = rendered([Conversation("c", TALK, "t")], tokenizer)
    preview([window_of([Group((row,), 0)])], tokenizer, tmp_path / "masks.txt")
    text = (tmp_path / "masks.txt").read_text()
    marked = [part.split("⟧")[0] for part in text.split("⟦")[1:]]
    assert marked == ["two<|im_end|>", "four<|im_end|>"]


def test_a_message_of_weight_zero_is_not_trained(tiny_model_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    both, last = rendered([Conversation("a", TALK, "t"), Conversation("b", TALK, "t", weights=[1, 0, 1, 1])], tokenizer)
    assert both.ids == last.ids
    assert runs(last.mask) == runs(both.mask)[1:]


def test_sft_tells_what_rows_lost_before_it_trains(tiny_model_folder: Path, tmp_path: Path) -> None:
    step = Sft(base=Given(at=str(tiny_model_folder)), data=(Talks(),), sequence_length=103, too_long="truncate")
    model = Workshop(tmp_path, HOST).make(step)
    table = json.loads((model.folder / "rows.json").read_text())
    assert table["rows"] == 36 and 0 < table["too_long"] < 36
    assert table["answers_without_their_end"] <= table["too_long"]
    assert sum(one["lost_tokens"] for one in table["worst"]) <= table["lost_tokens"]
    assert "tokens are lost" in model.record.warnings[0]
    assert "⟦" in (model.folder / "masks.txt").read_text()
