from __future__ import annotations

import pytest

from metier.corpus import rules
from tests.corpus.pages import prose


def test_prose_with_code_and_a_table_has_no_reason_to_go() -> None:
    text = f"# Locks\n\n{prose(1)}\n\n```\nint main(void);\n```\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"
    shape = rules.shape(text)
    assert rules.too_short(shape) is None
    assert rules.mostly_navigation(shape) is None
    assert rules.mostly_tables(shape) is None
    assert rules.change_log(text, "Locks") is None
    assert rules.licence_page(text, "Locks") is None
    assert rules.damaged(text) is None
    assert rules.list_of_codes(text) is None


def test_a_list_of_names_is_an_index_however_long_its_lines() -> None:
    names = "- " + " ".join(f"page_{n}.html" for n in range(40))
    assert rules.mostly_navigation(rules.shape("\n".join([names] * 5))) == "index or navigation"


def test_a_table_of_sentences_is_prose_and_one_of_symbols_is_not() -> None:
    sentence = "| OP_Add | Add the value in register one to the value in register two. |"
    symbol = "| R-123 | x.html |"
    assert rules.mostly_tables(rules.shape("\n".join([sentence] * 9))) is None
    assert rules.mostly_tables(rules.shape("\n".join([symbol] * 9))) == "tables of symbols"


@pytest.mark.parametrize(
    "title",
    ["Changelog", "Release Notes", "SQLite Release 3.40.1 On 2022-12-28", "What's New", "Older News", "Change Log"],
)
def test_change_logs_are_known_by_their_title(title: str) -> None:
    assert rules.change_log(prose(2), title) is not None


@pytest.mark.parametrize(
    "title", ["Count The Number Of Rows Modified", "Version Numbers", "Data Change Notification Callbacks"]
)
def test_pages_about_changes_are_no_change_logs(title: str) -> None:
    assert rules.change_log(prose(2), title) is None


def test_change_logs_are_known_by_dated_entries_but_numbered_sections_are_none() -> None:
    dated = "\n\n".join(f"## 2021-0{n}-11 (3.{n}.0)\n\n{prose(n)}" for n in range(1, 8))
    numbered = "\n\n".join(f"### 1.2.{n}. Storage\n\n{prose(n)}" for n in range(1, 8))
    assert rules.change_log(dated, "History") is not None
    assert rules.change_log(numbered, "Storage") is None


def test_requirement_lists_go() -> None:
    text = "\n\n".join(f"**R-{n}4412-00{n}13-31337**\n\n{prose(n, 24)}" for n in range(10, 60))
    assert rules.list_of_codes(text) == "list of codes"


def test_wrongly_decoded_text_and_noise_go() -> None:
    assert rules.damaged("cafÃ© naÃ¯ve dÃ©jÃ  " * 20) == "encoding damage"
    assert rules.damaged(" ".join(f"q{n}Zx7Kp{n}Wm3Tr" for n in range(100))) == "gibberish"
    assert rules.damaged("数据库是按照数据结构来组织、存储和管理数据的仓库。" * 20) is None


def test_chinese_sentences_are_sentences() -> None:
    assert rules.is_sentence("数据库是按照数据结构来组织、存储和管理数据的仓库。")
    assert not rules.is_sentence("数据库")


def test_a_licence_is_known_by_title_and_terms() -> None:
    text = "Permission is hereby granted to redistribute this work without warranty of any kind. " + prose(1, 40)
    assert rules.licence_page(text, "License") is not None
    assert rules.licence_page(prose(1, 300) + " It is in the public domain.", "Overview") is None
