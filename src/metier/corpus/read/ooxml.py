"""Office Open XML packages (ISO/IEC 29500): a zip file of XML parts that refer to each other."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError, fromstring, iterparse
from xml.parsers import expat

from metier.corpus.read.found import DAMAGED, LOCKED, Unreadable
from metier.corpus.read.sources import Options, Source, Unpacked

_PROLOG = 65536
_TREE_BYTES = 8_000_000
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_CORE = "{http://purl.org/dc/elements/1.1/}"
W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_STRICT = "http://purl.oclc.org/ooxml/"
_TRANSITIONAL = {
    f"{{{_STRICT}wordprocessingml/main}}": W,
    f"{{{_STRICT}drawingml/main}}": A,
    f"{{{_STRICT}presentationml/main}}": P,
    f"{{{_STRICT}officeDocument/math}}": M,
    f"{{{_STRICT}officeDocument/relationships}}": R,
}


class Package:
    """The parts of a document, each parsed when it is asked for.

    Raises:
        Unreadable: it is no zip file, or locked by a password.
    """

    def __init__(self, source: Source, options: Options) -> None:
        if source.size is not None and source.size > options.max_bytes:
            source.data(options.max_bytes)
        refuse_ole(source, options)
        try:
            self._zip = zipfile.ZipFile(source.seekable())
        except zipfile.BadZipFile as error:
            raise Unreadable(DAMAGED, str(error)) from None
        self._names = {info.filename: info for info in self._zip.infolist()}
        self._budget = source.budget

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def open(self, name: str) -> BinaryIO:
        """Open a part, its bytes counted."""
        if self._names[name].flag_bits & 1:
            raise Unreadable(LOCKED)
        return io.BufferedReader(Unpacked(self._zip.open(name), self._budget), 65536)

    def elements(self, name: str, depth: int) -> Iterator[Element]:
        """Yield the elements at `depth` below a part's root (1 is its children), each whole, then forget it."""
        with self.open(name) as stream:
            refuse_dtd(stream)
            try:
                # A tree takes some ten times the memory of its text, and half the time of a stream of elements.
                whole = self._names[name].file_size <= _TREE_BYTES
                yield from _of_tree(stream.read(), depth) if whole else _elements(stream, depth)
            except ParseError as error:
                raise Unreadable("damaged XML", f"{name}: {error}") from None

    def root(self, name: str) -> Element | None:
        """Return a small part as a tree, or None if it is not there."""
        if name not in self:
            return None
        root = Element("root")
        root.extend(self.elements(name, 1))
        return root

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """Return what a part refers to: (kind, name of the part) by the identifier of the reference."""
        folder, _, file = name.rpartition("/")
        found = {}
        for element in self.root(f"{folder}/_rels/{file}.rels".lstrip("/")) or ():
            target = element.get("Target", "")
            if element.get("TargetMode") != "External":
                place = posixpath.normpath(target.lstrip("/") if target[:1] == "/" else posixpath.join(folder, target))
                found[element.get("Id", "")] = (element.get("Type", "").rpartition("/")[2], place)
        return found

    def property(self, name: str) -> str | None:
        """Return a property of the document ("title", "language"), or None where it states none."""
        for element in self.root("docProps/core.xml") or ():
            if element.tag == _CORE + name:
                return " ".join((element.text or "").split()) or None
        return None


def refuse_ole(source: Source, options: Options) -> None:
    """Raise Unreadable for a file of the older Office, which is also how the newer one encrypts."""
    if source.head(8) == _OLE:
        locked = _ENCRYPTED in source.data(options.max_bytes)
        raise Unreadable(LOCKED if locked else "old Office file")


def refuse_dtd(stream: BinaryIO) -> None:
    """Raise Unreadable if XML has a document type: no office writes one, and billions of laughs hide there.

    The parser itself says where the root element begins, whatever the encoding.
    """
    parser = expat.ParserCreate()
    seen: list[str] = []
    parser.StartDoctypeDeclHandler = lambda *_: seen.append("dtd")
    parser.StartElementHandler = lambda *_: seen.append("element")
    head = stream.peek(_PROLOG)[:_PROLOG]  # type: ignore[attr-defined]
    for start in range(0, len(head), 512):
        try:
            parser.Parse(head[start : start + 512], False)
        except expat.ExpatError as error:
            raise Unreadable("damaged XML", str(error)) from None
        if seen:
            break
    if seen[:1] != ["element"]:
        raise Unreadable("XML with a document type", "an office writes none")


def _of_tree(text: bytes, depth: int) -> Iterator[Element]:
    found = [_without_strict(fromstring(text))]
    for _ in range(depth):
        found = [child for element in found for child in element]
    return iter(found)


def _elements(stream: BinaryIO, depth: int) -> Iterator[Element]:
    level, path = 0, list[Element]()
    for event, element in iterparse(stream, ("start", "end")):
        if event == "start":
            if level < depth:
                path.append(element)
            level += 1
        else:
            level -= 1
            if level == depth:
                yield _without_strict(element)
                path[-1].clear()
            elif level < depth:
                path.pop()


def _without_strict(element: Element) -> Element:
    """Return the element with the names of the transitional format, in which nearly all files are written."""
    if _STRICT in element.tag:
        for inner in element.iter():
            for strict, usual in _TRANSITIONAL.items():
                inner.tag = inner.tag.replace(strict, usual)
                inner.attrib.update(
                    {k.replace(strict, usual): v for k, v in list(inner.attrib.items()) if k.startswith(strict)}
                )
    return element


def cell(text: str) -> str:
    """Return a text as a cell of a Markdown table."""
    return text.strip().replace("\\|", "|").replace("|", "\\|").replace("\n", "<br>")


def table(rows: list[list[str]]) -> str:
    """Return rows of cells as a Markdown table, its first row the head; "" if all cells are empty."""
    filled = [[cell(text) for text in row] for row in rows]
    filled = [row for row in filled if any(row)]
    width = max(map(len, filled), default=0)
    if not width:
        return ""
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in filled]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def fence(lines: list[str]) -> str:
    """Return lines of code between fences longer than any inside."""
    code = "\n".join(lines)
    ticks = "```"
    while ticks in code:
        ticks += "`"
    return f"{ticks}\n{code}\n{ticks}"
