"""Slides (PresentationML) as Markdown: titles, text, tables, code and the speaker's notes."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from metier.corpus.read.docx import is_monospaced
from metier.corpus.read.found import NO_TEXT, Content, Unread, Unreadable
from metier.corpus.read.kinds import Kind
from metier.corpus.read.ooxml import MC, A, P, Package, R, fence, table
from metier.corpus.read.sources import Options, Source
from metier.corpus.read.text import name_as_title

_TITLES = ("title", "ctrTitle")
_FURNITURE = ("dt", "ftr", "hdr", "sldNum", "sldImg")


def read_pptx(source: Source, options: Options, kind: Kind) -> Iterator[Content | Unread]:
    """Yield a presentation as one text in which each slide is a section, or as one document for each slide."""
    package = Package(source, options)
    main = next(
        (place for how, place in package.related("").values() if how == "officeDocument"), "ppt/presentation.xml"
    )
    if main not in package:
        raise Unreadable("no presentation in it")
    slides = [_slide(package, place) if place in package else "" for place in _places(package, main)]
    if not any(slides):
        raise Unreadable(NO_TEXT)
    title = package.property("title")
    if title is None or title == "PowerPoint Presentation":
        title = name_as_title(source.file_name)
    if not options.split_pages:
        yield Content("\n\n".join(filter(None, slides)), title, kind.media_type)
        return
    for number, text in enumerate(slides, 1):
        part = f"slide {number}"
        yield Content(text, title, kind.media_type, part) if text else Unread(NO_TEXT, part)


def _places(package: Package, main: str) -> Iterator[str]:
    """Yield the parts of the slides, in the order in which they are shown."""
    related = package.related(main)
    for element in package.elements(main, 1):
        if element.tag == f"{P}sldIdLst":
            for slide in element:
                yield related.get(slide.get(f"{R}id", ""), ("", ""))[1]


def _slide(package: Package, place: str) -> str:
    blocks: list[str] = []
    title = ""
    for shape in _shapes(package.elements(place, 3)):
        if shape.tag == f"{P}graphicFrame":
            blocks += filter(None, (_table(found) for found in shape.iter(f"{A}tbl")))
            continue
        role = _role(shape)
        if role in _TITLES and not title:
            title = " ".join(" ".join(_text(paragraph) for paragraph in shape.iter(f"{A}p")).split())
        elif role not in _FURNITURE:
            blocks += _paragraphs(shape, listed=role is not None)
    notes = next((where for how, where in package.related(place).values() if how == "notesSlide"), None)
    if notes is not None and notes in package:
        bodies = [shape for shape in _shapes(package.elements(notes, 3)) if _role(shape) == "body"]
        said = "\n\n".join(block for shape in bodies for block in _paragraphs(shape, listed=False))
        if said:
            blocks.append(f"Notes: {said}")
    return "\n\n".join([f"## {title}"] * bool(title) + blocks)


def _shapes(elements: Iterator[Element] | Element) -> Iterator[Element]:
    """Yield the shapes and frames, those in groups too."""
    for element in elements:
        if element.tag in (f"{P}sp", f"{P}graphicFrame"):
            yield element
        elif element.tag == f"{P}grpSp":
            yield from _shapes(element)
        elif element.tag == f"{MC}AlternateContent":
            yield from _shapes(next(iter(element), Element("none")))


def _role(shape: Element) -> str | None:
    """Return what a shape is the place for ("title", "body"), or None for one that stands by itself."""
    found = shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph")
    return found.get("type", "body") if found is not None else None


def _paragraphs(shape: Element, listed: bool) -> list[str]:
    """Return the paragraphs of a shape as blocks; in the body of a slide, which is a list by default, as items."""
    paragraphs = [(_kind(paragraph), paragraph) for paragraph in shape.iter(f"{A}p")]
    listed = listed and sum(kind != _NOTHING for kind, _ in paragraphs) > 1
    blocks, run, before = list[str](), list[str](), _NOTHING

    def finish() -> None:
        if run:
            blocks.append(fence(run) if before == _CODE else "\n".join(run))
            run.clear()

    for kind, paragraph in paragraphs:
        kind = _ITEM if kind == _PLAIN and listed and not _has(paragraph, "buNone") else kind
        if kind == _NOTHING and before != _CODE:
            continue
        if kind != before:
            finish()
        if kind == _CODE:
            run += _text(paragraph).split("\n")
        elif kind == _ITEM:
            level = _property(paragraph, "lvl")
            run.append(f"{'   ' * (int(level) if level.isdigit() else 0)}- {' '.join(_text(paragraph).split())}")
        elif kind == _PLAIN:
            blocks.append(_text(paragraph).strip())
        before = kind
    finish()
    return blocks


_NOTHING, _PLAIN, _ITEM, _CODE = "nothing", "plain", "item", "code"


def _kind(paragraph: Element) -> str:
    if not _text(paragraph).strip():
        return _NOTHING
    runs = [run for run in paragraph.iter(f"{A}r") if "".join(text.text or "" for text in run.iter(f"{A}t")).strip()]
    fonts = [run.find(f"{A}rPr/{A}latin") for run in runs]
    if runs and all(font is not None and is_monospaced(font.get("typeface", "")) for font in fonts):
        return _CODE
    return _ITEM if _has(paragraph, "buChar") or _has(paragraph, "buAutoNum") else _PLAIN


def _has(paragraph: Element, name: str) -> bool:
    return paragraph.find(f"{A}pPr/{A}{name}") is not None


def _property(paragraph: Element, name: str) -> str:
    properties = paragraph.find(f"{A}pPr")
    return properties.get(name, "") if properties is not None else ""


def _text(paragraph: Element) -> str:
    said = []
    for child in paragraph.iter():
        if child.tag == f"{A}t":
            said.append(child.text or "")
        elif child.tag == f"{A}br":
            said.append("\n")
    return "".join(said)


def _table(element: Element) -> str:
    rows = []
    for row in element.iter(f"{A}tr"):
        cells = []
        for one in row.findall(f"{A}tc"):
            merged = one.get("hMerge") == "1" or one.get("vMerge") == "1"
            cells.append("" if merged else "\n".join(_text(paragraph) for paragraph in one.iter(f"{A}p")))
        rows.append(cells)
    return table(rows)
