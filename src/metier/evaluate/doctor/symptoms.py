"""What one answer shows by itself: going round in circles, refusing, or not having the form of the reference.

Each function returns the reason in words, or None. What the reference does too is never held against an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from metier.evaluate.forgetting import sql_in_reply

# Words, single ideographs and kana (written without spaces), and single signs: "ha ha ha" and "哈哈哈" are alike.
_TOKEN = re.compile(r"[぀-ヿ㐀-䶿一-鿿]|[^\W぀-ヿ㐀-䶿一-鿿]+|[^\w\s]")
_READ = 600  # tokens of an answer's end that are looked at
_LEAST_LOOP = 12  # tokens: "no, no, no" is emphasis
_REPEATS, _REPEATS_OF_ONE = 3, 8
_GRAM, _SAID_AGAIN, _LEAST_GRAMS = 4, 0.5, 20


def goes_round(answer: str, expected: str) -> str | None:
    """Return how an answer repeats itself, or None.

    It ends in a loop where a phrase of at least two tokens stands three times or more at its end (Holtzman et al.
    2020). It also counts where half of its 4-grams were said before in it (seq-rep-4 of Welleck et al. 2020: 0.01 in
    people's text, above 0.4 in a model's that loops): that finds loops which count up or vary a word.
    """
    tokens = _TOKEN.findall(answer)[-_READ:]
    found = loop(tokens)
    if found is not None and loop(_TOKEN.findall(expected)[-_READ:]) is None:
        times, phrase = found
        return f"ends in {' '.join(phrase)[:60]!r} {times} times"
    share = said_again(tokens)
    if share >= _SAID_AGAIN and said_again(_TOKEN.findall(expected)) < _SAID_AGAIN:
        return f"{share:.0%} of its runs of {_GRAM} words were said before in it"
    return None


def loop(tokens: Sequence[str]) -> tuple[int, Sequence[str]] | None:
    """Return how often the phrase stands that `tokens` end in, and the phrase, or None. The last may be cut short."""
    n = len(tokens)
    for period in range(1, n // _REPEATS + 1):
        length = period
        while length < n and tokens[n - 1 - length] == tokens[n - 1 - length + period]:
            length += 1
        wanted = _REPEATS_OF_ONE if period == 1 else _REPEATS
        if length >= max(_LEAST_LOOP, wanted * period):
            return length // period, tokens[n - length : n - length + period]
    return None


def said_again(tokens: Sequence[str]) -> float:
    """Return the share of 4-grams that occurred before in `tokens`; 0 for texts too short to tell."""
    grams = list(zip(*(tokens[at:] for at in range(_GRAM)), strict=False))
    return 1 - len(set(grams)) / len(grams) if len(grams) >= _LEAST_GRAMS else 0.0


_CANNOT = r"(?:can(?:no|')?t|can\ not|could\ ?n[o']t|won't|will\ not|(?:\ am|'m)\ unable|(?:\ am|'m)\ not\ able)"
_REFUSAL = re.compile(
    rf"""^\W*(?:
        (?:i'?m|i\ am|we'?re)\ (?:very\ |so\ )?(?:sorry|afraid)\b[^.!?]{{0,40}}\b(?:i|we)\b[^.!?]{{0,12}}{_CANNOT}
      | (?:sorry|apologies|unfortunately|i\ apologi[sz]e)\b[^.!?]{{0,40}}\b(?:i|we)\b[^.!?]{{0,12}}{_CANNOT}
      | (?:i|we)\ ?(?:{_CANNOT}|(?:do\ not|don't)\ feel\ comfortable)\b[^.!?]{{0,30}}
        \b(?:help|assist|answer|provide|comply|fulfil|discuss|respond|give|do\ that|with\ that|support)
      | as\ an?\ (?:ai|artificial|large\ language|language)\b
      | i(?:'?m|\ am)\ (?:just|only)\ an?\ (?:ai|language)\b
      | (?:非常|很|十分|真的)?(?:抱歉|对不起|對不起|遗憾|遺憾)[^。！？]{{0,20}}(?:无法|無法|不能|不便|没有办法|沒有辦法)
      | (?:我|本模型|本助手|我们|我們)[^。！？]{{0,6}}(?:无法|無法|不能|不便)[^。！？]{{0,8}}
        (?:回答|提供|协助|協助|帮助|幫助|帮您|讨论|討論|满足|完成|给出|給出)
      | 作为(?:一个|一名|一款)?(?:AI|ai|人工智能|大?语言模型)|作為(?:一個|一名)?(?:AI|ai|人工智慧|大?語言模型)
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def refuses(answer: str, expected: str) -> str | None:
    """Return the words with which an answer refuses what the reference answers, or None; English and Chinese.

    Only how an answer begins counts: a letter may say "I am sorry" further on.
    """
    found = _REFUSAL.match(answer.replace("’", "'"))
    if found is None or _REFUSAL.match(expected.replace("’", "'")):
        return None
    return f"begins with {found.group(0).strip()[:60]!r}"


_FENCE = re.compile(r"^\s*```[\w+-]*\s*\n?(.*?)\n?```\s*$", re.DOTALL)
_SCRIPTS = {
    "Chinese": re.compile(r"[㐀-䶿一-鿿]"),
    "Japanese": re.compile(r"[぀-ヿ]"),
    "Korean": re.compile(r"[가-힯]"),
    "Cyrillic": re.compile(r"[Ѐ-ӿ]"),
    "Arabic": re.compile(r"[؀-ۿ]"),
    "Latin": re.compile(r"[A-Za-zÀ-ɏ]"),
}
_LETTERS, _MAJORITY = 10, 0.7


def wrong_form(answer: str, expected: str) -> str | None:
    """Return what of the reference's form an answer lacks: text at all, JSON, a code fence, SQL or none, its script."""
    if not answer.strip():
        return "is empty" if expected.strip() else None
    if is_json(expected) and not is_json(answer):
        return "is no JSON, and the reference is"
    if "```" in expected and "```" not in answer:
        return "has no code fence, and the reference has one"
    wanted, given = sql_in_reply(expected), sql_in_reply(answer)
    # Prose begins with a statement's name now and then; a statement ends in a semicolon or stands in a fence.
    if wanted is not None and given is None and expected.rstrip().endswith((";", "```")):
        return "is no SQL, and the reference is"
    if given is not None and wanted is None:
        return f"is SQL, and the reference is not: {given}"
    here, there = script(answer), script(expected)
    if here is not None and there is not None and here != there:
        return f"is written in {here} letters, and the reference in {there}"
    return None


def is_json(text: str) -> bool:
    """Whether a text is one JSON object or list, bare or alone in a code fence."""
    fenced = _FENCE.match(text)
    inside = (fenced.group(1) if fenced else text).strip()
    if not inside.startswith(("{", "[")):
        return False
    try:
        json.loads(inside)
    except (ValueError, RecursionError):
        return False
    return True


def script(text: str) -> str | None:
    """Return the script of most letters of a text, None where there are too few letters or no such majority.

    Chinese text that holds kana is Japanese.
    """
    counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    if counts["Japanese"]:
        counts["Japanese"] += counts.pop("Chinese")
    total = sum(counts.values())
    name = max(counts, key=lambda name: counts[name])
    return name if total >= _LETTERS and counts[name] >= _MAJORITY * total else None
