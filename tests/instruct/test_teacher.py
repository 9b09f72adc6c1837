from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from metier.core.chat import REFUSALS, Message, Refused, Reply, ScriptedChat
from metier.core.questions import Pair, Rejected
from metier.core.types import Document
from metier.instruct.teacher import Teacher, parts, read_pairs
from tests.train.bench import work_in

FACT = "A checkpoint moves the pages of the log back into the database file."
TEXT = (
    "# Logs\n\n" + FACT + "\n\n```\ncode();\n```\n\n" + "The log is a file of its own that grows with every write. " * 6
)
DOCUMENT = Document("d1", TEXT, "logs.md", "Logs")
GOOD = json.dumps([{"question": "What does a checkpoint do?", "answer": FACT}])


def reply(text: str, finished: bool = True) -> Reply:
    return Reply(text, 1, finished)


def test_grounded_answers_are_kept_and_invented_ones_are_not(tmp_path: Path) -> None:
    rows = [
        {"question": "What does a checkpoint do?", "answer": FACT},
        {"question": "What colour is the log?", "answer": "The log is always painted in bright blue."},
        {"question": "Why?", "answer": FACT},
    ]
    asked = Teacher(ScriptedChat([json.dumps(rows)]), "m", 3, tmp_path / "replies.jsonl")(DOCUMENT)
    assert asked.pairs == [Pair("teacher", "What does a checkpoint do?", FACT)]
    assert asked.rejected == {"teacher's answer is not in the document": 1, "teacher's pair is incomplete": 1}


def test_nothing_is_asked_twice_even_after_a_kill_in_mid_line(tmp_path: Path) -> None:
    kept = tmp_path / "replies.jsonl"
    Teacher(ScriptedChat([GOOD]), "m", 3, kept)(DOCUMENT)
    with kept.open("a") as out:
        out.write('{"key": "cut')
    silent = ScriptedChat([])  # raises if it is asked
    assert Teacher(silent, "m", 3, kept)(DOCUMENT).pairs and not silent.asked
    other = ScriptedChat([GOOD])
    Teacher(other, "another model", 3, kept)(DOCUMENT)
    assert len(other.asked) == 1
    assert Teacher(ScriptedChat([]), "another model", 3, kept)(DOCUMENT).pairs


PAINTED = DOCUMENT._replace(id="d2", text="The log is painted in a colour that nobody asks about. " * 6)


def strict(messages: Sequence[Message]) -> str:
    if "painted" in messages[1].content:
        raise Refused("no", found="400: not this")
    return GOOD


def test_a_part_that_the_endpoint_refuses_is_counted_and_told(tmp_path: Path) -> None:
    teacher, work = Teacher(ScriptedChat(strict), "m", 3, tmp_path / "replies.jsonl"), work_in(tmp_path)
    assert teacher(DOCUMENT).pairs
    teacher.tell(work)
    assert not work.warnings
    for _ in range(2 * REFUSALS):
        assert teacher(PAINTED).rejected == {"the teacher's endpoint refused to be asked": 1}
    teacher.tell(work)
    assert work.warnings == ["the teacher's endpoint refused 64 requests, the first so: 400: not this"]


def test_an_endpoint_that_refuses_everything_is_a_failure(tmp_path: Path) -> None:
    teacher = Teacher(ScriptedChat(strict), "m", 3, tmp_path / "replies.jsonl")
    for _ in range(REFUSALS - 1):
        teacher(PAINTED)
    with pytest.raises(Refused):
        teacher.tell(work_in(tmp_path))
    with pytest.raises(Refused):
        teacher(PAINTED)


def test_a_reply_that_is_no_list_has_its_reason() -> None:
    assert list(read_pairs(reply("I cannot help."), TEXT)) == [Rejected("teacher's reply is no list of pairs")]
    assert list(read_pairs(reply('[{"question"', finished=False), TEXT)) == [Rejected("teacher's reply was cut")]
    assert list(read_pairs(reply("[" * 9000 + "]"), TEXT)) == [Rejected("teacher's reply is no list of pairs")]
    assert isinstance(next(iter(read_pairs(reply(f"Sure!\n```json\n{GOOD}\n```"), FACT))), Pair)


def test_parts_are_whole_blocks_without_code() -> None:
    text = "\n\n".join(f"Paragraph {number}. " + "word " * 80 for number in range(20))
    found = list(parts(text + "\n\n```\ncode();\n```"))
    assert len(found) > 3 and all(len(part) < 2400 for part in found)
    assert "code();" not in "".join(found)
    assert "".join("".join(found).split()).startswith("Paragraph0.word")
