"""A Markdown text as its blocks: headings, paragraphs, list items, tables and code, in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Kind = Literal["heading", "paragraph", "item", "table", "code"]

_FENCE = re.compile(r"^ {0,12}(`{3,}|~{3,})")
_HEADING = re.compile(r"^#{1,6}\s+\S")
_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_TABLE = re.compile(r"^\s*\|.*\|\s*$")
_INDENTED = re.compile(r"^(?: {4}|\t)\s*\S")
_MARKERS = frozenset("`~#|-*+•")  # what a block other than a paragraph begins with, beside the digits of a list


class Block(NamedTuple):
    """One block and the lines it spans, `first` up to but without `end`; joining all blocks gives the text back."""

    kind: Kind
    text: str
    first: int
    end: int

    @property
    def level(self) -> int:
        """The depth of a heading, 1 to 6; 0 for any other block."""
        return len(self.text) - len(self.text.lstrip("#")) if self.kind == "heading" else 0


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a Markdown text. Blank lines between blocks belong to none.

    A fence that is never closed runs to the end of the text, as in CommonMark. Lines indented by four
    after a blank line are code, unless a list is open.
    """
    lines = text.split("\n")
    at, in_list = 0, False
    while at < len(lines):
        line = lines[at]
        if not line or line.isspace():
            at += 1
            continue
        kind, end = _block_at(lines, at, in_list)
        in_list = kind == "item" or (in_list and line[0] == " ")
        yield Block(kind, line if end == at + 1 else "\n".join(lines[at:end]), at, end)
        at = end


def _block_at(lines: list[str], at: int, in_list: bool) -> tuple[Kind, int]:
    line = lines[at]
    # The first character rules most patterns out.
    first = line[0] if not line[0].isspace() else line.lstrip()[0]
    if first in "`~" and (fence := _FENCE.match(line)):
        return "code", _fence_end(lines, at, fence.group(1))
    if first == "#" and _HEADING.match(line):
        return "heading", at + 1
    if first == "|" and _TABLE.match(line):
        return "table", _run(lines, at, _TABLE.match)
    if line[0] in " \t" and not in_list and (at == 0 or not lines[at - 1].strip()) and _INDENTED.match(line):
        return "code", _run(lines, at, _INDENTED.match)
    kind: Kind = "item" if (first in _MARKERS or first.isdecimal()) and _ITEM.match(line) else "paragraph"
    return kind, _paragraph_end(lines, at)


def _paragraph_end(lines: list[str], at: int) -> int:
    for end in range(at + 1, len(lines)):
        line = lines[end]
        # Most lines are blank or begin with a letter: a look at that saves the patterns.
        if not line or (not line[0].isalpha() and _starts_block(line)):
            return end
    return len(lines)


def _fence_end(lines: list[str], at: int, mark: str) -> int:
    for end in range(at + 1, len(lines)):
        if lines[end].strip().startswith(mark) and not lines[end].strip().strip(mark[0]):
            return end + 1
    return len(lines)


def _run(lines: list[str], at: int, belongs: Callable[[str], object]) -> int:
    end = at + 1
    while end < len(lines) and belongs(lines[end]):
        end += 1
    return end


def _starts_block(line: str) -> bool:
    words = line.lstrip()
    if words and words[0] not in _MARKERS and not words[0].isdecimal():
        return False
    return not words or any(pattern.match(line) is not None for pattern in (_FENCE, _HEADING, _TABLE, _ITEM))


_MARKS = re.compile(r"\*\*|__(?=\S)|(?<=\S)__")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|no|fig|approx|dr|mr|ms|st|inc|ver)|^[A-Z])\.$", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?][\"')\]]*(?=\s+[\"'(\[]*[^\sa-z])|[.!?:][\"')\]]*$|[。！？]")


def plain(text: str) -> str:
    """Return a block's words without Markdown's marks, on one line."""
    text = _ITEM.sub("", text.lstrip("# ") if _HEADING.match(text) else text, count=1)
    return " ".join(_MARKS.sub("", text).replace("`", "").split())


def sentences(text: str) -> list[str]:
    """Return the sentences of one line of plain text, each exactly as it stands there."""
    found, start = [], 0
    for end in _SENTENCE.finditer(text):
        if _ABBREVIATION.search(text[start : end.start() + 1]) and end.end() < len(text):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found
