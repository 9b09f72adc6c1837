from __future__ import annotations

from pathlib import Path

from metier.corpus.formats import Content, Unread, read_file
from metier.corpus.pdf import join_lines, without_running_heads


def pdf(lines: list[str]) -> bytes:
    """Return a PDF of one page with the given lines; pdfium finds the objects without an index."""
    shown = " ".join(f"({line}) Tj 0 -14 Td" for line in lines)
    content = f"BT /F1 12 Tf 50 700 Td {shown} ET"
    return f"""%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>> endobj
4 0 obj <</Length {len(content)}>> stream
{content}
endstream endobj
5 0 obj <</Type/Font/Subtype/Type1/BaseFont/Helvetica>> endobj
trailer <</Root 1 0 R>>
%%EOF""".encode()


def test_a_pdf_gives_its_text(tmp_path: Path) -> None:
    (tmp_path / "the_manual.pdf").write_bytes(
        pdf(["A lock keeps two writers of a file", "apart from each other.", "End."])
    )
    found = read_file(tmp_path / "the_manual.pdf", 10**6)
    assert found == Content(
        "the manual", "A lock keeps two writers of a file apart from each other.\n\nEnd.", "application/pdf"
    )


def test_a_pdf_without_text_and_one_that_is_none_have_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(pdf([]))
    (tmp_path / "cut.pdf").write_bytes(b"%PDF-1.4 cut")
    assert read_file(tmp_path / "scan.pdf", 10**6) == Unread("PDF without text")
    assert read_file(tmp_path / "cut.pdf", 10**6) == Unread("unreadable PDF")


def test_running_heads_and_page_numbers_go_and_text_stays() -> None:
    pages = [
        [f"Manual  {n}", f"Text of page {'abcdef'[n]}.", f"More text {'abcdef'[n]}.", "Other line.", str(n)]
        for n in range(6)
    ]
    kept = without_running_heads(pages, edge=1)
    assert kept[2] == ["Text of page c.", "More text c.", "Other line."]
    assert without_running_heads(pages[:3], edge=1) == pages[:3]


def test_words_cut_at_a_line_end_are_made_whole() -> None:
    assert join_lines(["The data-", "base is", "- one", "- two"]) == "The database is\n- one\n- two"
