"""Reasons to leave a document out, each a pure function that returns the reason or None.

The shares are of characters or of lines; their defaults were set by reading what they drop and keep of the
766 pages of the SQLite manual, and are fields of the filter step.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from metier.core.markdown import Block, blocks

# A sentence: some words and an end. Chinese and Japanese sentences have an end of their own and no spaces.
_SENTENCE_END = re.compile(r"[.!?:;][\"')\]*]*(?:\s|$)|[。！？；]")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_WORD = re.compile(r"\w+")
_PLAIN_WORD = re.compile(r"^[\W_]*[^\W\d_]+(?:['’][^\W\d_]+)?(?:\([^)]*\))?\W*$")
_LOG_TITLE = re.compile(
    r"\bchange\s?logs?\b|^changes$|\brelease (?:notes?|logs?|history|summary)\b"
    r"|\b(?:release|version) v?\d+(?:\.\d+)+ (?:on|of|\()"
    r"|\bwhat(?:'|’)?s new\b|^(?:recent |old(?:er)? )?news\b|\b(?:news|announcements?)$"
    r"|\bchronology\b|history of .*releases"
    r"|\brelease history\b|更新日志|发布说明|变更记录",
    re.IGNORECASE,
)
_LOG_ENTRY = re.compile(
    r"^\W*(?:(?:19|20)\d\d-\d\d(?:-\d\d)?\b"
    r"|(?:version |release |v)?\d+\.\d+(?:\.\d+)+(?![.\d]*\.\s)\b|\d{1,2} \w{3,9} (?:19|20)\d\d\b)",
    re.IGNORECASE,
)
_LICENCE_TITLE = re.compile(
    r"^(?:.{0,30}\b)?(?:licen[cs]e|copying|terms of (?:use|service)|privacy policy)\b|\bcopyright\b", re.I
)
_LICENCE_WORDS = re.compile(
    r"hereby grant|without warranty|warranties of|as is\"|merchantability|redistribut|public domain|liable for any"
    r"|licensor|licensee|governing law|copyright holder|derivative works?|all copyright|affidavit|dedicate",
    re.IGNORECASE,
)
_CODE = re.compile(r"^\W*(?=\S{6,}\W*$)(?:[^\W_]{0,3}[-_./:]?)?(?:\d[-_./:]*){5,}\W*$")
# Symbols and control characters: all that is no letter, digit, space or punctuation.
_ODD = re.compile(r"[^\w\s.,;:!?'\"()\-–—/’‘“”…、。，！？；：（）「」《》·@&%#*\[\]{}\\]")
_MOJIBAKE = re.compile(r"[ÃÂ][\u0080-\u00bf]|â€[\u0080-\u2122]|\ufffd|ï¿½")


class Shape(NamedTuple):
    """How much of a text is what, in characters without white space."""

    prose: int
    code: int
    tables: int
    fragments: int
    sentences: int

    @property
    def total(self) -> int:
        """All characters that are no white space."""
        return self.prose + self.code + self.tables + self.fragments


def shape(text: str) -> Shape:
    """Measure a text: prose is paragraphs and items with a sentence in them, fragments are those without."""
    prose = code = tables = fragments = sentences = 0
    for block in blocks(text):
        size = len("".join(block.text.split()))
        if block.kind == "code":
            code += size
        elif block.kind == "table":
            found = [cell for cell in block.text.split("|") if is_sentence(cell)]
            sentences += len(found)
            worded = sum(len("".join(cell.split())) for cell in found)
            prose += worded
            tables += size - worded
        elif block.kind == "heading":
            continue
        elif is_sentence(block.text):
            prose += size
            sentences += max(1, len(_SENTENCE_END.findall(block.text)))
        else:
            fragments += size
    return Shape(prose, code, tables, fragments, sentences)


def is_sentence(text: str) -> bool:
    """Say whether a text reads as a sentence: six words and an end, or ten words, half of the tokens words at all.

    A list of file names or identifiers is none, however long. Two Chinese characters count as one word.
    """
    cjk = len(_CJK.findall(text))
    tokens = _CJK.sub(" ", text).split()
    plain = sum(_PLAIN_WORD.match(token) is not None for token in tokens)
    if plain + cjk / 2 < 0.5 * (len(tokens) + cjk / 2):
        return False
    words = len(tokens) + cjk / 2
    return words >= 10 or (words >= 6 and _SENTENCE_END.search(text.strip()) is not None)


def too_short(found: Shape, min_prose_chars: int = 120) -> str | None:
    """Drop a text with next to no prose and code: less than `min_prose_chars` characters of both."""
    return "too short" if found.prose + found.code < min_prose_chars else None


def mostly_navigation(found: Shape, max_fragment_share: float = 0.6) -> str | None:
    """Drop indexes, link lists and keyword lists: most of the text is list items and lines without a sentence."""
    return "index or navigation" if found.fragments > max_fragment_share * max(found.total, 1) else None


def list_of_codes(text: str, max_code_share: float = 0.3, at_least: int = 30) -> str | None:
    """Drop requirement matrices and catalogues: many paragraphs and items are nothing but a number or a code."""
    parts = [block.text for block in blocks(text) if block.kind in ("paragraph", "item")]
    codes = sum(_CODE.match(part.strip()) is not None for part in parts)
    return "list of codes" if len(parts) >= at_least and codes > max_code_share * len(parts) else None


def mostly_tables(found: Shape, max_table_share: float = 0.7) -> str | None:
    """Drop cross-reference matrices: most of the text is table cells without a sentence in them."""
    return "tables of symbols" if found.tables > max_table_share * max(found.total, 1) else None


def change_log(text: str, title: str, max_entry_share: float = 0.3) -> str | None:
    """Drop change logs, release notes and news: by title, or because the headings and items are versions and dates."""
    if _LOG_TITLE.search(title.strip()):
        return "change log, release notes or news"
    entries = [block for block in blocks(text) if block.kind in ("heading", "item")]
    dated = sum(_LOG_ENTRY.match(_heading_words(block)) is not None for block in entries)
    many = len(entries) >= 5 and dated > max_entry_share * len(entries)
    return "change log, release notes or news" if many else None


def licence_page(text: str, title: str, min_terms_per_1000_words: float = 8.0) -> str | None:
    """Drop pages that are a licence: by a title that says so together with legal terms, or by very many such terms."""
    words = max(len(_WORD.findall(text)), 1)
    terms = 1000 * len(_LICENCE_WORDS.findall(text)) / words
    wanted = min_terms_per_1000_words * (0.4 if _LICENCE_TITLE.search(title.strip()) else 2.0)
    return "licence or legal page" if terms >= wanted else None


def damaged(text: str, max_damage_share: float = 0.005, max_odd_share: float = 0.2) -> str | None:
    """Drop text that was decoded wrongly, or is no text: replacement characters, symbols, endless words."""
    if len(_MOJIBAKE.findall(text)) > max_damage_share * max(len(text), 1):
        return "encoding damage"
    plain = [block.text for block in blocks(text) if block.kind in ("paragraph", "item")]
    words = [word for part in plain for word in part.split()]
    if len(words) < 20:
        return None
    endless = sum(len(word) for word in words if len(word) > 60 and not _CJK.search(word) and "/" not in word)
    joined = "".join(words)
    odd = len(_ODD.findall(joined)) + endless
    return "gibberish" if odd > max_odd_share * len(joined) or _strange_words(words) else None


def _strange_words(words: list[str]) -> bool:
    """Say whether most longer words of a Latin text have no vowel or change case inside: keys, hashes, noise."""
    latin = [
        word for word in (w.strip(".,;:()\"'*`") for w in words) if len(word) > 4 and word.isascii() and word.isalnum()
    ]
    if len(latin) < 20:
        return False
    strange = sum(
        not re.search(r"[aeiouyAEIOUY]", word) or len(re.findall(r"[a-z][A-Z0-9]|[0-9][A-Za-z]", word)) >= 3
        for word in latin
    )
    return strange > 0.4 * len(latin)


def _heading_words(block: Block) -> str:
    return block.text.lstrip("#-*+ ").strip()
