"""Conversations and preferences out of the files that people have."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from metier.core import Host, LocalPath, Mistake, Workshop
from metier.core.chat import Message
from metier.core.types import Conversation, Preference
from metier.instruct.chat_data import ChatData, PreferenceData
from metier.instruct.formats import BadRow, choice, talk

ASKED, ANSWERED = Message("user", "2+2?"), Message("assistant", "4")

ROWS: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "2+2?", "input": "", "output": "4"},
    "alpaca response": {"instruction": "2+2?", "response": "4"},
    "sharegpt": {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
    "openai": {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]},
    "openai parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}]},
            {"role": "assistant", "content": "4"},
        ]
    },
    "prompt": {"prompt": "2+2?", "completion": "4"},
    "prompt messages": {
        "prompt": [{"role": "user", "content": "2+2?"}],
        "completion": [{"role": "assistant", "content": "4"}],
    },
    "openai as text": {"messages": '[{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]'},
}


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_every_format_says_the_same(row: dict[str, Any]) -> None:
    assert talk(row) == ([ASKED, ANSWERED], None)


def test_input_history_and_system_of_alpaca_come_in_their_order() -> None:
    row = {"instruction": "And", "input": "3+3?", "output": "6", "system": "Count.", "history": [["2+2?", "4"]]}
    messages = talk(row).messages
    assert messages == [
        Message("system", "Count."),
        ASKED,
        ANSWERED,
        Message("user", "And\n3+3?"),
        Message("assistant", "6"),
    ]


def test_a_weight_of_zero_leaves_an_answer_untrained() -> None:
    turns = [("user", None), ("assistant", 0), ("user", None), ("assistant", 1)]
    row: dict[str, Any] = {"messages": [{"role": role, "content": role, "weight": weight} for role, weight in turns]}
    assert talk(row).weights == [1, 0, 1, 1]
    row["messages"][3]["weight"] = 0.5
    with pytest.raises(BadRow, match="neither 0 nor 1"):
        talk(row)


def test_tools_calls_and_results_stay_readable_and_the_weights_keep_their_places() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    row = {
        "tools": [{"type": "function", "function": {"name": "add"}}],
        "messages": [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "4", "tool_call_id": "1"},
            {"role": "assistant", "content": "4", "weight": 1},
        ],
    }
    messages, weights = talk(row)
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert '"name": "add"' in messages[0].content
    assert messages[2].content == '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'
    assert weights == [0, 1, 1, 1, 1]
    sharegpt = {
        "conversations": [
            {"from": "human", "value": "2+2?"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2}}'},
            {"from": "observation", "value": "4"},
            {"from": "gpt", "value": "4"},
        ],
        "tools": json.dumps(row["tools"]),
    }
    assert talk(sharegpt).messages == messages


def test_reasoning_is_kept_or_dropped_as_asked() -> None:
    answer = {"role": "assistant", "content": "4", "reasoning_content": "two and two"}
    row = {"messages": [{"role": "user", "content": "2+2?"}, answer]}
    assert talk(row).messages[1].content == "<think>\ntwo and two\n</think>\n\n4"
    assert talk(row, reasoning=False).messages[1] == ANSWERED
    inline = {"prompt": "2+2?", "completion": "<think>\ntwo and two\n</think>\n\n4"}
    assert talk(inline) == talk(row)
    assert talk(inline, reasoning=False).messages[1] == ANSWERED


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"text": "hello"}, "no format"),
    "no output": ({"instruction": "2+2?", "answer": "4"}, "no 'output'"),
    "no answer": ({"messages": [{"role": "user", "content": "hi"}]}, "no answer"),
    "empty answer": ({"prompt": "hi", "completion": "  "}, "empty"),
    "no question": ({"messages": [{"role": "assistant", "content": "hi"}]}, "answers nothing"),
    "role": ({"messages": [{"role": "narrator", "content": "hi"}]}, "unknown role 'narrator'"),
    "image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "assistant", "content": "x"}]},
        "other than text",
    ),
    "no messages": ({"messages": []}, "not a list of messages"),
    "broken text": ({"messages": "[{"}, "not valid JSON"),
}


@pytest.mark.parametrize(("row", "said"), BAD.values(), ids=list(BAD))
def test_a_wrong_row_says_what_was_found_and_what_to_do(row: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRow, match=said) as caught:
        talk(row)
    assert caught.value.found and caught.value.hint


PAIRS: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
    "messages": {
        "prompt": [{"role": "user", "content": "2+2?"}],
        "chosen": [{"role": "assistant", "content": "4"}],
        "rejected": [{"role": "assistant", "content": "5"}],
    },
    "prompt in both": {
        "chosen": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}],
        "rejected": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "5"}],
    },
    "sharegpt": {
        "conversations": [{"from": "human", "value": "2+2?"}],
        "chosen": {"from": "gpt", "value": "4"},
        "rejected": {"from": "gpt", "value": "5"},
    },
    "alpaca": {"instruction": "2+2?", "input": "", "chosen": "4", "rejected": "5"},
    "openai": {
        "input": {"messages": [{"role": "user", "content": "2+2?"}]},
        "preferred_output": [{"role": "assistant", "content": "4"}],
        "non_preferred_output": [{"role": "assistant", "content": "5"}],
    },
}


@pytest.mark.parametrize("row", PAIRS.values(), ids=list(PAIRS))
def test_every_format_of_pairs_says_the_same(row: dict[str, Any]) -> None:
    assert choice(row) == ([ASKED], "4", "5")


def test_sides_that_answer_different_prompts_are_refused() -> None:
    row = PAIRS["prompt in both"] | {
        "rejected": [{"role": "user", "content": "3?"}, {"role": "assistant", "content": "5"}]
    }
    with pytest.raises(BadRow, match="not one answer"):
        choice(row)


def made(folder: Path, step: ChatData) -> list[Conversation]:
    return list(Workshop(folder / "w", Host(1, 1, 8 << 30)).make(step).rows())


def written(path: Path, rows: list[dict[str, Any]]) -> LocalPath:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    return LocalPath(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_conversations(tmp_path: Path, suffix: str) -> None:
    rows = [{"instruction": f"{n}+1?", "output": str(n + 1)} for n in range(3)]
    found = made(tmp_path, ChatData(files=(written(tmp_path / f"rows{suffix}", rows),)))
    assert [row.messages[-1].content for row in found] == ["1", "2", "3"]
    assert [row.split for row in found] == ["train"] * 3


def test_a_bad_row_stops_with_its_place_or_is_dropped_and_counted(tmp_path: Path) -> None:
    rows = [
        {"instruction": "1+1?", "output": "2"},
        {"instruction": "2+2?", "answer": "4"},
        {"instruction": "", "output": ""},
    ]
    file = written(tmp_path / "rows.jsonl", rows)
    with pytest.raises(Mistake, match=r"rows\.jsonl:2: the row has no 'output'") as caught:
        made(tmp_path, ChatData(files=(file,)))
    assert "columns: {output: answer}" in (caught.value.hint or "")
    artifact = Workshop(tmp_path / "w", Host(1, 1, 8 << 30)).make(ChatData(files=(file,), bad_rows="drop"))
    line = artifact.record.ledger.lines[0]
    assert (line.came, line.kept) == (3, 1)
    assert line.dropped == {"the row has no 'output'": 1, "empty row": 1}


def test_columns_rename_and_a_row_keeps_its_id_split_and_system(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", [{"id": "q1", "split": "held_out", "instruction": "2+2?", "answer": "4"}])
    step = ChatData(files=(file,), columns={"output": "answer"}, system="Count.", trained="last")
    (row,) = made(tmp_path, step)
    assert (row.id, row.split, row.weights) == ("q1", "held_out", [0, 0, 1])
    assert row.messages == [Message("system", "Count."), ASKED, ANSWERED]


def test_the_same_question_is_never_on_both_sides_of_the_split(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n % 40}", "completion": str(n)} for n in range(80)]
    found = made(tmp_path, ChatData(files=(written(tmp_path / "rows.jsonl", rows),), held_out_share=0.25))
    sides = {split: {row.messages[0].content for row in found if row.split == split} for split in ("train", "held_out")}
    assert 3 <= len(sides["held_out"]) <= 20
    assert not sides["train"] & sides["held_out"]


def test_files_that_are_damaged_are_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "x", "completion": "y"}\n{"prompt": ')
    with pytest.raises(Mistake, match=r"a\.jsonl:2 is not valid JSON"):
        made(tmp_path, ChatData(files=(LocalPath(tmp_path / "a.jsonl"),)))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(Mistake, match=r"b\.parquet is not valid Parquet"):
        made(tmp_path, ChatData(files=(LocalPath(tmp_path / "b.parquet"),)))
    (tmp_path / "c.csv").write_text("prompt,completion\na,b,c\n")
    with pytest.raises(Mistake, match=r"c\.csv:1 has more cells"):
        made(tmp_path, ChatData(files=(LocalPath(tmp_path / "c.csv"),)))


def test_pairs_keep_their_scores(tmp_path: Path) -> None:
    file = written(tmp_path / "pairs.jsonl", [PAIRS["texts"] | {"score_chosen": "0.9", "rejected_score": 0.2}])
    pairs = list(Workshop(tmp_path / "w", Host(1, 1, 8 << 30)).make(PreferenceData(files=(file,))).rows())
    assert pairs == [Preference("pairs.jsonl:1", [ASKED], "4", "5", 0.9, 0.2, "from a file", "pairs.jsonl")]
