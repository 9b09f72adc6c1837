"""A team's own exam: what is read, and what is wrong with rows, by row and field."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest

from metier.core import Artifact, Host, LocalPath, Mistake, Workshop
from metier.core.types import Conversation
from metier.evaluate import OwnExam
from metier.evaluate.material import Material, read_material
from metier.evaluate.multiple_choice import Item
from metier.evaluate.own_rows import Bad, duplicates, own_row
from metier.evaluate.own_table import lines
from tests.evaluate.exam_steps import SomeDocuments

HOST = dataclasses.replace(Host.here(), threads=1, gpus=())


def made(folder: Path, name: str, text: str | bytes, **fields: object) -> tuple[Path, Material]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    exam = Workshop(folder / "runs", HOST).make(OwnExam(files=(LocalPath(path),), **fields))
    return exam.folder, read_material(exam.folder)


def choice(**cells: object) -> Item | Bad | Conversation:
    return own_row({"question": "Which is it?", "a": "red", "b": "green", "c": "blue", **cells})


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "b.", "green", " Green "])
def test_an_answer_is_a_letter_or_the_text_of_an_option(answer: str) -> None:
    row = choice(answer=answer)
    assert isinstance(row, Item) and row.options == ["red", "green", "blue"] and row.answer == 1


def test_a_number_names_an_option_only_where_it_cannot_be_meant_otherwise() -> None:
    assert isinstance(choice(answer=0), Item) and isinstance(choice(answer="3"), Item)
    doubt = choice(answer=1)  # "green" counted from 0, "red" from 1
    assert isinstance(doubt, Bad) and doubt.field == "answer" and "could be" in doubt.what
    row = {"question": "Which?", "options": ["red", "green", "blue"], "answer": 1}
    from_0, from_1 = own_row(row, "index from 0"), own_row(row, "index from 1")
    assert isinstance(from_0, Item) and from_0.answer == 1
    assert isinstance(from_1, Item) and from_1.answer == 0


def test_a_text_that_is_also_the_letter_of_another_option_is_asked_back() -> None:
    row = {"question": "Which grade?", "options": ["B", "A", "C"], "answer": "B"}
    assert isinstance(own_row(row), Bad)
    text = own_row(row, "text")
    assert isinstance(text, Item) and text.answer == 0


@pytest.mark.parametrize(
    ("row", "field", "what"),
    [
        ({"question": " ", "answer": "x"}, "question", "empty"),
        ({"question": "Why?"}, "answer", "empty"),
        ({"question": "Why?", "a": "x", "b": "y", "answer": ""}, "answer", "empty"),
        ({"question": "Why?", "a": "x", "b": "y", "answer": "z"}, "answer", "not among"),
        ({"question": "Why?", "a": "x", "b": "y", "answer": "C"}, "answer", "not among"),
        ({"question": "Why?", "a": "x", "b": "X ", "answer": "A"}, "options", "same option twice"),
        ({"question": "Why?", "a": "x", "answer": "A"}, "options", "fewer than two"),
        ({"question": "Why?", "a": "x", "c": "y", "answer": "A"}, "options", "option B is empty"),
        ({"question": "Why?", "options": 3, "answer": "A"}, "options", "no list"),
        ({"question": "Why?", "options": "[1, 2", "answer": "A"}, "options", "no JSON list"),
        ({"question": "Why?", "check": "{}"}, "check", "scorer"),
        ({"question": "Why?", "check": {"scorer": "agrement", "reference": "a"}}, "check", "no scorer"),
        ({"question": "Why?", "gold": "SELECT 1", "databases": "[]"}, "databases", "missing"),
        ({"question": "Why?", "gold": "SELEC 1", "databases": ["CREATE TABLE t(a)"]}, "reference", "syntax error"),
        ({"question": "Why?", "reference": "!?"}, "check", "reference"),
        ({"question": "Why?", "a": "x", "b": "y", "answer": "9" * 400}, "answer", "not among"),
        ({"question": "Why?", "a": "x", "option a": "y", "b": "z", "answer": "A"}, "options", "two columns for one"),
        ({"question": "Why?", "options": "[" * 100_000, "answer": "A"}, "options", "no JSON list"),
        ({"question": "Why?", "wahl a": "x", "wahl b": "y", "answer": "B"}, "options", "missing"),
        ({"question": "Why?", "reference": "So.", "accepts": "Thus."}, "accepts", "no JSON list"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(row: dict[str, object], field: str, what: str) -> None:
    bad = own_row(row)
    assert isinstance(bad, Bad) and bad.field == field and what in bad.what


def test_open_and_executed_rows_carry_what_grades_them() -> None:
    told = own_row({"question": "Why?", "reference": "Because.", "accepts": '["So."]', "dimension": "reasoning"})
    assert isinstance(told, Conversation)
    assert told.check == {
        "scorer": "agreement", "reference": "Because.", "accepts": ["So."], "dimension": "reasoning"
    }  # fmt: skip
    run = own_row(
        {"question": "All of t?", "gold": "SELECT a FROM t", "databases": "CREATE TABLE t(a)", "system": "t(a)"}
    )
    assert isinstance(run, Conversation) and run.check is not None
    assert run.check["databases"] == ["CREATE TABLE t(a)"] and run.messages[-1].content == "SELECT a FROM t"
    assert [message.role for message in run.messages] == ["system", "user", "assistant"]
    tested = own_row({"question": "Write f.", "tests": "assert f(1) == 1", "answer": "def f(x): return x"})
    assert isinstance(tested, Conversation) and tested.check == {"scorer": "program", "tests": "assert f(1) == 1"}


CSV = """question,A,B,C,D,E,answer,reference,dimension
"What, then?",one,two,,,,B,,reasoning
Which of five?,1st,2nd,3rd,4th,5th,5th,,
Explain it.,,,,,,,It is so.,terminology
"""


def test_a_csv_of_mixed_questions_becomes_an_exam(tmp_path: Path) -> None:
    folder, material = made(tmp_path, "exam.csv", "\ufeff" + CSV)
    assert [len(item.options) for item in material.items] == [2, 5]
    assert [item.answer for item in material.items] == [1, 4]
    assert [row.messages[-1].content for row in material.rows] == ["It is so."]
    assert material.items[0].dimension == "reasoning"
    assert json.loads((folder / "record.json").read_text())["figures"]["counts"]["items"] == 2


def test_the_sheet_of_an_exam_is_an_exam_again(tmp_path: Path) -> None:
    folder, material = made(tmp_path, "exam.csv", CSV)
    _, again = made(tmp_path, "again.csv", (folder / "questions.csv").read_bytes())
    assert [item.question for item in again.items] == [item.question for item in material.items]
    assert [item.options[item.answer] for item in again.items] == ["two", "5th"]
    assert [row.id for row in again.rows] == [row.id for row in material.rows]
    assert again.items[0].dimension == "reasoning"


BAD = CSV + 'No answer?,one,two,,,,,,\nWHAT,  THEN?,one,two\n"what,  then?",one,two,,,,A,,\n,one,two,,,,A,,\n'


def test_bad_rows_stop_the_step_and_are_named_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(Mistake) as raised:
        made(tmp_path, "exam.csv", BAD)
    told = str(raised.value)
    assert "4 of 7 rows" in told
    assert "exam.csv:6 answer is empty" in told
    assert "exam.csv:5 answer is empty" in told
    assert "exam.csv:7 question is asked in exam.csv:2 already, with another answer" in told
    assert "exam.csv:8 question is empty" in told


CORRECT = {"question": "Which of the following is correct?", "answer": "A"}
ALL = {"question": "All of t?", "gold": "SELECT a FROM t", "databases": ["CREATE TABLE t(a)"]}


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (CORRECT | {"a": "red", "b": "blue"}, CORRECT | {"a": "one", "b": "two"}, None),
        (CORRECT | {"a": "red", "b": "blue"}, CORRECT | {"a": "Blue", "b": "RED", "answer": "B"}, "already"),
        (CORRECT | {"a": "red", "b": "blue"}, CORRECT | {"a": "blue", "b": "red"}, "already, with another answer"),
        (ALL, ALL | {"databases": ["CREATE TABLE t(a, b)"]}, None),
        (ALL, ALL | {"system": "t(a) has the orders"}, None),
        (ALL | {"system": "Short."}, ALL | {"system": "short. ", "id": "x"}, "already"),
        (ALL, ALL | {"gold": "SELECT a FROM t ORDER BY a"}, "already, with another answer"),
        ({"question": "Why?", "reference": "So."}, {"question": "why?", "reference": "Thus."}, "with another answer"),
    ],
)
def test_a_question_is_asked_again_where_all_that_is_given_with_it_is_the_same(
    first: dict[str, object], second: dict[str, object], told: str | None
) -> None:
    read = [own_row(row) for row in (first, second)]
    found = duplicates((f"exam:{at}", row) for at, row in enumerate(read, 1) if not isinstance(row, Bad))
    if told is None:
        assert not found
    else:
        assert list(found) == ["exam:2"] and found["exam:2"].what.endswith(told)


def test_bad_rows_are_left_out_counted_and_listed_where_that_is_wished(tmp_path: Path) -> None:
    folder, material = made(tmp_path, "exam.csv", BAD, bad_rows="drop")
    (line,) = Artifact(folder).record.ledger.lines
    assert (line.unit, line.came, line.kept) == ("row", 7, 3) and len(material.items) + len(material.rows) == 3
    assert line.dropped == {
        "answer is empty": 2,
        "question is asked": 1,
        "question is empty": 1,
    }
    places = [row.split("\t")[0] for row in (folder / "bad_rows.tsv").read_text().splitlines()]
    assert places == ["place", "exam.csv:5", "exam.csv:6", "exam.csv:7", "exam.csv:8"]


def test_no_more_than_ten_bad_rows_are_shown(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"question": f"Number {at}?"}) + "\n" for at in range(30))
    with pytest.raises(Mistake, match="30 of 30 rows") as raised:
        made(tmp_path, "exam.jsonl", rows)
    assert str(raised.value).count("exam.jsonl:") == 10 and "and 20 more" in str(raised.value)


def test_a_file_in_another_encoding_is_named_with_the_line_or_read_as_told(tmp_path: Path) -> None:
    text = "question,reference\nPlain?,Yes it is\nWas heißt das?,Größe\n"
    with pytest.raises(Mistake, match=r"exam\.csv:3 is not utf-8"):
        made(tmp_path, "exam.csv", text.encode("cp1252"))
    assert len(made(tmp_path, "western.csv", text.encode("cp1252"), encoding="cp1252")[1].rows) == 2
    assert len(made(tmp_path, "excel.csv", text.encode("utf-16"))[1].rows) == 2


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("exam.csv", "frage,antwort\na,b\n", "no column 'question'"),
        ("exam.csv", "question,a,A,answer\n", "two columns 'a'"),
        ("exam.xlsx", "x", "no exam file"),
        ("exam.csv", "question,reference\n", "no questions"),
        ("exam.csv", "", "no questions"),
    ],
)
def test_a_file_that_is_no_exam_is_a_mistake(tmp_path: Path, name: str, text: str, what: str) -> None:
    with pytest.raises(Mistake, match=what):
        made(tmp_path, name, text)


def test_a_broken_line_of_json_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "a"}\n{"question": \n[1]\n\n{"question": "b"}\n')
    found = list(lines(path, "utf-8"))
    assert [line.number for line in found] == [1, 2, 3, 5]
    assert [isinstance(line.row, Bad) for line in found] == [False, True, True, False]


@pytest.mark.parametrize(
    "row", ['"never closed,no', '"Why" me?,no', f'Why?,"{"word " * 40_000}"'], ids=["open", "inside", "huge"]
)
def test_a_table_that_breaks_off_is_refused_for_nobody_can_count_what_is_lost(tmp_path: Path, row: str) -> None:
    with pytest.raises(Mistake, match=r"exam\.csv:3 cannot be read, nor can what follows"):
        made(tmp_path, "exam.csv", f"question,reference\nfine?,yes\n{row}\nlost?,no\n", bad_rows="drop")


@pytest.mark.parametrize(
    "row",
    ['{"question": "Why \\ud800?", "reference": "so"}', '{"question": ' + "[" * 100_000, '{"A": 1, "a": 2}'],
    ids=["half a character", "deep", "two fields of one name"],
)
def test_a_line_of_json_that_cannot_be_kept_is_a_bad_row(tmp_path: Path, row: str) -> None:
    text = f'{row}\n{{"question": "And this one?", "reference": "It is fine."}}\n'
    folder, material = made(tmp_path, "exam.jsonl", text, bad_rows="drop")
    assert len(material.rows) == 1 and "exam.jsonl:1\tthe line" in (folder / "bad_rows.tsv").read_text()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_header_says_what_separates_cells_and_utf8_has_many_names(tmp_path: Path, separator: str) -> None:
    text = '\ufeff"question",A,B,answer\n表一是什么?,1.5,2.5,Ｂ\n'.replace(",", separator).replace("\n", "\r\n")
    (item,) = made(tmp_path, "exam.csv", text, encoding="utf8")[1].items
    assert item.question == "表一是什么?" and item.options[item.answer] == "2.5"


@pytest.mark.parametrize("encoding", ["utf-9", "undefined", ""])
def test_an_encoding_that_is_none_is_a_mistake(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(Mistake, match="no such encoding"):
        made(tmp_path, "exam.csv", CSV, encoding=encoding)


def test_the_sheet_keeps_other_right_answers_and_orders_to_the_system(tmp_path: Path) -> None:
    row = {"question": "Why?", "reference": "Because.", "accepts": ["So."], "system": "Be brief."}
    folder, _ = made(tmp_path, "exam.jsonl", json.dumps(row))
    (again,) = made(tmp_path, "again.csv", (folder / "questions.csv").read_bytes())[1].rows
    assert again.check is not None and again.check["accepts"] == ["So."]
    assert again.messages[0].content == "Be brief."


def test_two_files_of_one_name_are_both_read(tmp_path: Path) -> None:
    for folder, question in (("a", "Who pays?"), ("b", "Who is paid?")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "exam.csv").write_text(f"question,reference\n{question},The bank does.\n")
    files = tuple(LocalPath(tmp_path / folder / "exam.csv") for folder in "ab")
    exam = Workshop(tmp_path / "runs", HOST).make(OwnExam(files=files))
    assert [row.messages[0].content for row in read_material(exam.folder).rows] == ["Who pays?", "Who is paid?"]


def test_unicode_ends_of_lines_within_a_text_do_not_end_its_row(tmp_path: Path) -> None:
    _, material = made(tmp_path, "exam.jsonl", json.dumps({"question": "A\u2028B\x85C?", "reference": "It\u2029is."}))
    assert material.rows[0].messages[0].content == "A\u2028B\x85C?"


def test_options_counted_from_0_are_all_there() -> None:
    row = {"question": "Which?", "option_0": "red", "option_1": "green", "option_2": "blue", "answer": "red"}
    item = own_row(row)
    assert isinstance(item, Item) and item.options == ["red", "green", "blue"] and item.answer == 0


def test_another_remedy_than_shuffling_is_named_where_the_place_is_not_what_tells(tmp_path: Path) -> None:
    rows = [
        {"question": f"What of {at}?", "options": ["no", "so", "or", "yes, as it is"], "answer": "yes, as it is"}
        for at in range(40)
    ]
    for at, row in enumerate(rows):
        random.Random(at).shuffle(row["options"])  # type: ignore[arg-type]  # a list
    with pytest.raises(Mistake, match="longest option") as raised:
        made(tmp_path, "exam.jsonl", "\n".join(map(json.dumps, rows)))
    assert "shuffle" not in str(raised.value) and "wrong options that look like right ones" in str(raised.value)


def test_an_exam_that_the_longest_option_gives_away_is_refused(tmp_path: Path) -> None:
    rows = [
        {
            "question": f"Question number {at}?",
            "options": ["no", f"yes, because of reason {at}", "so", "or"],
            "answer": "B",
        }
        for at in range(40)
    ]
    with pytest.raises(Mistake, match="without knowing anything"):
        made(tmp_path, "exam.jsonl", "\n".join(map(json.dumps, rows)))


def test_options_are_mixed_on_request_and_the_right_one_stays_right(tmp_path: Path) -> None:
    rows = [{"question": f"What is {at}?", "options": ["r", "w", "x", "y"], "answer": "r"} for at in range(12)]
    text = "\n".join(map(json.dumps, rows))
    with pytest.raises(Mistake, match="option 1 is right in 100%"):
        made(tmp_path, "exam.jsonl", text)
    mixed = made(tmp_path, "exam.jsonl", text, shuffle=True)[1].items
    assert {item.options[item.answer] for item in mixed} == {"r"} and len({item.answer for item in mixed}) > 1


def test_questions_that_stand_in_the_training_texts_are_left_out_refused_or_kept(tmp_path: Path) -> None:
    documents = SomeDocuments()
    training = next(iter(Workshop(tmp_path / "runs", HOST).make(documents).rows("train")))
    leaked = {"question": "What does the manual say of it?", "reference": training.text.split("\n\n")[0]}
    clean = {
        "question": "Who wrote the report on liquidity?",
        "reference": "The risk office of the bank did in spring.",
    }
    text = "\n".join(map(json.dumps, (leaked, clean)))
    folder, material = made(tmp_path, "a.jsonl", text, trained_on=(documents,))
    assert [row.messages[0].content for row in material.rows] == [clean["question"]]
    (line,) = [json.loads(line) for line in (folder / "leaks.jsonl").read_text().splitlines()]
    assert line["kind"] == "verbatim" and leaked["reference"][:30].lower() in line["evidence"].lower()
    assert len(made(tmp_path, "a.jsonl", text, trained_on=(documents,), leaks="keep")[1].rows) == 2
    with pytest.raises(Mistake, match="1 of 2 questions leak"):
        made(tmp_path, "a.jsonl", text, trained_on=(documents,), leaks="refuse")
