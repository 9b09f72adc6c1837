from __future__ import annotations

import pytest

from metier.corpus.documents import new_document
from metier.corpus.kernel.rules_house import is_sentence
from metier.corpus.rules import House
from tests.corpus.pages import prose


def reason(text: str, title: str = "Locks", media_type: str = "text/html") -> str | None:
    return House().reason(new_document("page.html", text, title, media_type))


def test_prose_with_code_and_a_table_has_no_reason_to_go() -> None:
    assert reason(f"# Locks\n\n{prose(1)}\n\n```\nint main(void);\n```\n\n| a | b |\n| --- | --- |\n| 1 | 2 |") is None


def test_a_list_of_names_is_an_index_however_long_its_lines() -> None:
    names = "- " + " ".join(f"page_{n}.html" for n in range(40))
    assert reason("\n".join([names] * 5)) == "index or navigation"


def test_a_table_of_sentences_is_prose_and_one_of_symbols_is_not() -> None:
    sentence = "| OP_Add | Add the value in register one to the value in register two. |"
    symbol = "| R-123 | x.html |"
    assert reason("\n".join([sentence] * 9)) is None
    assert reason("\n".join([symbol] * 19)) == "tables of symbols"


@pytest.mark.parametrize(
    "title",
    ["Changelog", "Release Notes", "SQLite Release 3.40.1 On 2022-12-28", "What's New", "Older News", "Change Log"],
)
def test_change_logs_are_known_by_their_title(title: str) -> None:
    assert reason(prose(2), title) == "change log, release notes or news"


@pytest.mark.parametrize(
    "title", ["Count The Number Of Rows Modified", "Version Numbers", "Data Change Notification Callbacks"]
)
def test_pages_about_changes_are_no_change_logs(title: str) -> None:
    assert reason(prose(2), title) is None


def test_change_logs_are_known_by_dated_entries_but_numbered_sections_are_none() -> None:
    dated = "\n\n".join(f"## 2021-0{n}-11 (3.{n}.0)\n\n{prose(n)}" for n in range(1, 8))
    numbered = "\n\n".join(f"### 1.2.{n}. Storage\n\n{prose(n)}" for n in range(1, 8))
    assert reason(dated, "History") == "change log, release notes or news"
    assert reason(numbered, "Storage") is None


def test_requirement_lists_go() -> None:
    text = "\n\n".join(f"**R-{n}4412-00{n}13-31337**\n\n{prose(n, 24)}" for n in range(10, 60))
    assert reason(text) == "list of codes"


def test_wrongly_decoded_text_and_noise_go() -> None:
    assert reason("cafÃ© naÃ¯ve dÃ©jÃ  " * 20) == "encoding damage"
    assert reason(" ".join(f"q{n}Zx7Kp{n}Wm3Tr" for n in range(100))) == "gibberish"
    assert reason("数据库是按照数据结构来组织、存储和管理数据的仓库。" * 20) is None


def test_scripts_with_vowel_signs_are_no_gibberish() -> None:
    # The signs are marks (Mn, Mc), which `\w` of Python's re leaves out.
    assert reason("यह एक वाक्य है जिसमें दस से अधिक शब्द हैं और जो समाप्त होता है। " * 5) is None


def test_chinese_sentences_are_sentences() -> None:
    assert is_sentence("数据库是按照数据结构来组织、存储和管理数据的仓库。")
    assert not is_sentence("数据库")


def test_a_licence_is_known_by_title_and_terms() -> None:
    text = "Permission is hereby granted to redistribute this work without warranty of any kind. " + prose(1, 40)
    assert reason(text, "License") == "licence or legal page"
    assert reason(prose(1, 300) + " It is in the public domain.", "Overview") is None


def test_source_code_is_not_judged_as_prose() -> None:
    code = "\n".join(f"x{n} = y{n}[{n}]" for n in range(90))
    assert reason(code) is not None
    assert reason(code, "locks.py", "text/x-python") is None


def test_a_rule_without_a_threshold_is_off() -> None:
    document = new_document("a.html", "Hello there.", "A")
    assert House().reason(document) == "too short"
    assert House(min_prose_chars=None).reason(document) == "index or navigation"
    assert House(min_prose_chars=None, max_fragment_share=None).reason(document) is None
