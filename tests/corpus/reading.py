"""Small files of many kinds, made by hand, and a way to read one in this process."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple, cast

from metier.corpus.read.found import Content, Unread
from metier.corpus.read.sources import Budget, Options, Source
from metier.corpus.read.walk import Course, Cursor, Item, walk


class Found(NamedTuple):
    """What reading one file gave."""

    items: list[Item]

    @property
    def contents(self) -> list[Content]:
        return [item.found for item in self.items if isinstance(item.found, Content)]

    @property
    def texts(self) -> dict[str, str]:
        """Texts by "source part"."""
        return {self._place(item): item.found.text for item in self.items if isinstance(item.found, Content)}

    @property
    def reasons(self) -> dict[str, str]:
        """Reasons by "source part"."""
        return {self._place(item): item.found.reason for item in self.items if isinstance(item.found, Unread)}

    @property
    def only(self) -> Content:
        assert len(self.items) == 1 and isinstance(self.items[0].found, Content), self.items
        return self.items[0].found

    @staticmethod
    def _place(item: Item) -> str:
        return f"{item.source} {item.found.part}".strip()


def read(
    name: str, data: bytes | BinaryIO, after: Cursor | None = None, license: str | None = None, **options: Any
) -> Found:
    """Read bytes as the file `name`, in this process."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    size = len(data) if isinstance(data, bytes) else None
    chosen = Options(**options)
    buffered = io.BufferedReader(cast(io.RawIOBase, stream))
    source = Source(name, buffered, Budget(size, chosen), size, license)
    return Found(list(walk(source, chosen, Course(after))))


def zipped(members: Mapping[str, bytes | str], **compression: Any) -> bytes:
    """Return a zip file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **({"compression": zipfile.ZIP_DEFLATED} | compression)) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_MATH = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
_RELATED = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def relations(**parts: str) -> str:
    """Return a part of relations: kind and target, the identifier is the kind and a number."""
    lines = [
        f'<Relationship Id="r{at}" Type="{_OFFICE}/{kind.rstrip("0123456789")}" Target="{target}"/>'
        for at, (kind, target) in enumerate(parts.items(), 1)
    ]
    return f'<Relationships xmlns="{_RELATED}">{"".join(lines)}</Relationships>'


STYLES = f"""<w:styles {_W}>
<w:style w:styleId="H1"><w:name w:val="heading 1"/></w:style>
<w:style w:styleId="H2"><w:name w:val="heading 2"/><w:basedOn w:val="H1"/></w:style>
<w:style w:styleId="Code"><w:name w:val="Source Code"/><w:rPr><w:rFonts w:ascii="Consolas"/></w:rPr></w:style>
<w:style w:styleId="Bullet"><w:name w:val="List Bullet"/>
<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>
</w:styles>"""
NUMBERING = f"""<w:numbering {_W}>
<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl>
<w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="1">
<w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="decimal"/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>
</w:numbering>"""


def docx(body: str, head: str = "", **parts: str) -> bytes:
    """Return a Word document with the XML of its body; `head` comes before the root element."""
    members: dict[str, bytes | str] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations(officeDocument="word/document.xml"),
        "word/_rels/document.xml.rels": relations(
            styles="styles.xml", numbering="numbering.xml", footnotes="footnotes.xml"
        ),
        "word/styles.xml": STYLES,
        "word/numbering.xml": NUMBERING,
        "word/document.xml": f"{head}<w:document {_W} {_MATH}><w:body>{body}</w:body></w:document>",
    }
    return zipped({**members, **parts})


def paragraph(text: str, style: str = "", properties: str = "") -> str:
    """Return a paragraph of one run."""
    chosen = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f'<w:p><w:pPr>{chosen}{properties}</w:pPr><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def pdf(lines: list[str], pages: int = 1) -> bytes:
    """Return a PDF of pages with the given lines; pdfium finds the objects without an index."""
    shown = " ".join(f"({line}) Tj 0 -14 Td" for line in lines)
    content = f"BT /F1 12 Tf 50 700 Td {shown} ET"
    kids = " ".join(f"{10 + at} 0 R" for at in range(pages))
    leaves = "\n".join(
        f"{10 + at} 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
        f"/Resources<</Font<</F1 5 0 R>>>>>> endobj"
        for at in range(pages)
    )
    return f"""%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[{kids}]/Count {pages}>> endobj
{leaves}
4 0 obj <</Length {len(content)}>> stream
{content}
endstream endobj
5 0 obj <</Type/Font/Subtype/Type1/BaseFont/Helvetica>> endobj
trailer <</Root 1 0 R>>
%%EOF""".encode()


def locked_pdf() -> bytes:
    """Return a PDF that asks for a password."""
    nothing = "00" * 32
    return pdf(["secret"]).replace(
        b"trailer <</Root 1 0 R>>",
        f"6 0 obj <</Filter/Standard/V 1/R 2/O<{nothing}>/U<{nothing}>/P -4>> endobj\n"
        f"trailer <</Root 1 0 R/Encrypt 6 0 R/ID[<{'11' * 16}><{'11' * 16}>]>>".encode(),
    )


def locked_zip(member: str, data: bytes) -> bytes:
    """Return a zip file whose member says that it is encrypted."""
    plain = bytearray(zipped({member: data}, compression=zipfile.ZIP_STORED))
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        plain[plain.index(magic) + place] |= 1
    return bytes(plain)
