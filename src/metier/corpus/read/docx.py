"""Word documents (WordprocessingML) as Markdown: headings, lists, tables, code, notes and formulas.

Own code on the standard library's XML parser: of the parsers tried, the light ones give runs of text and leave the
structure to the caller, and the complete one loses characters of code ("if x < 3" came back as "if x 3").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from xml.etree.ElementTree import Element

from metier.corpus.read.formulas import formula
from metier.corpus.read.found import NO_TEXT, Content, Unreadable
from metier.corpus.read.kinds import Kind
from metier.corpus.read.ooxml import MC, M, Package, W, fence, table
from metier.corpus.read.sources import Options, Source
from metier.corpus.read.text import name_as_title

_CODE_STYLE = re.compile(r"code|listing|verbatim|preformatted|macro ?text|terminal|console", re.IGNORECASE)
_MONOSPACED = re.compile(
    r"mono|consol|courier|menlo|code|fixed|terminal|inconsolata|monaco|hack|typewriter", re.IGNORECASE
)
_VAL = f"{W}val"
_SPECIAL = {"noBreakHyphen": "-", "softHyphen": "", "tab": "\t", "cr": "\n"}
_CODE = "code"  # kinds of paragraph
_HEADING, _ITEM, _PLAIN = "heading", "item", "plain"


@lru_cache(maxsize=1000)
def is_monospaced(font: str) -> bool:
    """Say whether a font's name is that of one for code."""
    return _MONOSPACED.search(font) is not None


@lru_cache(maxsize=1000)
def is_code(style: str) -> bool:
    """Say whether a style's name is that of one for code."""
    return _CODE_STYLE.search(style) is not None


class Style(NamedTuple):
    """What a style says, its bases included; None where it says nothing."""

    name: str = ""
    level: int | None = None  # of a heading, from 0
    list_id: str | None = None
    list_level: int | None = None
    font: str | None = None


class Paragraph(NamedTuple):
    """One paragraph: its kind, its Markdown, and for a heading or an item its level from 0."""

    kind: str
    text: str
    level: int = 0
    mark: str = "-"


def read_docx(source: Source, options: Options, kind: Kind) -> Iterator[Content]:
    """Yield a Word document as one text. Pages are where a printer breaks lines, so there are none here."""
    package = Package(source, options)
    main = next((place for how, place in package.related("").values() if how == "officeDocument"), "word/document.xml")
    if main not in package:
        raise Unreadable("no Word document in it")
    text = _Document(package, main).markdown()
    if not text:
        raise Unreadable(NO_TEXT)
    title = package.property("title") or _first_heading(text) or name_as_title(source.file_name)
    yield Content(text, title, kind.media_type)


def _first_heading(text: str) -> str | None:
    found = re.match(r"#+ (.+)", text)
    return found[1] if found is not None else None


class _Document:
    """The styles and numberings of one document, and the state of its lists."""

    def __init__(self, package: Package, main: str) -> None:
        self._package, self._main = package, main
        related = dict(package.related(main).values())
        self._styles = _styles(package.root(related.get("styles", "")))
        self._lists = _lists(package.root(related.get("numbering", "")))
        self._notes = [(how[:-1], related[how]) for how in ("footnotes", "endnotes") if related.get(how, "") in package]
        self._counts: dict[tuple[str, int], int] = {}

    def markdown(self) -> str:
        """Return the body and, after it, the notes it refers to."""
        blocks = list(self._blocks(self._package.elements(self._main, 2)))
        text = "\n\n".join(blocks)
        for kind, place in self._notes:
            for note in self._package.elements(place, 1):
                mark = f"[^{kind[0]}{note.get(f'{W}id')}]"
                if mark in text and note.get(f"{W}type") in (None, "normal"):
                    said = " ".join(" ".join(self._blocks(note)).split())
                    text += f"\n\n{mark}: {said}"
        return text.strip()

    def _blocks(self, elements: Iterator[Element] | Element) -> Iterator[str]:
        """Yield the Markdown blocks of a body, a cell or a note; neighbouring items and lines of code are one block."""
        run: list[Paragraph] = []
        for found in self._paragraphs(elements):
            if isinstance(found, Paragraph):
                if run and not (found.kind == run[-1].kind and found.kind in (_CODE, _ITEM)):
                    yield _block(run)
                    run = []
                run.append(found)
            else:
                if run:
                    yield _block(run)
                    run = []
                yield found
        if run:
            yield _block(run)

    def _paragraphs(self, elements: Iterator[Element] | Element) -> Iterator[Paragraph | str]:
        """Yield paragraphs, and finished blocks for tables and text boxes."""
        for element in elements:
            if element.tag == f"{W}p":
                paragraph = self._paragraph(element)
                if paragraph.text.strip() or paragraph.kind == _CODE:
                    yield paragraph
                for box in _text_boxes(element):
                    yield from self._blocks(box)
            elif element.tag == f"{W}tbl":
                yield from self._table(element)
            elif element.tag in (f"{W}sdt", f"{W}ins", f"{W}moveTo", f"{W}smartTag", f"{W}customXml", f"{W}sdtContent"):
                yield from self._paragraphs(element)

    def _paragraph(self, element: Element) -> Paragraph:
        properties = element.find(f"{W}pPr")
        style = self._styles.get(_said(properties, "pStyle") or "", Style())
        level = _number(_said(properties, "outlineLvl"), style.level)
        runs = list(self._runs(element, style.font))
        text = "".join(said for said, _ in runs)
        written = [(said, mono) for said, mono in runs if said.strip()]
        if written and (all(mono for _, mono in written) or is_code(style.name)):
            return Paragraph(_CODE, text.rstrip("\n"))
        if not text.strip() and is_code(style.name):
            return Paragraph(_CODE, "")
        text = _inline(runs)
        if level is not None and level < 9:
            return Paragraph(_HEADING, " ".join(text.split()), level)
        numbering = properties.find(f"{W}numPr") if properties is not None else None
        list_id = _said(numbering, "numId") or style.list_id
        if list_id not in (None, "0"):
            return self._item(text.strip(), list_id or "", _number(_said(numbering, "ilvl"), style.list_level) or 0)
        return Paragraph(_PLAIN, text.strip())

    def _item(self, text: str, list_id: str, level: int) -> Paragraph:
        form, start = self._lists.get((list_id, level), ("bullet", 1))
        if form in ("bullet", "none"):
            return Paragraph(_ITEM, text, level)
        number = self._counts.get((list_id, level), start - 1) + 1
        self._counts[list_id, level] = number
        for deeper in [key for key in self._counts if key[0] == list_id and key[1] > level]:
            del self._counts[deeper]
        return Paragraph(_ITEM, text, level, f"{number}.")

    def _runs(self, element: Element, font: str | None) -> Iterator[tuple[str, bool]]:
        """Yield the text of each run and whether its font is monospaced."""
        for child in element:
            name = child.tag.removeprefix(W)
            if name == "r":
                properties = child.find(f"{W}rPr")
                style = self._styles.get(_said(properties, "rStyle") or "", Style())
                fonts = properties.find(f"{W}rFonts") if properties is not None else None
                direct = (fonts.get(f"{W}ascii") or fonts.get(f"{W}hAnsi")) if fonts is not None else None
                shown = direct or style.font or font or ""
                mono = is_monospaced(shown) or (style.name != "" and is_code(style.name))
                yield _run_text(child), mono
            elif name in ("hyperlink", "ins", "moveTo", "smartTag", "fldSimple", "sdt", "sdtContent", "dir", "bdo"):
                yield from self._runs(child, font)
            elif child.tag in (f"{M}oMath", f"{M}oMathPara"):
                yield f"${formula(child)}$", False

    def _table(self, element: Element) -> Iterator[str]:
        rows: list[list[str]] = []
        for row in _rows(element):
            cells: list[str] = []
            for one in row:
                properties = one.find(f"{W}tcPr")
                merged = properties.find(f"{W}vMerge") if properties is not None else None
                goes_on = merged is not None and merged.get(_VAL, "continue") == "continue"
                cells.append("" if goes_on else "\n".join(self._blocks(one)))
                cells += [""] * (int(_said(properties, "gridSpan") or 1) - 1)
            rows.append(cells)
        if len(rows) == 1 and len(rows[0]) == 1:  # a frame around text, and often around code
            if rows[0][0]:
                yield rows[0][0]
        elif rows and (found := table(rows)):
            yield found


def _block(paragraphs: list[Paragraph]) -> str:
    first = paragraphs[0]
    if first.kind == _CODE:
        return fence([paragraph.text for paragraph in paragraphs])
    if first.kind == _HEADING:
        return f"{'#' * min(first.level + 1, 6)} {first.text}"
    if first.kind == _ITEM:
        return "\n".join(f"{'   ' * p.level}{p.mark} {p.text}".rstrip() for p in paragraphs)
    return first.text


def _inline(runs: list[tuple[str, bool]]) -> str:
    """Return the runs of a paragraph as Markdown: what is monospaced among prose is code."""
    out, code = [], ""
    for said, mono in [*runs, ("", False)]:
        if mono and said.strip() and "\n" not in said:
            code += said
            continue
        if code:
            inside = code.strip()
            out.append(code.replace(inside, f"`{inside}`" if "`" not in inside else inside))
            code = ""
        out.append(said)
    return "".join(out)


def _run_text(run: Element) -> str:
    said = []
    for child in run:
        name = child.tag.removeprefix(W)
        if name == "t":
            said.append(child.text or "")
        elif name == "br":
            said.append("\n" if child.get(f"{W}type") in (None, "textWrapping") else "")
        elif name in _SPECIAL:
            said.append(_SPECIAL[name])
        elif name in ("footnoteReference", "endnoteReference"):
            said.append(f"[^{name[0]}{child.get(f'{W}id')}]")
    return "".join(said)


def _text_boxes(paragraph: Element) -> Iterator[Element]:
    """Yield the contents of text boxes anchored in a paragraph; of two forms of the same one, the first."""
    if paragraph.find(f".//{W}txbxContent") is None:
        return
    for child in paragraph.iter():
        if child.tag == f"{MC}AlternateContent":
            fallback = child.find(f"{MC}Fallback")
            if fallback is not None and child.find(f"{MC}Choice") is not None:
                child.remove(fallback)
    for child in paragraph.iter(f"{W}txbxContent"):
        yield child


def _rows(table_element: Element) -> Iterator[list[Element]]:
    def inside(element: Element, tag: str) -> Iterator[Element]:
        for child in element:
            if child.tag == tag:
                yield child
            elif child.tag in (f"{W}sdt", f"{W}sdtContent", f"{W}ins", f"{W}customXml"):
                yield from inside(child, tag)

    for row in inside(table_element, f"{W}tr"):
        yield list(inside(row, f"{W}tc"))


def _styles(root: Element | None) -> dict[str, Style]:
    written = {style.get(f"{W}styleId", ""): style for style in root or () if style.tag == f"{W}style"}
    known: dict[str, Style] = {}

    def resolve(identifier: str, trail: tuple[str, ...] = ()) -> Style:
        if identifier in known or identifier not in written or identifier in trail:
            return known.get(identifier, Style())
        element = written[identifier]
        base = resolve(_said(element, "basedOn") or "", (*trail, identifier))
        name = _said(element, "name") or ""
        paragraph, run = element.find(f"{W}pPr"), element.find(f"{W}rPr")
        numbering = paragraph.find(f"{W}numPr") if paragraph is not None else None
        fonts = run.find(f"{W}rFonts") if run is not None else None
        heading = re.fullmatch(r"heading (\d)", name, re.IGNORECASE)
        level = int(heading[1]) - 1 if heading is not None else 0 if name.lower() == "title" else None
        known[identifier] = Style(
            name,
            _number(_said(paragraph, "outlineLvl"), level if level is not None else base.level),
            _said(numbering, "numId") or base.list_id,
            _number(_said(numbering, "ilvl"), base.list_level),
            (fonts.get(f"{W}ascii") if fonts is not None else None) or base.font,
        )
        return known[identifier]

    for identifier in written:
        resolve(identifier)
    return known


def _lists(root: Element | None) -> dict[tuple[str, int], tuple[str, int]]:
    """Return (form, first number) by (list, level)."""
    abstract: dict[str, dict[int, tuple[str, int]]] = {}
    found: dict[tuple[str, int], tuple[str, int]] = {}
    for element in root or ():
        if element.tag == f"{W}abstractNum":
            abstract[element.get(f"{W}abstractNumId", "")] = {
                int(level.get(f"{W}ilvl", 0)): (
                    _said(level, "numFmt") or "decimal",
                    _number(_said(level, "start"), None) or 1,
                )
                for level in element.findall(f"{W}lvl")
            }
        elif element.tag == f"{W}num":
            levels = abstract.get(_said(element, "abstractNumId") or "", {})
            found |= {(element.get(f"{W}numId", ""), level): said for level, said in levels.items()}
    return found


def _said(element: Element | None, name: str) -> str | None:
    child = element.find(f"{W}{name}") if element is not None else None
    return child.get(_VAL) if child is not None else None


def _number(said: str | None, default: int | None) -> int | None:
    return int(said) if said is not None and said.isdigit() else default
