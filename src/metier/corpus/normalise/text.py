"""The normal form of one text. What is clean already is found to be so by a few quick looks, and left alone."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

from metier.core.markdown import blocks
from metier.corpus.normalise.boilerplate import without_boilerplate
from metier.corpus.normalise.mojibake import repaired

# Zero-width and soft characters that a reader never sees; the joiners U+200C/D carry meaning in some scripts.
_INVISIBLE = [0x00AD, 0x200B, 0x2060, 0xFEFF, 0x200E, 0x200F, *range(0x202A, 0x202F)]
_CONTROLS = [code for code in (*range(32), *range(0x7F, 0xA0)) if code not in (9, 10)]
_SPACES = [0x00A0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x2028]
_PLAIN_CHARACTERS = {**dict.fromkeys(_INVISIBLE + _CONTROLS), **dict.fromkeys(_SPACES, " ")}
_NOT_PLAIN = re.compile(f"[{''.join(map(chr, _PLAIN_CHARACTERS))}]")
_NOT_PLAIN_ASCII = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_OTHER_SPACES = ("\t", "\u3000", "\u2029")  # white space that stays within a line and goes at its end

_IMAGE = re.compile(r"!\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_LINK = re.compile(r"\[([^\[\]]+)\]\(\s*(?:[^()\s]|\([^()\s]*\))+(?:\s+[\"'][^\"']*[\"'])?\s*\)")
_REFERENCE = re.compile(r"\[([^\[\]]+)\]\[[^\[\]]*\]")
_REFERENCE_TARGET = re.compile(r"^ {0,3}\[[^\]]+\]:\s+\S+.*$", re.MULTILINE)
_CODE_SPAN = re.compile(r"(`+[^`]*`+)")
_RUN_OF_SPACES = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")

_VERBATIM = re.compile(
    r"(\\begin\{(verbatim\*?|Verbatim\*?|BVerbatim|lstlisting|minted|alltt|filecontents\*?)\}.*?\\end\{\2\}"
    r"|\\(?:verb|lstinline)\*?(?P<mark>[^\sA-Za-z*{\[])[^\n]*?(?P=mark))",
    re.DOTALL,
)
_TRAILING_SPACE = re.compile(r"[^\S\n]+(?=\n)")
_BLANK_LINES = re.compile(r"\n{3,}")


def normalise(text: str, unwanted: Callable[[str], bool] | None = None, removed: Counter[str] | None = None) -> str:
    """Return prose or Markdown in its one form.

    Prose: NFC, no control or invisible characters, single spaces, links as their text, and no line at the edge of the
    page whose key is `unwanted`; those are counted in `removed`. Code and tables keep every byte (line ends become
    "\\n").
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    whole = list(blocks(text))
    if unwanted is not None:
        whole = without_boilerplate(whole, unwanted, Counter() if removed is None else removed)
    clean = _is_clean(text)
    parts: list[str] = []
    end = 0
    for block in whole:
        kind, words, first, last = block
        if kind not in ("code", "table"):
            if not _is_smooth(words) or not (clean or _is_clean(words)):
                words = prose(words)
            elif " \n" in words:
                words = "\n".join([line.rstrip() for line in words.split("\n")])
            else:
                words = words.rstrip()
            if not words:
                continue
        if parts:
            # One blank line between blocks, or none where the source had none (the items of a list).
            parts.append("\n" if first == end and kind in ("item", "paragraph") else "\n\n")
        parts.append(words)
        end = last
    return "".join(parts)


def prose(text: str) -> str:
    """Return one block of prose in its normal form; code spans inside it keep their bytes."""
    if "]" in text:
        text = _REFERENCE_TARGET.sub("", _IMAGE.sub(r"\1", text))
    if "`" in text:
        parts = _CODE_SPAN.split(text)
        parts[::2] = [_plain(part) for part in parts[::2]]
        text = "".join(parts)
    else:
        text = _plain(text)
    return "\n".join([line.rstrip() for line in text.split("\n") if line and not line.isspace()])


def latex(text: str) -> str:
    """Return LaTeX in its normal form: that of its characters and line ends, apart from verbatim text and listings."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    parts, at = [], 0
    for found in _VERBATIM.finditer(text):
        parts += [_plain_characters(text[at : found.start()]), found[0]]
        at = found.end()
    parts.append(_plain_characters(text[at:]).rstrip())
    # What is verbatim may hold such spaces too, so only the parts between are looked at.
    parts[::2] = [_BLANK_LINES.sub("\n\n", _TRAILING_SPACE.sub("", part)) for part in parts[::2]]
    return "".join(parts).strip("\n")


def repaired_prose(text: str) -> tuple[str, int]:
    """Return the text with lines repaired that were decoded wrongly, none of them code or tables, and their number."""
    fixed = repaired(text)
    if fixed is text:
        return text, 0
    old, new = text.split("\n"), fixed.split("\n")
    kept = {line for block in blocks(text) if block.kind in ("code", "table") for line in range(block.first, block.end)}
    chosen = [before if at in kept else after for at, (before, after) in enumerate(zip(old, new, strict=True))]
    return "\n".join(chosen), sum(before != after for before, after in zip(old, chosen, strict=True))


def _is_clean(text: str) -> bool:
    """Say whether the characters of a text are all as they should be: plain, and composed."""
    if text.isascii():
        return "\t" not in text and _NOT_PLAIN_ASCII.search(text) is None
    return (
        not any(space in text for space in _OTHER_SPACES)
        and _NOT_PLAIN.search(text) is None
        and unicodedata.is_normalized("NFC", text)
    )


def _is_smooth(words: str) -> bool:
    """Say whether a block of clean characters has no links and no runs of spaces."""
    return not ("](" in words or "  " in words or "][" in words or "]:" in words)


def _plain(text: str) -> str:
    text = _plain_characters(text)
    if "](" in text or "][" in text:
        text = _REFERENCE.sub(r"\1", _LINK.sub(r"\1", text))
    return _RUN_OF_SPACES.sub(" ", text) if "  " in text or "\t" in text else text


def _plain_characters(text: str) -> str:
    if text.isascii():
        return text.translate(_PLAIN_CHARACTERS) if _NOT_PLAIN_ASCII.search(text) else text
    if _NOT_PLAIN.search(text):
        text = text.translate(_PLAIN_CHARACTERS)
    return unicodedata.normalize("NFC", text)
