from __future__ import annotations

from metier.corpus.documents import new_document
from metier.corpus.rules import FineWeb


def reason(text: str, **thresholds: object) -> str | None:
    return FineWeb.model_validate(thresholds).reason(new_document("page", text, "", "text/html"))


def lines(ended: int, open_ended: int) -> str:
    """Return different lines of more than 30 characters: so many with a sentence's end, so many without."""
    texts = [f"Line number {n} of this text is long enough" for n in range(ended + open_ended)]
    return "\n".join(f"{text}." if n < ended else text for n, text in enumerate(texts))


def test_twelve_lines_in_a_hundred_with_an_end_are_too_few() -> None:
    assert reason(lines(12, 88)) == "fineweb: lines without an end"
    assert reason(lines(13, 87)) is None


def test_a_tenth_of_the_characters_in_repeated_lines_is_too_much() -> None:
    line = [f"{letter * 39}." for letter in "ABCDEFGHIJ"]
    assert reason("\n".join([*line, line[0]])) is None, "40 of 440"
    assert reason("\n".join([*line[:9], line[0]])) == "fineweb: repeated lines", "40 of 400"


def test_two_thirds_of_short_lines_are_too_many() -> None:
    short = [f"{n:>29}." for n in range(70)]
    long = lines(40, 0).split("\n")
    assert len("x" * 29 + ".") == 30
    assert reason("\n".join([*("x" + s[1:] for s in short[:66]), *long[:34]])) is None
    assert reason("\n".join([*("x" + s[1:] for s in short[:67]), *long[:33]])) == "fineweb: short lines"


def test_a_chinese_line_is_as_long_as_its_translation() -> None:
    # Eight characters stand for 32 letters, seven for 28.
    eight = "\n".join(f"第{'一二三四五六七八九'[n]}行的文字在此。" for n in range(9))
    assert {len(line) for line in eight.split("\n")} == {8 + 1}
    assert reason(eight) is None
    assert reason(eight.replace("文", "")) == "fineweb: short lines"


def test_headings_code_and_tables_are_no_lines() -> None:
    text = "\n".join(f"## Part {n}\n\n```\nx\n```\n\n| a |\n" for n in range(9)) + "\n" + lines(9, 0)
    assert reason(text) is None


def test_wrapped_text_is_judged_by_its_unwrapped_lines() -> None:
    wrapped = "\n\n".join(
        "A paragraph of running text that somebody wrapped at\n"
        "sixty characters or so, so that most of its lines have no\n"
        f"end of a sentence in them, number {n}."
        for n in range(9)
    )
    assert reason(wrapped, max_repeated_line_chars=None) is None


def test_lines_for_each_word_as_the_code_of_fineweb_has_it() -> None:
    text = "\n".join(f"Two{n} words{n}." for n in range(50))
    off = {"max_short_lines": None}
    assert reason(text, **off) is None
    assert reason(text, **off, max_lines_per_word=0.3) == "fineweb: a list"
    assert reason(text, **off, max_lines_per_word=0.5) is None


def test_a_text_without_lines_has_no_end() -> None:
    assert reason("# Heading") == "fineweb: lines without an end"
    assert reason("") == "fineweb: lines without an end"
