"""What the house rules count, as plain Python: the definition, and what runs where nothing is compiled.

They look at the blocks of a Markdown text (`metier.core.markdown`). A word here is a run without white space, a `\\w` a
letter, mark, number or underscore.
"""

from __future__ import annotations

import re

from metier.core.markdown import Block, blocks
from metier.corpus.kernel.rules_counts import Shape
from metier.corpus.kernel.unicode import DIGIT, SPACE, WORD, character_set, ranges

LONGEST_WORD = 60


def _letters() -> str:
    """Return WORD without DIGIT as the inside of brackets: many times faster to match than a negative look-ahead."""
    left = []
    for first, last in ranges(WORD):
        for start, end in ranges(DIGIT):
            if first <= end and start <= last:
                left.append((first, start - 1))
                first = end + 1
        left.append((first, last))
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in left if first <= last)


_WORD, _SPACE, _DIGIT = character_set(WORD), character_set(SPACE), character_set(DIGIT)
_W, _NOT_W, _D = f"[{_WORD}_]", f"[^{_WORD}_]", f"[{_DIGIT}]"
_LETTER = f"[{_letters()}]"
# A sentence: some words and an end. Chinese and Japanese sentences have an end of their own and no spaces.
_SENTENCE_END = re.compile(r"[.!?:;][\"')\]*]*(?:\s|$)|[。！？；]")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_PLAIN_WORD = re.compile(rf"^(?:{_NOT_W}|_)*(?:{_LETTER})+(?:['’](?:{_LETTER})+)?(?:\([^)]*\))?{_NOT_W}*\Z")
_WORDS = re.compile(f"{_W}+")
_LOG_ENTRY = re.compile(
    rf"^{_NOT_W}*(?:(?:19|20){_D}{_D}-{_D}{_D}(?:-{_D}{_D})?(?!{_W})"
    rf"|(?ai:version |release |v)?{_D}+\.{_D}+(?:\.{_D}+)+(?!(?:\.|{_D})*\.\s)(?!{_W})"
    rf"|{_D}{{1,2}} {_W}{{3,9}} (?:19|20){_D}{_D}(?!{_W}))"
)
_LEGAL = re.compile(
    r"(?ai:hereby grant|without warranty|warranties of|as is\"|merchantability|redistribut|public domain|liable for any"
    r"|licensor|licensee|governing law|copyright holder|derivative works?|all copyright|affidavit|dedicate)"
)
_CODE = re.compile(rf"^{_NOT_W}*(?=\S{{6,}}{_NOT_W}*\Z)(?:[{_WORD}]{{0,3}}[-_./:]?)?(?:{_D}[-_./:]*){{5,}}{_NOT_W}*\Z")
# Symbols and control characters: all that is no letter, digit, space or punctuation.
_ODD = re.compile(rf"[^{_WORD}_{_SPACE}.,;:!?'\"()\-–—/’‘“”…、。，！？；：（）「」《》·@&%#*\[\]{{}}\\]")
_MOJIBAKE = re.compile(r"[ÃÂ][\u0080-\u00bf]|â€[\u0080-\u2122]|\ufffd|ï¿½")
_VOWEL = re.compile(r"[aeiouyAEIOUY]")
_CHANGE = re.compile(r"[a-z][A-Z0-9]|[0-9][A-Za-z]")


def shape(text: str) -> Shape:
    """Count what the house rules decide by."""
    found = dict.fromkeys(Shape._fields, 0)
    found["words"] = len(_WORDS.findall(text))
    found["legal_terms"] = len(_LEGAL.findall(text))
    found["chars"] = len(text)
    found["damaged"] = len(_MOJIBAKE.findall(text))
    for block in blocks(text):
        size = solid(block.text)
        if block.kind == "code":
            found["code"] += size
        elif block.kind == "table":
            worded = sum(solid(cell) for cell in block.text.split("|") if is_sentence(cell))
            found["prose"] += worded
            found["tables"] += size - worded
        elif block.kind != "heading":
            found["prose" if is_sentence(block.text) else "fragments"] += size
            found["parts"] += 1
            found["codes"] += _CODE.match(block.text.strip()) is not None
            _count_words(block.text.split(), found)
        if block.kind in ("heading", "item"):
            found["entries"] += 1
            found["dated"] += _LOG_ENTRY.match(_heading_words(block)) is not None
    return Shape(**found)


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


def solid(text: str) -> int:
    """Return the characters of a text that are no white space."""
    return sum(map(len, text.split()))


def _count_words(words: list[str], found: dict[str, int]) -> None:
    found["part_words"] += len(words)
    joined = "".join(words)
    found["part_chars"] += len(joined)
    found["odd"] += len(_ODD.findall(joined))
    for word in words:
        if len(word) > LONGEST_WORD and "/" not in word and not _CJK.search(word):
            found["odd"] += len(word)
        latin = word.strip(".,;:()\"'*`")
        if len(latin) > 4 and latin.isascii() and latin.isalnum():
            found["latin"] += 1
            found["strange"] += not _VOWEL.search(latin) or len(_CHANGE.findall(latin)) >= 3


def _heading_words(block: Block) -> str:
    return block.text.lstrip("#-*+ ").strip()
