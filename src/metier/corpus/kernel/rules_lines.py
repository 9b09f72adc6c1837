"""How the published rules see a text, as plain Python: its lines, their tokens, and what C4 says of each line.

A text is read as Markdown, line by line. Fenced code and table rows are no prose: they count as characters and as
nothing else. Of the other lines a heading's `#` and a list item's bullet or number are marks, set aside. What is left
is split into tokens: at white space, and around each Han, hiragana and katakana character, which is a token of its own
and keeps the punctuation that follows it. A *word* is a token with a letter, mark or number in it. A *line* is one that
has a word and is no heading; lines between blank lines, headings, code and tables make a *paragraph*. Text that was
wrapped to a width is put together again: a line of at least 40 characters, and without a sentence's end, goes on in the
next if that begins with a small letter; to every rule the two are one line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from metier.corpus.kernel.rules_counts import VERDICTS, LineRules
from metier.corpus.kernel.unicode import CJK, SPACE, WORD, character_set

MARKUP = "*_`)]）】〕"
"""What may stand behind the end of a sentence."""
SENTENCE_ENDS = ".!?…\"'”’»›」』。！？｡．؟۔।॥።။។։܀܁܂‼⁇⁈⁉‽"
"""What ends a line of prose: the sentence ends of C4 and FineWeb, quotation marks among them, in all scripts."""
BULLETS = "•‣▪◦●○■□"
WRAPPED_CHARS = 40
"""A shorter line is not taken for one that was wrapped."""
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")

_WORD, _CJK, _SPACE = character_set(WORD), character_set(CJK), character_set(SPACE)
_TOKEN = re.compile(
    f"[^{_WORD}{_SPACE}]*(?:[{_CJK}][^{_WORD}{_SPACE}]*|[{_WORD}][^{_SPACE}{_CJK}]*)|[^{_WORD}{_SPACE}]+"
)
IS_CJK = re.compile(f"[{_CJK}]")
IS_WORD = re.compile(f"[{_WORD}]")
_FENCE = re.compile(r" {0,12}(`{3,}|~{3,})")
_SMALL = re.compile(r"[a-zß-öø-ÿά-ώа-џա-և]")
_HEADING = re.compile(r"#{1,6}(?=\s)")
_BULLET = re.compile(rf"[-*+–—](?=\s)|[{BULLETS}]")
_NUMBERED = re.compile(r"[0-9]{1,3}[.)](?=\s)")
_CITATION = re.compile(r"\[[0-9]*\]|\[edit\]|\[citation needed\]")
_SENTENCE = re.compile(r"[.!?][\"'”’»)\]*_`]*(?=\s|$)|[。！？｡]")
_PHRASES = re.compile(rf"(?ai:(lorem ipsum)|(javascript)|({'|'.join(POLICIES)}))")


class Verdict(NamedTuple):
    """What C4 says of a line: a field of Measures, the line without its citations, its sentences if it is kept."""

    field: str
    line: str
    sentences: int


def whole_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a text as they stand, each with "blank", "fenced", "table" or "prose"; wrapped ones together.

    A fence of tildes must follow a blank line: reStructuredText underlines its headings with them.
    """
    waiting: str | None = None
    wrapped = False
    for kind, line, bare in _lines(text):
        if waiting is not None and wrapped and kind == "prose" and _SMALL.match(bare):
            waiting += "\n" + line
        else:
            if waiting is not None:
                yield "prose", waiting
            waiting = line if kind == "prose" else None
            if waiting is None:
                yield kind, line
        # A heading goes on in no other line; its text begins with its mark, so it goes on from none either.
        wrapped = len(bare) >= WRAPPED_CHARS and not ending(bare)[0] and _HEADING.match(bare) is None
    if waiting is not None:
        yield "prose", waiting


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    mark = ""
    after_blank = True
    for line in text.split("\n"):
        bare = line.strip()
        fence = _FENCE.match(line) if not mark else None
        kind = "prose"
        if mark:
            kind = "fenced"
            if bare.startswith(mark) and not bare.strip(mark[0]):
                mark = ""
        elif fence is not None and (fence[1][0] == "`" or after_blank):
            kind = "fenced"
            mark = fence[1]
        elif not bare:
            kind = "blank"
        elif len(bare) > 1 and bare[0] == "|" == bare[-1]:
            kind = "table"
        yield kind, line, bare
        after_blank = not bare


def c4_verdict(line: str, words: int, longest: int, rules: LineRules) -> Verdict:
    """Return what C4 says of a line of prose with so many words, the longest of so many characters."""
    if longest > rules.max_word_chars:
        return Verdict("c4_long_word", line, 0)
    if rules.citations and "[" in line:
        cleaned = _CITATION.sub("", line).strip()
        if len(cleaned) < len(line):
            line = cleaned
            words = line_words(tokens(without_mark(line)[2]))
    ended, ellipsis = ending(line)
    if rules.end_mark and (not ended or ellipsis):
        return Verdict("c4_no_end", line, 0)
    if words < rules.min_words:
        return Verdict("c4_few_words", line, 0)
    lorem, script, policy = map(any, zip(*_PHRASES.findall(line), strict=True)) if _PHRASES.search(line) else (0, 0, 0)
    if lorem:
        return Verdict("c4_lorem", line, 0)
    if script:
        return Verdict("c4_script", line, 0)
    if "{" in line:
        return Verdict("c4_braces", line, 0)
    if policy:
        return Verdict("c4_policy", line, 0)
    return Verdict("c4_kept", line, max(1, len(_SENTENCE.findall(line))))


def cleaned(text: str, rules: LineRules) -> tuple[str, list[int]]:
    """Return a text with the lines that C4 keeps, and with its headings, fenced code and tables as they are.

    Also returns how many lines had each of VERDICTS.

    Of blank lines one stays between what stays. Lines of a page that C4 would drop whole (lorem ipsum, braces) stay:
    that is the filter's to say.
    """
    kept: list[str] = []
    verdicts: Counter[str] = Counter()
    blank = False
    for kind, raw in whole_lines(text):
        if kind == "blank":
            blank = True
            continue
        out: str | None = raw
        if kind == "prose":
            line = raw.strip()
            heading, _, body = without_mark(line)
            if not heading:
                of_line = tokens(body)
                verdict = c4_verdict(line, line_words(of_line), longest(of_line), rules)
                worded = IS_WORD.search(body) is not None
                verdicts[verdict.field] += worded
                stays = worded and verdict.field in ("c4_kept", "c4_lorem", "c4_braces")
                out = (raw if verdict.line == line else verdict.line) if stays else None
        if out is not None:
            if blank and kept:
                kept.append("")
            kept.append(out)
            blank = False
    return "\n".join(kept), [verdicts[name] for name in VERDICTS]


def tokens(body: str) -> list[str]:
    """Return the tokens of a line without its mark (see the module)."""
    return _TOKEN.findall(body) if IS_CJK.search(body) else body.split()


def without_mark(line: str) -> tuple[bool, bool, str]:
    """Return whether a line is a heading, whether it begins with a bullet, and what follows its mark."""
    heading = _HEADING.match(line)
    bullet = _BULLET.match(line) if heading is None else None
    mark = heading or bullet or _NUMBERED.match(line)
    return heading is not None, bullet is not None, line[mark.end() :].lstrip() if mark is not None else line


def ending(line: str) -> tuple[bool, bool]:
    """Return whether a line ends as a sentence does, and whether with an ellipsis."""
    line = line.rstrip(MARKUP)
    return line[-1:] in SENTENCE_ENDS and line != "", line.endswith(("...", "…"))


def line_words(tokens: Sequence[str]) -> int:
    """Return the words of a line, two Han or kana characters counting as one."""
    words = [token for token in tokens if IS_WORD.search(token)]
    cjk = sum(IS_CJK.search(token) is not None for token in words)
    return len(words) - cjk + (cjk + 1) // 2


def longest(tokens: Sequence[str]) -> int:
    """Return the characters of the longest token."""
    return max(map(len, tokens), default=0)
