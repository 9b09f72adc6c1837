"""The terms that a leak is looked for by: stems of words, pairs of Chinese characters, and numbers by their value.

Two wordings of one thing share these, whatever the order and the endings: "returned three rows" and "returns 3 row".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_NUMERALS = "零〇一二两三四五六七八九十百千万"
# A numeral alone is a number only before what is counted: the first of 一般 and 统一 is none.
_HAN_NUMBER = rf"(?<=百分之)[{_NUMERALS}]+|[{_NUMERALS}]{{2,}}|[{_NUMERALS}](?=[个種种次年月日天条頁页位倍项步行列])"
_TOKEN = re.compile(rf"\d+(?:[.,]\d+)*|{_HAN_NUMBER}|[{_HAN}]|[^\W{_HAN}]+")
_IS_HAN = re.compile(rf"[{_HAN}]")
_IS_HAN_NUMBER = re.compile(rf"[{_NUMERALS}]+")

NUMBER = "#"
"""What the term of a number begins with."""

_SMALL = frozenset(
    re.findall(
        r"\w+",
        "a an and any are as at be been being but by can could did do does for from had has have he her his how i if "
        "in into is it its may might more most must my no nor not of on one only or other our out over per percent she "
        "should so some such than that the their them then there these they this those to under up upon was we were "
        "what when where whether which while who whom whose why will with within would you your "
        "的 了 是 在 和 与 或 及 其 之 这 那 个 不 有 为 以 于 上 下 中 也 而 但 被 把 对 从 到 会 可 能 "
        "请 问 什 么 哪 吗 呢",
    )
)
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_TEENS = ("seventeen", "eighteen", "nineteen")
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBER_WORDS = {
    **{word: number for number, word in enumerate([*_UNITS.split(), *_TEENS]) if word != "one"},
    **{word: 10 * number for number, word in enumerate(_TENS.split(), 2)},
    **{"hundred": 100, "thousand": 1000, "million": 10**6, "twice": 2, "half": 50, "dozen": 12},
}
# Endings of English, longest first; other languages inflect mostly within what is cut off after six letters.
_ENDING = re.compile(
    r"(?<=\w{3})(?:ations?|ingly|edly|ments?|ness|ings?|ions?|able|ible|ally|ers?|ors?|ies|ied|ed|es|ly|s)$"
)
_STEM = 6


def tokens(text: str) -> list[str]:
    """Return the words of a text in lower case: numbers whole, Chinese and Japanese characters singly."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _TOKEN.findall(text.lower())


def excerpt(text: str, word: int, characters: int = 400) -> str:
    """Return a stretch of a text from its word number `word` on, on one line."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    start = next((match.start() for number, match in enumerate(_TOKEN.finditer(text.lower())) if number == word), 0)
    return " ".join(text[start : start + characters].split())


def term(token: str) -> str | None:
    """Return what a token counts as: its stem, its value if it is a number, None if it says nothing by itself."""
    if token in _SMALL or (len(token) == 1 and token.isascii() and token.isalpha()):
        return None
    if token[0].isdigit():
        return f"{NUMBER}{_plain_number(token)}"
    if token in _NUMBER_WORDS:
        return f"{NUMBER}{_NUMBER_WORDS[token]}"
    if _IS_HAN.match(token):
        return f"{NUMBER}{_han_value(token)}" if _is_han_number(token) else token
    return stem(token)


@lru_cache(maxsize=200_000)
def _name(token: str) -> str:
    return term(token) or token


def names(found: Iterable[str]) -> list[str]:
    """Return the terms of tokens; a token that says nothing by itself stands for itself."""
    return list(map(_name, found))


def pairs(found: list[str]) -> Iterator[tuple[int, str]]:
    """Yield each pair of neighbouring Chinese or Japanese characters and the place of its first."""
    for at in range(len(found) - 1):
        one, two = found[at], found[at + 1]
        if len(one) == len(two) == 1 and one > "\u3000" and two > "\u3000":
            yield at, one + two


def pair_of_characters(name: str) -> bool:
    """Say whether a term is a pair of Chinese or Japanese characters."""
    return len(name) == 2 and name[0] > "\u3000" and name[1] > "\u3000"


def stem(word: str) -> str:
    """Return a word without its ending and what stands after six letters: "copies" and "copied" are one.

    A name of a program (with a digit or an underscore in it) stays whole.
    """
    if not word.isalpha():
        return word
    bare = _ENDING.sub("", word)[:_STEM]
    bare = bare.rstrip("eiy") if len(bare) > 3 else bare
    return bare[:-1] if len(bare) > 3 and bare[-1] == bare[-2] else bare


def _plain_number(token: str) -> str:
    whole = token.replace(",", "") if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", token) else token
    return whole.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", whole) else whole


def _is_han_number(token: str) -> bool:
    return len(token) > 1 or _IS_HAN_NUMBER.fullmatch(token) is not None


def _han_value(token: str) -> int:
    """Return the value of Chinese numerals up to the ten thousands."""
    digits = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
    scales = {"十": 10, "百": 100, "千": 1000, "万": 10000}
    if not any(sign in scales for sign in token):
        return int("".join(str(digits[sign]) for sign in token))
    value = section = digit = 0
    for sign in token:
        if sign == "万":
            value, section, digit = (value + section + digit) * 10000, 0, 0
        elif sign in scales:
            section, digit = section + (digit or 1) * scales[sign], 0
        else:
            digit = digits[sign]
    return value + section + digit
