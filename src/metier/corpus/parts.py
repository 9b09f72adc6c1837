"""Texts as lines, sentences or paragraphs: where each lies, and what makes two of them the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from metier.core.markdown import blocks

Level = Literal["line", "sentence", "paragraph"]

# A sentence ends at its mark and the closing quotes after it, before white space; in Chinese and Japanese at the mark.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？；]+[”’」』）]*")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WORD = re.compile(r"\w+")
_WIDE_WEIGHT = 3
"""Letters of English that a Chinese character is worth, by what translations of one text take."""


class Span(NamedTuple):
    """Where a part lies in its text: `text[start:end]`."""

    start: int
    end: int


def spans(text: str, level: Level) -> Iterator[Span]:
    """Yield the parts of a Markdown text in their order. Headings and code are no parts, whatever the level.

    A paragraph is also a list's item and a table, a line is also a table's row.
    """
    starts = _line_starts(text)
    for block in blocks(text):
        if block.kind in ("heading", "code"):
            continue
        start, end = starts[block.first], starts[block.end] - 1
        if level == "paragraph":
            yield Span(start, end)
        elif level == "line" or block.kind == "table":
            for line in range(block.first, block.end):
                yield Span(starts[line], starts[line + 1] - 1)
        else:
            yield from _sentences(text, start, end)


def weight(part: str) -> int:
    """Return how long a part is in characters of English: a Chinese or Japanese character counts three."""
    return len(part) + (_WIDE_WEIGHT - 1) * len(_WIDE.findall(part))


def key(part: str) -> int:
    """Return the 64-bit key that two parts share if they say the same: words alike; case, marks and space aside."""
    words = " ".join(_WORD.findall(part.lower()))
    return int.from_bytes(hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def without(text: str, unwanted: Sequence[Span]) -> str:
    """Return the text without some of its parts, and without the blank lines and spaces that they would leave."""
    kept, at = [], 0
    for start, end in unwanted:
        before = text[at:start]
        if end < len(text) and text[end] == "\n" and (not before.strip(" \t") or before.endswith("\n")):
            end += 1  # the whole line goes
        elif before.endswith((" ", "\t")) or not before:
            end += len(text[end : end + 1].strip("\n")) if text[end : end + 1].isspace() else 0
        kept.append(before)
        at = end
    kept.append(text[at:])
    return re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip() if unwanted else text


def _line_starts(text: str) -> list[int]:
    starts = [0]
    starts += [found.end() for found in re.finditer("\n", text)]
    return [*starts, len(text) + 1]


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    at = start
    for found in _SENTENCE_END.finditer(text, start, end):
        if text[at : found.end()].strip():
            yield _trimmed(text, at, found.end())
        at = found.end()
    if text[at:end].strip():
        yield _trimmed(text, at, end)


def _trimmed(text: str, start: int, end: int) -> Span:
    part = text[start:end]
    return Span(start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip()))
