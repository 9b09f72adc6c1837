"""What the doctor reads in single texts: loops, refusals, forms, copies, ends."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from pytest import approx

from metier.core.chat import Message
from metier.evaluate.doctor.symptoms import goes_round, refuses, script, wrong_form
from metier.evaluate.doctor.trained_on import Ends, ends, repeats
from metier.models.tiny import tiny_tokenizer


@pytest.mark.parametrize(
    "text",
    [
        "The table holds rows. " * 6,
        "It is. It is. It is. It is. It is",  # cut in the middle of the fifth
        "a, a, a, a, a, a, a, a, a, a, a, a, a",
        "数据库保存每一行。数据库保存每一行。数据库保存每一行。",
        "哈" * 40,
        " ".join(f"Step {at}: open the file and read the next line." for at in range(9)),
    ],
)
def test_a_loop_is_found_at_the_end_and_where_it_counts_up(text: str) -> None:
    assert goes_round(text, "A table holds rows of one kind.")
    assert not goes_round(text, text)  # the reference says it so


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No, no, no!",
        "SELECT a, b, c FROM t WHERE a = 1 AND b = 2 AND c = 3 ORDER BY a, b, c;",
        "1. Open the file.\n2. Read a line.\n3. Close the file.\n4. Write the sum into the second file.",
        "The cat sat on the mat, the dog sat on the rug, and the bird sat on the old wooden fence by the road.",
    ],
)
def test_what_people_write_is_no_loop(text: str) -> None:
    assert goes_round(text, "") is None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I cannot answer that question.",
        "Sorry, I am unable to do that.",
        "I can not provide legal advice.",
        "I cannot assist with this request.",
        "As an AI language model, I have no opinion.",
        "Unfortunately, I won't be able to help.",
        "抱歉，我无法回答这个问题。",
        "很遗憾，这个问题我不能回答。",
        "作为一个人工智能助手，我没有意见。",
        "對不起，我無法提供協助。",
    ],
)
def test_a_refusal_is_found_in_english_and_chinese(text: str) -> None:
    assert refuses(text, "The sum is 4.")
    assert not refuses(text, "I'm sorry, but I can't help with that.")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry to hear about your loss.",
        "Dear landlord, I am sorry to write so late, but I cannot turn on the heater.",
        "I cannot overstate how old the wall is.",
        "You can't divide by zero.",
        "Sorry is a word of one syllable or two.",
        "抱歉是一种礼貌。",
        "无法律则无秩序。",
    ],
)
def test_sorrow_is_no_refusal(text: str) -> None:
    assert refuses(text, "The sum is 4.") is None


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        ("  \n", "Four.", "is empty"),
        ("The name is Ann.", '{"name": "Ann"}', "no JSON"),
        ('{"name": "Ann"', '[{"name": "Ann"}]', "no JSON"),
        ("print(1)", "```python\nprint(1)\n```", "no code fence"),
        ("There are four rows.", "SELECT count(*) FROM t;", "no SQL"),
        ("SELECT ripe FROM melons;", "Tap the melon and listen.", "is SQL"),
        ("这个函数返回两个数字的和。", "The function returns the sum of two numbers.", "Chinese letters"),
        ("The function returns a sum.", "この関数は二つの数の合計を返します。", "Latin letters"),
    ],
)
def test_an_answer_lacks_the_form_of_its_reference(answer: str, expected: str, why: str) -> None:
    assert why in (wrong_form(answer, expected) or "")
    assert wrong_form(expected, expected) is None


def test_prose_about_a_statement_may_be_answered_in_prose() -> None:
    assert wrong_form("It tells the page size.", "PRAGMA page_size returns the size of a page.") is None


def test_json_in_a_fence_is_json_and_a_name_in_other_letters_is_no_other_language() -> None:
    assert wrong_form('```json\n{"a": 1}\n```', '{"b": 2}') is None
    assert script("42") is None and script("Ann 说你好 hello 再见") is None


def test_random_answers_of_any_length_are_read_without_an_error() -> None:
    rng = random.Random(0)
    letters = "ab 我{}[]\"'`\n.,;\\😀\x00"
    for _ in range(300):
        answer, expected = ("".join(rng.choices(letters, k=rng.randint(0, 60))) for _ in range(2))
        for told in (goes_round(answer, expected), refuses(answer, expected), wrong_form(answer, expected)):
            assert told is None or told.strip()


def test_copies_beyond_the_fourth_count() -> None:
    line, other = "every file is read in the morning.", "nobody reads the files of the evening."
    found = repeats([f"{line}\n{other}"] + [line] * 9)
    # of 10 copies of the line six came after the fourth, and no earlier one stands in the same text
    assert found.share == approx(6 * len(line) / (10 * len(line) + len(other)))
    assert found.within == 0.0 and found.worst == [(10, line)]
    assert repeats([line] * 4).share == 0.0
    assert repeats(["\n".join([line.upper()] * 10)]).within == 1.0
    assert repeats([]).share == 0.0


def test_of_very_many_lines_a_part_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.evaluate.doctor.trained_on._MOST_KEPT", 300)
    texts = [f"line number {at:05d} of a long, long file of lines." for at in range(2000)]
    assert repeats(texts).share == 0.0
    assert repeats(texts + texts[:1000] * 9).share == approx(1000 * 6 / 11000, abs=0.1)


def test_answers_end_where_the_folder_says_that_servers_stop(tiny_model_folder: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    talk = [Message("user", "What is one?"), Message("assistant", "one is a number")]
    assert ends(tokenizer, tiny_model_folder, [talk, talk]) == Ends(2, [])
    other = shutil.copytree(tiny_model_folder, tmp_path / "model")
    (other / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    found = ends(tokenizer, other, [talk])
    assert found.wrong == [("one is a number", "ends with <|im_end|>, and the model's folder stops at <|endoftext|>")]
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    assert "never learn to stop" in ends(tokenizer, tiny_model_folder, [talk]).wrong[0][1]
