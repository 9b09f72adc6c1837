from __future__ import annotations

import pytest

from metier.corpus.documents import new_document
from metier.corpus.kernel import texts
from metier.corpus.rules import C4

GOOD = "The first line has enough words. And a second sentence. And a third one."


def reason(text: str, **thresholds: object) -> str | None:
    return C4.model_validate(thresholds).reason(new_document("page", text, "", "text/html"))


def cleaned(text: str, **settings: object) -> str:
    return C4.model_validate(settings).cleaned(texts([text]))[0][0]


def test_three_sentences_are_needed_in_lines_that_stay() -> None:
    assert reason("Here are five words now. And then there are more.") == "c4: too few sentences"
    assert reason("Here are five words now. And then there are more. Yes.") is None
    assert reason("Here are five words now. And then there are more.\nYes.") == "c4: too few sentences"
    assert reason(GOOD, min_sentences=5) == "c4: too few sentences"


def test_placeholder_text_and_braces_drop_the_page_but_not_inside_fences() -> None:
    assert reason(f"{GOOD}\nLOREM  ipsum is not it, lorem ipsum dolor is.") == "c4: lorem ipsum"
    assert reason(f"{GOOD}\nThis is if (x) {{ y; }} in a sentence.") == "c4: braces"
    assert reason(f"{GOOD}\n\n```\nif (x) {{ y; }}\n```") is None
    assert reason(f"{GOOD}\nThis is if (x) {{ y; }} in a sentence.", no_braces=False) is None


def test_braces_in_a_line_that_goes_anyway_do_not_count() -> None:
    assert reason(f"{GOOD}\nif (x) {{ y; }} and so on") is None


@pytest.mark.parametrize(
    "line",
    [
        "Home | About | Contact us today",
        "Only four words here.",
        "This line breaks off in the middle...",
        "Please enable JavaScript to see all of this page.",
        "By using this site you accept our Cookie Policy now.",
        "One of its words is far too long: " + "x" * 1001 + ".",
    ],
)
def test_lines_that_are_no_sentences_go(line: str) -> None:
    assert cleaned(f"{GOOD}\n{line}\n{GOOD}") == f"{GOOD}\n{GOOD}"


@pytest.mark.parametrize(
    "line", ['He said: "and so it was"', "Is this the end of it?", "他说这是一个数据库系统。", "It is so.[12]"]
)
def test_sentence_ends_of_all_scripts_stay(line: str) -> None:
    assert cleaned(line, min_line_words=3) == line.replace("[12]", "")


def test_headings_code_and_tables_stay_byte_for_byte() -> None:
    text = f"# Heading\n\n{GOOD}\n\n```py\n\n  x = [1]  \n\n```\n\n| a | b |\n| - | - |\n\n## Last"
    assert cleaned(text) == text


def test_blank_lines_do_not_pile_up_where_lines_went() -> None:
    assert cleaned(f"menu\n\n{GOOD}\n\nmenu\n\nmenu\n\n{GOOD}\n\nmenu\n") == f"{GOOD}\n\n{GOOD}"


def test_citations_go_unless_told_otherwise() -> None:
    line = "It was so[1] and then[citation needed] it was not.[edit]"
    assert cleaned(line) == "It was so and then it was not."
    assert cleaned(line + " Or was it?", citations=False) == line + " Or was it?"


def test_text_that_was_wrapped_is_judged_by_its_sentences() -> None:
    wrapped = "The quick brown fox jumps over the lazy dog and\nthen goes on in the next line, which ends here.\nMenu"
    assert cleaned(wrapped) == wrapped.removesuffix("\nMenu")


def test_without_the_end_mark_only_the_other_rules_hold() -> None:
    assert cleaned("These are five words here now\nBut not these", end_mark=False) == "These are five words here now"


def test_the_words_of_a_chinese_line_are_its_characters_by_two() -> None:
    assert cleaned("这是数据库系统很好。\n这是数据库。") == "这是数据库系统很好。"
