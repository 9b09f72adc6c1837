from __future__ import annotations

import pickle
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core import Step, Work, Workshop
from metier.core.markdown import blocks
from metier.core.types import Documents
from metier.corpus.documents import new_document
from metier.corpus.normalise.boilerplate import boilerplate_key, site_of
from metier.corpus.normalise.mojibake import repaired
from metier.corpus.normalise.step import Normalise, Normaliser
from metier.corpus.normalise.text import latex, normalise, prose, repaired_prose

LINES = st.lists(
    st.sampled_from(
        ["# Head", "plain  words", "- item", "```", "  code\tx  ", "| a | b |", "", "[a](b)", "end ", "\u3000", "1) x"]
    ),
    max_size=20,
)


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(LINES)
def test_normalising_markdown_twice_changes_nothing_more(lines: list[str]) -> None:
    once = normalise("\n".join(lines))
    assert normalise(once) == once


@given(st.one_of(LINES.map("\n".join), st.text(st.sampled_from("ab `#|-*\t\n [](:)é\u0301\u00a0\u00ad\u3000\u2029."))))
def test_the_quick_looks_leave_alone_only_what_would_not_change(text: str) -> None:
    # The long way: every block of prose through every pattern, joined as the source had them.
    slow: list[str] = []
    end = 0
    for block in blocks(text):
        words = block.text if block.kind in ("code", "table") else prose(block.text)
        if words.strip():
            slow += ["\n" if block.first == end and block.kind in ("item", "paragraph") else "\n\n"] if slow else []
            slow.append(words)
            end = block.end
    assert normalise(text) == "".join(slow)


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


def test_a_repeated_heading_with_text_below_it_stays() -> None:
    keys = {boilerplate_key("Parameters"), boilerplate_key("The Manual")}
    removed: Counter[str] = Counter()
    text = "## The Manual\n\n## open()\n\n## Parameters\n\nThe name of the file."
    assert normalise(text, keys.__contains__, removed) == "## open()\n\n## Parameters\n\nThe name of the file."
    assert removed == {"the manual": 1}


def test_latex_keeps_verbatim_text_and_loses_only_what_nobody_sees() -> None:
    listing = "\\begin{lstlisting}\nx  =  1; \n\n\n\ny\u00a0\n\\end{lstlisting}"
    text = f"A\u00a0line  with \\verb|a\u00a0b  | in it. \r\n\n\n\n{listing}\n% e\u0301 \n"
    assert latex(text) == f"A line  with \\verb|a\u00a0b  | in it.\n\n{listing}\n% é"


@pytest.mark.parametrize(
    ("source", "site"),
    [
        ("https://Docs.Example.org:8080/a/b.html", "docs.example.org:8080"),
        ("http://user@example.org", "example.org"),
        ("s3://bucket/wiki/a/b.html", "s3://bucket/wiki"),
        ("wiki/a/b.html", "wiki"),
        ("page.html", ""),
        ("rows.jsonl#12", ""),
    ],
)
def test_a_site_is_a_host_or_a_top_folder(source: str, site: str) -> None:
    assert site_of(source) == site


@pytest.mark.parametrize("charset", ["cp1252", "latin-1"])
@pytest.mark.parametrize("text", ["Müller & Söhne", "naïve café", "“quoted” – it’s…", "Łódź", "数据库", "emoji 😀"])
def test_utf8_that_was_read_as_western_text_is_read_again(text: str, charset: str) -> None:
    broken = "".join(bytes([code]).decode(charset, "ignore") or chr(code) for code in text.encode())
    assert repaired(f"Première\n{broken}\n") == f"Première\n{text}\n" or charset == "latin-1"
    twice = "".join(bytes([code]).decode("cp1252", "ignore") or chr(code) for code in broken.encode())
    if charset == "cp1252":
        assert repaired(twice) == text


@pytest.mark.parametrize(
    "text",
    [
        "Müller & Söhne",
        "IRMÃO, NÃO, CORAÇÃO",
        "»Ä«, sagte er, »ist ein Umlaut.«",
        "Ça coûte 5 €… « là-bas » – voilà",
        "25 °C ± 1 µm × 2 ½",
        "Привет, мир",
        "数据库的事务",
        "Ã© beside é: one of them is right, so the bytes prove nothing",
    ],
)
def test_rightly_decoded_text_is_left_alone(text: str) -> None:
    assert repaired(text) is text


def test_code_is_not_repaired() -> None:
    text = "CafÃ©\n\n```\nÃ© = 'Ã©'\n```\n\n| Ã© |\n\nÃ¼ber"
    assert repaired_prose(text) == ("Café\n\n```\nÃ© = 'Ã©'\n```\n\n| Ã© |\n\nüber", 2)


class Pages(Step[Documents]):
    """Documents of given source, text and media type."""

    name: ClassVar[str] = "given-pages"
    pages: tuple[tuple[str, str, str], ...]

    def run(self, work: Work) -> None:
        rows = (new_document(source, text, media_type=kind) for source, text, kind in self.pages)
        count = Documents.write(work.folder, rows)
        work.count("document", count, count, made={"document": count})


def made(folder: Path, documents: list[tuple[str, str, str]], **fields: Any) -> Documents:
    given = Pages(pages=tuple(documents))
    return Documents(Workshop(folder).make(Normalise(corpus=given, **fields)).folder)


def test_lines_at_the_edges_of_many_pages_of_a_site_are_boilerplate_whatever_their_numbers(tmp_path: Path) -> None:
    # 200 pages in all, 20 of them of one small site, whose footer is on a tenth of all pages but not more.
    page = "# Page {n}\n\nText of page {n} {own}.\n\nUpdated 2024-01-{n:02d}"
    texts = [(f"large/{n}.md", page.format(n=n, own="xyz"[n % 3] * n)) for n in range(180)]
    texts += [(f"https://small.org/{n}", f"Menu\n\nOther text {chr(97 + n)}.\n\nAsk us: +1 {n}") for n in range(19)]
    texts += [("https://small.org/own", "Menu\n\nAsk us: +1 5")]
    documents = made(tmp_path, [(source, text, "text/html") for source, text in texts], boilerplate_at_least=5)
    kept = {document.source: document.text for document in documents.rows()}
    assert kept["large/7.md"] == "# Page 7\n\nText of page 7 yyyyyyy."
    assert kept["https://small.org/1"] == "Other text b."
    assert "https://small.org/own" not in kept
    record = documents.record
    assert record.ledger.lines[0].dropped == {"nothing but boilerplate": 1}
    assert record.figures["boilerplate_lines"] == {"updated 0-0-0": 180, "menu": 20, "ask us: +0 0": 20}


def test_few_documents_prove_no_boilerplate(tmp_path: Path) -> None:
    documents = made(tmp_path, [(f"{n}.md", "same line", "text/markdown") for n in range(4)], boilerplate_at_least=5)
    assert [document.text for document in documents.rows()] == ["same line"] * 4


def test_source_code_passes_untouched_and_counts_for_nothing(tmp_path: Path) -> None:
    code = "# Copyright 2024\r\n\r\n\r\nx\t=  'Ã©\u00a0'  \r\n"
    documents = made(tmp_path, [(f"{n}.py", code, "text/x-python") for n in range(20)], boilerplate_at_least=2)
    assert {document.text for document in documents.rows()} == {code}
    assert documents.record.figures["boilerplate_lines"] == {}


def test_what_was_repaired_is_counted(tmp_path: Path) -> None:
    documents = made(tmp_path, [("a.md", "CafÃ©\n\nÃ¼ber", "text/markdown"), ("b.md", "Café", "text/markdown")])
    assert [document.text for document in documents.rows()] == ["Café\n\nüber", "Café"]
    assert documents.record.figures["lines_decoded_again"] == 2
    kept = made(tmp_path, [("a.md", "CafÃ©", "text/markdown")], repair=False)
    assert [document.text for document in kept.rows()] == ["CafÃ©"]


def test_the_operator_travels_by_pickle() -> None:
    operator = Normaliser({None: frozenset({1}), "site": frozenset({2})}, repair=False)
    assert pickle.loads(pickle.dumps(operator)) == operator
