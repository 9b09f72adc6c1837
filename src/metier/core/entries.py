"""What a manual says about named things, found by its structure: functions, settings, terms, questions, sections.

Nothing here knows one manual from another. An entry is a name (or a heading) and the text that the document
puts under it; whether it makes a good question is for the room that asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from metier.core.markdown import Block, blocks, plain

EntryKind = Literal["function", "definition", "question", "section", "document"]

_BOLD_BLOCK = re.compile(r"^(?:\s*(?:[-*+]|\d{1,3}[.)])\s+)?\*\*([^*].*?)\*\*\s*[:.]?\s*$", re.DOTALL)
_BOLD_START = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])?\s*\*\*([^*]{2,60}?)\*\*\s*(?:[:.→–—-]+|\()?\s+(?=\S)")
_ARROW = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+(\S(?:.{0,58}\S)?)\s+(?:→|—|–|=>)\s+(?=\S)")
_NUMBERING = re.compile(r"^\s*(?:\(?\d{1,4}[.)]|(?:\d+\.)+\d*|[A-Z]\.|§+)\s+")
_CALL = re.compile(r"^[A-Za-z_][\w.:]*\s?\([^()]*\)$")
_IDENTIFIER = re.compile(r"^(?:[-.@$#]{0,2}\w*[_A-Z0-9.\-:]\w*|[A-Z][A-Z0-9 _+-]+|[.@$#-]{1,2}[a-z][\w-]*)$")
# As a Markdown heading, "Introduction" or "File Format" is a heading; "SQLITE_BUSY", "fts5.h" or "xOpen" is a name.
_ORDINARY_WORDS = re.compile(r"^(?:[A-Z]?[a-z]+|\d+|[A-Z])(?:[ -](?:[A-Z]?[a-z]+|\d+|[A-Z]+))*$|.* .*[a-z]")
_SIGNATURE = re.compile(r"^(?![A-Z]{3,} )[A-Za-z_][\w\s*]*?[\s*]([A-Za-z_]\w{3,})\(", re.MULTILINE)
_SUBJECT_NOUN = (
    "function|interface|routine|method|macro|pragma|statement|command|clause|operator|option|opcode|keyword|parameter"
    "|argument|object|structure|constraint|constant|flag|setting|variable|module|extension|table|column|error code"
    "|result code|collating sequence|collation|type|class|file|program|utility|tool|algorithm|optimization|attribute"
)
# "The SQLITE_BUSY result code indicates ...", "The abs(X) function returns ...": a name, what it is, and a verb.
_SUBJECT = re.compile(
    r"^The (?:extended )?((?:PRAGMA )?[\w.@$:-]*[\w)](?:\([^()]*\))?(?: [A-Z][A-Z]+){0,3}) "
    rf"((?:[A-Za-z/+]+ ){{0,2}}?(?:{_SUBJECT_NOUN}))\s+"
    r"(?:is|are|was|can|may|must|will|causes?|returns?|specif\w+|provides?|defines?|indicates?|means|sets?|gets?|computes?"
    r"|controls?|creates?|takes|allows?|accepts?|adds?|removes?|deletes?|forces?|gives?|implements?|makes?|works|does|has"
    r"|registers?|enables?|disables?|runs?|reads?|writes?|queries|shows?|displays?|converts?|determines?|describes?|uses?"
    r"|performs?|prevents?|changes|contains|requests?|opens?|closes|copies|attempts|applies|holds|tells|stores|lists"
    r"|releases?|frees?|moves?|loads?|calls?|binds?|resets?|finds?|checks?|compares?|omits?|limits?"
    r"|supports?|represents?|refers|identif\w+|tries|marks?|starts?|ends?)\b"
)


class Entry(NamedTuple):
    """A named thing and the blocks of text that say what it is. `noun` is what the text calls it, if it does."""

    kind: EntryKind
    name: str
    text: str
    noun: str | None = None


def entries(text: str, title: str) -> Iterator[Entry]:
    """Yield what a document says about named things, in its order; the same thing may come more than once."""
    whole = list(blocks(text))
    signatures = _signatures(whole)
    opening = True
    for at, block in enumerate(whole):
        follower = whole[at + 1] if at + 1 < len(whole) else None
        if block.kind == "table":
            yield from _rows(block)
        elif block.kind == "code":
            continue
        elif head := _head(block):
            if follower is not None and follower.kind == "paragraph" and not _head(follower):
                yield _headed(head, plain(follower.text), title, block.kind == "heading")
        else:
            if opening and block.kind == "paragraph":
                yield Entry("document", title, plain(block.text))
                if len(signatures) == 1:
                    # A page that declares one function says in its first paragraph what that does.
                    yield Entry("function", f"{min(signatures)}()", plain(block.text))
                opening = False
            yield from _in_text(block, signatures)


def predicate(sentence: str) -> tuple[str, str] | None:
    """Split "The abs(X) function returns ..." into its subject, "The abs(X) function", and what is said of it."""
    subject = _SUBJECT.match(sentence)
    if subject is None:
        return None
    at = subject.end(2)
    return sentence[:at], sentence[at:].strip()


def _head(block: Block) -> str | None:
    """Return the heading that a block is, be it a Markdown heading or a line all in bold, without its number."""
    if block.kind == "heading":
        return _NUMBERING.sub("", plain(block.text)) or None
    bold = _BOLD_BLOCK.match(block.text)
    if bold is None or len(block.text) > 200:
        return None
    # A term may be given in several forms, one a line: the first is its name.
    return _NUMBERING.sub("", plain(bold.group(1).split("\n")[0])).rstrip(":") or None


def _headed(head: str, text: str, title: str, is_heading: bool) -> Entry:
    if head.endswith("?"):
        return Entry("question", head, text)
    pragma = re.match(r"(PRAGMA (?:schema\.)?\w+)", head)
    if pragma:
        return Entry("definition", pragma.group(1).replace("schema.", ""), text, "pragma")
    if _CALL.match(head):
        return Entry("function", head, text)
    name = re.sub(r"\s*[=<(].*$", "", head)
    if _IDENTIFIER.match(name) and not (is_heading and _ORDINARY_WORDS.match(name)):
        return Entry("definition", name, text)
    return Entry("document", title, text) if head.lower() == title.lower() else Entry("section", head, text)


def _in_text(block: Block, signatures: frozenset[str]) -> Iterator[Entry]:
    """Yield the things that a paragraph or item itself names: at its start, in bold or as a sentence's subject."""
    bold = _BOLD_START.match(block.text) or _ARROW.match(block.text)
    if bold:
        name = _NUMBERING.sub("", plain(bold.group(1))).rstrip(":. →")
        kind: EntryKind = "function" if _CALL.match(name) else "definition"
        yield Entry(kind, name, plain(block.text[bold.end() :]))
        return
    words = plain(block.text)
    subject = _SUBJECT.match(words)
    if subject:
        name, noun = re.sub(r"(?<=\)) SQL$", "", subject.group(1).strip()), subject.group(2)
        called = name.split("(")[0]
        if "(" in name or called in signatures:
            yield Entry("function", name if "(" in name else f"{name}()", words, noun)
        elif _IDENTIFIER.match(name) or name.startswith("PRAGMA "):
            yield Entry("definition", name, words, noun)


def _rows(table: Block) -> Iterator[Entry]:
    """Yield the rows of a two-column table whose first cell is a name and whose second says something of it."""
    for line in table.text.split("\n"):
        cells = [plain(cell) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        cells = [cell.replace("\\|", "|") for cell in cells if cell and not re.fullmatch(r":?-+:?", cell)]
        if len(cells) == 2 and len(cells[0]) <= 60 and len(cells[1].split()) >= 5:
            kind: EntryKind = "function" if _CALL.match(cells[0]) else "definition"
            if kind == "function" or _IDENTIFIER.match(cells[0]):
                yield Entry(kind, cells[0], cells[1])


def _signatures(whole: list[Block]) -> frozenset[str]:
    """Return the names of functions that the code blocks declare."""
    code = "\n".join(block.text for block in whole if block.kind == "code")
    return frozenset(_SIGNATURE.findall(code))
