"""Word, PowerPoint and Excel files: what survives, and what is refused."""

from __future__ import annotations

import pytest

from tests.corpus.reading import docx, paragraph, read, relations, zipped

TEXT = "<w:r><w:t>{}</w:t></w:r>"
MONO = '<w:r><w:rPr><w:rFonts w:ascii="Courier New"/></w:rPr><w:t xml:space="preserve">{}</w:t></w:r>'


def row(*cells: str) -> str:
    return "<w:tr>" + "".join(f"<w:tc>{cell}</w:tc>" for cell in cells) + "</w:tr>"


def text_of(body: str, **parts: str) -> str:
    return read("a.docx", docx(body, **parts)).only.text


def test_headings_lists_and_paragraphs_keep_their_form() -> None:
    numbered = '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="2"/></w:numPr>'
    deeper = '<w:numPr><w:ilvl w:val="1"/><w:numId w:val="1"/></w:numPr>'
    body = (
        paragraph("Locks", "H1") + paragraph("Kinds", "H2") + paragraph("A lock is held.")
        + paragraph("one", "Bullet") + paragraph("inner", "Bullet", deeper)
        + paragraph("Then:") + paragraph("third", properties=numbered) + paragraph("fourth", properties=numbered)
    )  # fmt: skip
    assert (
        text_of(body) == "# Locks\n\n## Kinds\n\nA lock is held.\n\n- one\n   - inner\n\nThen:\n\n3. third\n4. fourth"
    )


def test_code_is_fenced_and_loses_no_character() -> None:
    lines = ["def f(x):", "    if x &lt; 3 &amp;&amp; y:", "", "\treturn x  # ```"]
    body = paragraph("See:") + "".join(paragraph(line, "Code") for line in lines) + paragraph("Done.")
    assert text_of(body) == "See:\n\n````\ndef f(x):\n    if x < 3 && y:\n\n\treturn x  # ```\n````\n\nDone."


def test_code_is_known_by_its_font_too_and_marked_inside_a_sentence() -> None:
    lines = MONO.format("int main() {") + "<w:r><w:br/></w:r>" + MONO.format("  return 0;") + "<w:r><w:br/></w:r>"
    assert text_of(f"<w:p>{lines}</w:p>") == "```\nint main() {\n  return 0;\n```"
    sentence = TEXT.format("Call ") + MONO.format("f(x) ") + TEXT.format("once.")
    assert text_of(f"<w:p>{sentence}</w:p>") == "Call `f(x)` once."


def test_tables_keep_their_cells_merged_ones_once() -> None:
    wide = '<w:tcPr><w:gridSpan w:val="2"/></w:tcPr>'
    below = "<w:tcPr><w:vMerge/></w:tcPr>"
    table = (
        "<w:tbl>"
        + row(wide + paragraph("A|B"), paragraph("C"))
        + row(paragraph("1"), paragraph("2") + paragraph("two"), paragraph("3"))
        + row(below + paragraph("again"), paragraph("5"), paragraph("6"))
        + "</w:tbl>"
    )
    assert text_of(table) == ("| A\\|B |  | C |\n| --- | --- | --- |\n| 1 | 2<br>two | 3 |\n|  | 5 | 6 |")


def test_a_frame_of_one_cell_is_no_table() -> None:
    assert text_of("<w:tbl>" + row(paragraph("x = 1", "Code")) + "</w:tbl>") == "```\nx = 1\n```"


def test_deleted_text_is_gone_and_inserted_text_and_links_stay() -> None:
    body = (
        f"<w:p><w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:ins>{TEXT.format('new')}</w:ins>"
        f"<w:hyperlink>{TEXT.format(' link')}</w:hyperlink></w:p>"
    )
    assert text_of(body) == "new link"


def test_notes_stand_at_the_end_and_formulas_in_tex() -> None:
    note = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    formula = (
        "<m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:rad><m:deg/><m:e><m:r><m:t>b</m:t></m:r></m:e>"
        "</m:rad></m:den></m:f><m:r><m:t>=</m:t></m:r>"
        "<m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:oMath>"
    )
    notes = (
        '<w:footnotes xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        f'<w:footnote w:id="0" w:type="separator">{paragraph("---")}</w:footnote>'
        f'<w:footnote w:id="2">{paragraph("Since 1995.")}</w:footnote></w:footnotes>'
    )
    text = text_of(
        f"<w:p>{TEXT.format('Held')}{note}{TEXT.format(': ')}{formula}</w:p>", **{"word/footnotes.xml": notes}
    )
    assert text == r"Held[^f2]: $\frac{a}{\sqrt{b}}=x^{2}$" + "\n\n[^f2]: Since 1995."


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (docx(paragraph("x"), head=LAUGHS), "XML with a document type"),
        (docx(paragraph("x"), head='<!DOCTYPE x SYSTEM "file:///etc/passwd">'), "XML with a document type"),
        (docx("<w:p>"), "damaged XML"),
        (docx(""), "no text in it"),
        (zipped({"x": "y"}), "no Word document in it"),
        (b"PK\x03\x04 and then nothing", "damaged archive"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "locked by a password"),
        (OLE, "old Office file"),
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_read_has_its_reason(data: bytes, reason: str) -> None:
    assert list(read("a.docx", data).reasons.values()) == [reason]


def test_a_document_that_unpacks_to_too_much_is_given_up() -> None:
    found = read("a.docx", docx(paragraph("x") + " " * 1_000_000), max_unpacked_bytes=500_000)
    assert list(found.reasons.values()) == ["unpacks to more than the limit"]


A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
P = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'


def shape(text: list[str], role: str = "") -> str:
    place = f'<p:ph type="{role}"/>' if role else ""
    lines = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in text)
    return f"<p:sp><p:nvSpPr><p:nvPr>{place}</p:nvPr></p:nvSpPr><p:txBody>{lines}</p:txBody></p:sp>"


def slide(shapes: str, root: str = "sld") -> str:
    return f"<p:{root} {A} {P} {R}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:{root}>"


def pptx() -> bytes:
    cells = "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{c}</a:t></a:r></a:p></a:txBody></a:tc>" for c in "ab")
    rows = f"<a:tr>{cells}</a:tr>" * 2
    table = f"<p:graphicFrame><a:graphic><a:tbl>{rows}</a:tbl></a:graphic></p:graphicFrame>"
    return zipped(
        {
            "_rels/.rels": relations(officeDocument="ppt/presentation.xml"),
            "ppt/presentation.xml": f'<p:presentation {P} {R}><p:sldIdLst><p:sldId r:id="r2"/><p:sldId r:id="r1"/>'
            "</p:sldIdLst></p:presentation>",
            "ppt/_rels/presentation.xml.rels": relations(slide="slides/slide1.xml", slide2="slides/slide2.xml"),
            "ppt/slides/slide1.xml": slide(shape(["Second"], "title") + table),
            "ppt/slides/slide2.xml": slide(
                shape(["First"], "title") + shape(["one", "two"], "body") + shape(["7"], "sldNum")
            ),
            "ppt/slides/_rels/slide2.xml.rels": relations(notesSlide="../notesSlides/n.xml"),
            "ppt/notesSlides/n.xml": slide(shape(["Say hello."], "body") + shape(["7"], "sldNum"), "notes"),
        }
    )


def test_slides_come_in_their_order_with_lists_tables_and_notes() -> None:
    found = read("talk.pptx", pptx()).only
    assert found.title == "talk"
    assert found.text == (
        "## First\n\n- one\n- two\n\nNotes: Say hello.\n\n## Second\n\n| a | b |\n| --- | --- |\n| a | b |"
    )


def test_slides_may_be_documents_of_their_own() -> None:
    contents = read("talk.pptx", pptx(), split_pages=True).contents
    assert [content.part for content in contents] == ["slide 1", "slide 2"]
    assert contents[0].text.startswith("## First")


def xlsx() -> bytes:
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    text = '<c r="{}1" t="inlineStr"><is><t>{}</t></is></c>'
    cells = (
        f'<row r="1">{text.format("A", "Name")}{text.format("C", "Day")}</row>'
        '<row r="3"><c r="A3"><v>3</v></c><c r="B3" t="b"><v>1</v></c><c r="C3" s="1"><v>45292</v></c></row>'
    )
    return zipped(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": relations(officeDocument="xl/workbook.xml"),
            "xl/workbook.xml": f'<workbook {main} {R}><sheets><sheet name="Rates|1" sheetId="1" r:id="r1"/>'
            '<sheet name="None" sheetId="2" r:id="r2"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": relations(
                worksheet="worksheets/sheet1.xml", worksheet2="worksheets/sheet2.xml", styles="styles.xml"
            ),
            "xl/styles.xml": f'<styleSheet {main}><cellXfs><xf/><xf numFmtId="14"/></cellXfs></styleSheet>',
            "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{cells}</sheetData></worksheet>",
            "xl/worksheets/sheet2.xml": f"<worksheet {main}><sheetData/></worksheet>",
        }
    )


def test_a_sheet_is_a_table_of_the_values_one_sees() -> None:
    found = read("book.xlsx", xlsx())
    assert found.texts == {
        "book.xlsx sheet Rates|1": "# Rates|1\n\n| Name |  | Day |\n| --- | --- | --- |\n| 3 | TRUE | 2024-01-01 |"
    }
    assert found.contents[0].title == "book: Rates|1"
    assert found.reasons == {"book.xlsx sheet None": "no text in it"}


def test_a_workbook_that_cannot_be_read_has_its_reason() -> None:
    assert list(read("a.xlsx", b"PK\x03\x04 cut").reasons.values()) == ["damaged archive"]
    found = read("a.xlsx", zipped({"xl/big": b" " * 1_000_000}), max_unpacked_bytes=500_000)
    assert list(found.reasons.values()) == ["unpacks to more than the limit"]
