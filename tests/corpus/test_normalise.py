from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from metier.corpus.normalise import boilerplate_key, normalise, repeated_lines

LINES = st.lists(
    st.sampled_from(["# Head", "plain  words", "- item", "```", "  code\tx  ", "| a | b |", "", "[a](b)"]), max_size=20
)


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(LINES)
def test_normalising_markdown_twice_changes_nothing_more(lines: list[str]) -> None:
    once = normalise("\n".join(lines))
    assert normalise(once) == once


@given(st.text(st.characters(exclude_characters="`\r\n", exclude_categories=["Cs"])))
def test_code_keeps_every_character(line: str) -> None:
    text = f"```\n{line}\n```"
    assert normalise(f"Before.\n\n{text}\n\nAfter.") == f"Before.\n\n{text}\n\nAfter."


def test_prose_is_composed_and_plain() -> None:
    dirty = "Cafe\u0301\u00a0 is\u00ad open\u200b\x07. See [the  menu](http://x.org/a_(b)) ![pic](p.png)"
    assert normalise(dirty) == "Café is open. See the menu pic"
    assert unicodedata.is_normalized("NFC", normalise(dirty))


def test_tables_keep_their_cells() -> None:
    table = "| a  | [b](c) |\n| --- | --- |\n| x\u00a0y | z |"
    assert normalise(table) == table


def test_lines_at_the_edges_of_many_pages_are_boilerplate_whatever_their_numbers() -> None:
    texts = [
        f"# Page {n}\n\nText number {n} of its own {'abc'[n % 3]}{n}.\n\nLast changed 2024-01-{n:02d}"
        for n in range(1, 11)
    ]
    found = repeated_lines(texts, share=0.5, at_least=5)
    assert boilerplate_key("Last changed 1999-12-31") in found
    assert normalise(texts[0], found).endswith("a1.") or "Last changed" not in normalise(texts[0], found)


def test_a_repeated_heading_with_text_below_it_stays() -> None:
    repeated = frozenset({boilerplate_key("Parameters"), boilerplate_key("The Manual")})
    text = "## The Manual\n\n## open()\n\n## Parameters\n\nThe name of the file."
    assert normalise(text, repeated) == "## open()\n\n## Parameters\n\nThe name of the file."


def test_few_documents_prove_no_boilerplate() -> None:
    assert repeated_lines(["same line"] * 4, share=0.1, at_least=5) == frozenset()
