"""What the published rules measure of a text, as plain Python: the definition, and what runs where nothing is compiled.

What lines, tokens and words are is said in `rules_lines`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from metier.corpus.kernel.rules_counts import LineRules, Measures
from metier.corpus.kernel.rules_lines import (
    IS_CJK,
    IS_WORD,
    c4_verdict,
    ending,
    line_words,
    longest,
    whole_lines,
    without_mark,
)
from metier.corpus.kernel.rules_lines import (
    tokens as tokens_of,
)
from metier.corpus.kernel.unicode import DIGIT, SPACE, WORD, character_set, lower

COUNTED_TOKENS = 1 << 20
"""N-grams are looked for in so many tokens at the head of a text: ten times what Gopher's rules let pass."""
COUNTED_LINES = 1 << 20
"""Repeated lines and paragraphs are looked for among so many."""
LONGEST_WORD = 60

_WORD, _SPACE = character_set(WORD), character_set(SPACE)
_DIGITS = re.compile(f"[{character_set(DIGIT)}]+")
_WORD_CHARS = re.compile(f"[{_WORD}]+")
_MOJIBAKE = re.compile(r"[ÃÂÐÑ][\u0080-\u00bf]|â€[\u0080-\u2122]|\ufffd|ï¿½|锟斤拷")
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
# Symbols and control characters: all that is no letter, digit, space or punctuation.
_ODD = re.compile(rf"[^{_WORD}{_SPACE}_.,;:!?'\"()\-–—/’‘“”…、。，！？；：（）「」《》·@&%#*\[\]{{}}\\]")
# Scripts that write words without spaces, and are not told apart character by character: Thai to Myanmar, Khmer.
_UNSPACED = re.compile(r"[\u0e00-\u109f\u1780-\u17ff]")
_RUN = re.compile(r"(.)\1{4,}")
_LATIN_TRIM = ".,;:()\"'*`"
_VOWEL = re.compile(r"[aeiouyAEIOUY]")
_CHANGE = re.compile(r"[a-z][A-Z0-9]|[0-9][A-Za-z]")


def measured(text: str, rules: LineRules, stop_words: Sequence[frozenset[str]] = ()) -> tuple[Measures, list[int]]:
    """Return the counts of a text, and how many different words of each list are in it.

    Args:
        stop_words: in lower case; a word is compared without the punctuation around it.
    """
    found: Counter[str] = Counter()
    tokens: list[str] = []
    lines: list[str] = []
    paragraphs: list[str] = []
    paragraph: list[str] = []
    worded = False
    for kind, raw in whole_lines(text):
        if kind == "prose":
            line = raw.strip()
            heading, bullet, body = without_mark(line)
            found["prose_chars"] += _solid(line)
            found["odd"] += len(_ODD.findall(body))
            found["stretched"] += sum(len(run[0]) for run in _RUN.finditer(body) if IS_WORD.match(run[1]))
            of_line = tokens_of(body)
            tokens += of_line
            found["hashes"] += body.count("#")
            found["ellipses"] += body.count("...") + body.count("…")
            if heading:
                kind = "heading"
            else:
                paragraph.append(raw)
                if IS_WORD.search(body):
                    _count_line(line, bullet, of_line, rules, found)
                    lines.append(line)
                    worded = True
        if kind != "prose":
            paragraphs += ["\n".join(paragraph).strip()] if worded else []
            paragraph, worded = [], False
    paragraphs += ["\n".join(paragraph).strip()] if worded else []
    found["chars"], found["text_chars"] = len(text), _solid(text)
    found["damaged"], found["controls"] = len(_MOJIBAKE.findall(text)), len(_CONTROL.findall(text))
    found["line_chars"] = sum(map(len, lines))
    found["duplicate_lines"], found["duplicate_line_chars"] = _duplicates(lines)
    found["paragraphs"], found["paragraph_chars"] = len(paragraphs), sum(map(len, paragraphs))
    found["duplicate_paragraphs"], found["duplicate_paragraph_chars"] = _duplicates(paragraphs)
    _count_words(tokens, found)
    _count_grams(tokens[:COUNTED_TOKENS], 2 if 2 * found["cjk"] > found["words"] else 1, found)
    bare = {bare_word(token) for token in set(tokens)} if stop_words else set()
    return Measures(**found), [len(words & bare) for words in stop_words]


def bare_word(token: str) -> str:
    """Return a token in lower case, without what is no letter, mark or number at its ends."""
    places = [place.span() for place in _WORD_CHARS.finditer(token)]
    return lower(token[places[0][0] : places[-1][1]]) if places else ""


def _solid(text: str) -> int:
    return sum(map(len, text.split()))


def _count_line(line: str, bullet: bool, tokens: Sequence[str], rules: LineRules, found: Counter[str]) -> None:
    ended, ellipsis = ending(line)
    found["lines"] += 1
    found["bullet_lines"] += bullet
    found["ellipsis_lines"] += ellipsis
    found["ended_lines"] += ended
    found["short_lines"] += len(line) + 3 * len(IS_CJK.findall(line)) <= rules.short_chars
    verdict = c4_verdict(line, line_words(tokens), longest(tokens), rules)
    found[verdict.field] += 1
    found["c4_sentences"] += verdict.sentences


def _count_words(tokens: Sequence[str], found: Counter[str]) -> None:
    found["tokens"] = len(tokens)
    for token, times in Counter(tokens).items():
        if token.isascii() and token.isalpha():
            letters, lettered = len(token), True
        else:
            letters = sum(map(len, _WORD_CHARS.findall(token)))
            lettered = letters > sum(map(len, _DIGITS.findall(token)))
        found["lettered"] += times * lettered
        if letters == 0:
            continue
        found["words"] += times
        if IS_CJK.search(token):
            found["cjk"] += times
            continue
        found["word_chars"] += times * letters
        found["unspaced"] += times * len(_UNSPACED.findall(token))
        found["single_letters"] += times * (letters == 1 and lettered)
        if len(token) > LONGEST_WORD and "/" not in token:
            found["endless"] += times * len(token)
        latin = token.strip(_LATIN_TRIM)
        if len(latin) > 4 and latin.isascii() and latin.isalnum():
            found["latin"] += times
            found["strange"] += times * (not _VOWEL.search(latin) or len(_CHANGE.findall(latin)) >= 3)


def _duplicates(texts: Sequence[str]) -> tuple[int, int]:
    """Return how many texts were there before, and their characters."""
    seen: set[str] = set()
    count = chars = 0
    for text in texts[:COUNTED_LINES]:
        if text in seen:
            count, chars = count + 1, chars + len(text)
        seen.add(text)
    return count, chars


def _count_grams(tokens: Sequence[str], step: int, found: Counter[str]) -> None:
    """Count the characters in the most frequent n-gram (2, 3, 4) and in repeated n-grams (5 to 10).

    Of n-grams equally frequent the first counts, and one that stands once is no repetition. Characters of overlapping
    repeated n-grams count once: behind a repeated one the search goes on at its end. In a text of Han and kana a word
    is taken to be two characters, so `step` is 2 and n-grams are twice as long.
    """
    sizes = list(map(len, tokens))
    found["gram_chars"] = sum(sizes)
    for n in (2, 3, 4):
        counts = Counter(_grams(tokens, n * step))
        gram, times = max(counts.items(), key=_count_of, default=((), 0))
        found[f"top_{n}"] = times * sum(map(len, gram)) if times > 1 else 0
    for n in (5, 6, 7, 8, 9, 10):
        found[f"duplicate_{n}"] = _repeated(_grams(tokens, n * step), n * step, sizes)


def _grams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[at:] for at in range(n)), strict=False)


def _count_of(item: tuple[tuple[str, ...], int]) -> int:
    return item[1]


def _repeated(grams: Iterator[tuple[str, ...]], n: int, sizes: Sequence[int]) -> int:
    seen: set[tuple[str, ...]] = set()
    chars = free = 0
    for at, gram in enumerate(grams):
        if at < free:
            continue
        if gram in seen:
            chars += sum(sizes[at : at + n])
            free = at + n
        else:
            seen.add(gram)
    return chars
