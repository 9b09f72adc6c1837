"""Ways to say a sentence otherwise, for the planted leaks. A rewriter takes a sentence and gives another wording."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from benchmarks.evaluate.rewording_reported import Rewriter, chinese, english

_HAN_PAIR = re.compile(r"[\u4e00-\u9fff]{2}")


def tuning_english(rng: random.Random) -> dict[str, Rewriter]:
    """Return rewriters for tuning: four words in ten become any other word, clauses turn, endings change."""
    others = [
        f"{a}{b}{c}" for a in ("bro", "cla", "ster", "pin", "fal") for b in ("ma", "de", "lo") for c in ("n", "ck", "t")
    ]

    def replaced(text: str) -> str:
        return re.sub(r"\b[a-z]{4,}\b", lambda word: rng.choice(others) if rng.random() < 0.4 else word[0], text)

    def turned(text: str) -> str:
        words = text.rstrip(".").split()
        at = len(words) // 2
        return " ".join([*words[at:], *words[:at]]) + "."

    def inflected(text: str) -> str:
        return re.sub(r"\b[a-z]{4,}\b", lambda word: _other_ending(word[0]) if rng.random() < 0.7 else word[0], text)

    def longer(text: str) -> str:
        return " ".join(f"{word} {rng.choice(others)}" if rng.random() < 0.35 else word for word in text.split())

    def together(text: str) -> str:
        return longer_a_little(turned(inflected(replaced_less(text))))

    def replaced_less(text: str) -> str:
        return re.sub(r"\b[a-z]{4,}\b", lambda word: rng.choice(others) if rng.random() < 0.25 else word[0], text)

    def longer_a_little(text: str) -> str:
        return " ".join(f"{word} {rng.choice(others)}" if rng.random() < 0.15 else word for word in text.split())

    return {
        "synonyms": replaced, "order": turned, "endings": inflected, "inserted words": longer, "all at once": together,
    }  # fmt: skip


def tuning_chinese(rng: random.Random) -> dict[str, Rewriter]:
    """Return rewriters for tuning: three pairs of characters in ten become others, halves turn."""
    others = re.findall("..", "云海山川草木日月星辰风雨雷电春夏秋冬东西南北金石竹林江河湖泊牛羊马鹿琴棋书画诗酒花茶")

    def replaced(text: str) -> str:
        return _HAN_PAIR.sub(lambda pair: rng.choice(others) if rng.random() < 0.3 else pair[0], text)

    def turned(text: str) -> str:
        parts = [part for part in re.split(r"(?<=[，、；])", text.rstrip("。")) if part]
        return "".join(reversed(parts)) + "。" if len(parts) > 1 else text[len(text) // 2 :] + text[: len(text) // 2]

    def longer(text: str) -> str:
        return re.sub(r"[，、；]", lambda mark: f"{mark[0]}{rng.choice(others)}{rng.choice(others)}", text)

    return {
        "synonyms": replaced,
        "order": turned,
        "inserted words": longer,
        "all at once": lambda t: turned(replaced(t)),
    }


def _other_ending(word: str) -> str:
    for ending, other in (("ies", "y"), ("ing", "ed"), ("ed", "ing"), ("s", ""), ("ly", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + other
    return f"{word}s"


REWRITERS: Mapping[tuple[str, str], Callable[[random.Random], dict[str, Rewriter]]] = {
    ("tuning", "en"): tuning_english,
    ("tuning", "zh"): tuning_chinese,
    ("reported", "en"): english,
    ("reported", "zh"): chinese,
}
