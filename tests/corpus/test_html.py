from __future__ import annotations

from metier.corpus.html import fragment_to_markdown, page_to_markdown
from tests.corpus.pages import page


def test_menus_search_boxes_scripts_and_styles_go() -> None:
    text = page_to_markdown(page("Locks", "<p>A lock is held.</p>")).text
    assert text.startswith("# Locks") and "A lock is held." in text
    for gone in ("Purchase", "Search", "secret", "color"):
        assert gone not in text


def test_code_keeps_every_space_and_tables_their_cells() -> None:
    code = "<blockquote><pre>\nif( a&lt;b ){\n  x   = 1;\n}</pre></blockquote>"
    body = code + "<table><tr><th>A<th>B<tr><td>1<td>two</table>"
    text = page_to_markdown(page("T", body)).text
    assert "```\nif( a<b ){\n  x   = 1;\n}\n```" in text
    assert "| 1 | two |" in text


def test_a_table_that_only_lays_out_code_is_opened_and_one_of_data_stays() -> None:
    code = "<pre>if x &lt; 3:\n    return\n</pre>"
    layout = f'<table><tr><th>Old<th>New<tr><td class="linenos"><pre>1\n2</pre><td>{code}</table>'
    text = page_to_markdown(page("T", layout)).text
    assert "```\nif x < 3:\n    return\n```" in text and "|" not in text and "1\n2" not in text
    data = f"<table><tr><th>A<th>B<tr><td>1<td>one<tr><td>2<td>two<tr><td>3<td>{code}</table>"
    assert "| 2 | two |" in page_to_markdown(page("T", data)).text


def test_a_mail_keeps_its_quotations_and_a_page_states_its_language() -> None:
    quoted = "<p>Yes.</p><blockquote><p>Is it held?</p></blockquote>"
    assert fragment_to_markdown(quoted).split() == ["Yes.", ">", "Is", "it", "held?"]
    assert page_to_markdown(f'<html lang="de-AT"><body>{quoted}').language == "de"


def test_a_table_of_contents_goes_and_a_list_of_other_pages_stays() -> None:
    own = '<ul><li><a href="#a">Aaa</a><li><a href="#b">Bbb</a><li><a href="t.html#c">Ccc</a></ul>'
    other = '<ul><li><a href="x.html#a">Xxx</a><li><a href="y.html#b">Yyy</a><li><a href="z.html#c">Zzz</a></ul>'
    text = page_to_markdown(page("T", own + other), "t.html").text
    assert "Bbb" not in text and "- Yyy" in text


def test_paragraphs_are_one_line_and_links_their_text() -> None:
    text = page_to_markdown(page("T", '<p>See the <a href="x.html">other\n   page</a> for\nmore.</p>')).text
    assert "See the other page for more." in text


def test_powers_stay_powers() -> None:
    assert "2^31 bytes" in page_to_markdown(page("T", "<p>Up to 2<sup>31</sup> bytes.</p>")).text


def test_a_page_without_a_heading_gets_its_title() -> None:
    page_ = page_to_markdown("<html><title>Speed</title><body><p>It is fast.</p></body></html>")
    assert page_.title == "Speed" and page_.text == "# Speed\n\nIt is fast."


def test_an_empty_page_has_no_text() -> None:
    assert page_to_markdown("").text == ""
