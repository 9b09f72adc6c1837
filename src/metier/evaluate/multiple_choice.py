"""A multiple-choice exam from documents: complete a sentence, name what is described, tell sections apart.

Right options are the document's own words; wrong ones are what the same documents say of other things of the same
kind. Neither the place nor the length of an option tells which is right.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from metier.core.entries import Entry, entries, predicate
from metier.core.markdown import blocks, plain, sentences
from metier.core.types import Document

OPTIONS = 4
_MIN_WORDS, _MAX_WORDS = 5, 34
_OWN_ENOUGH = 6  # wrong options come from the same document alone where it has so many
_JOINTS = frozenset(
    re.findall(
        r"[^|]+",
        "to|that|is|are|when|by|with|for|if|because|which|from|as|in|can",
    )
)
_LEANING = re.compile(
    r"\b(?:this|these|those|above|below|following|foregoing|previous|next section)\b|^(?:It|They|But|And|So)\b", re.I
)
_A_NAME = re.compile(r"_|[a-z][A-Z]|\(|^[A-Z][A-Z ]+$")
_NEAREST = 10  # wrong options are drawn from the so many nearest in length on either side


class Item(NamedTuple):
    """One question with options, four if made from documents, of which `options[answer]` is right.

    `source` is the document's id, or what groups questions of a team's own. `dimension` is stated by an exam of one's
    own; `dimensions.of_item` says it for others.
    """

    id: str
    question: str
    options: list[str]
    answer: int
    source: str
    kind: str
    dimension: str | None = None


class Candidate(NamedTuple):
    """A question without its wrong options. `about` is the thing asked for, which no wrong option may speak of."""

    kind: str
    about: str
    question: str
    right: str
    source: str


def items(documents: Iterable[Document], rng: random.Random, endings_per_document: int = 4) -> list[Item]:
    """Return the exam that documents give, in an order and with options drawn by `rng`.

    Sentences to complete are plenty in any document, so only `endings_per_document` are taken from each.

    The same documents and the same state of `rng` give the same exam. A question whose right option could be read off
    the question is left out.
    """
    pools: dict[str, list[Candidate]] = {}
    for document in sorted(documents, key=lambda document: document.id):
        endings = continuations(document)
        chosen = rng.sample(endings, min(len(endings), endings_per_document))
        for candidate in [*candidates(document), *chosen]:
            pools.setdefault(candidate.kind, []).append(candidate)
    made: list[Item] = []
    for kind in sorted(pools):
        pool = _distinct(pools[kind])
        if len(pool) < 2 * OPTIONS:
            continue
        asked = rng.sample(pool, len(pool))
        # Each rank in length is right equally often, as is each place: whole rounds of four, shuffled.
        ranks, places = _rounds(len(asked), rng), _rounds(len(asked), rng)
        for candidate, longer, place in zip(asked, ranks, places, strict=True):
            wrong = _wrong_options(candidate, pool, longer, rng)
            if wrong is not None:
                made.append(_item(candidate, wrong, place))
    return made


def candidates(document: Document) -> list[Candidate]:
    """Return the questions that one document could give, each thing asked about once."""
    found: dict[str, Candidate] = {}
    for entry in entries(document.text, document.title):
        candidate = _candidate(entry, document)
        if candidate is not None and not visible(candidate.question, candidate.right):
            found.setdefault(candidate.about.split("(")[0].lower(), candidate)
    return list(found.values())


def continuations(document: Document) -> list[Candidate]:
    """Return sentences of a document cut in their middle before a joining word ("that", "when", "to").

    Wrong endings begin with the same word, so that grammar tells nothing.
    """
    found: dict[str, Candidate] = {}
    for block in blocks(document.text):
        if block.kind != "paragraph":
            continue
        for sentence in sentences(plain(block.text)):
            words = sentence.split()
            if not 14 <= len(words) <= _MAX_WORDS or not sentence.endswith(".") or _LEANING.search(sentence):
                continue
            middle = len(words) / 2
            joints = [
                at for at in range(6, len(words) - 5) if words[at] in _JOINTS and abs(at - middle) <= 0.25 * len(words)
            ]
            if not joints:
                continue
            at = min(joints, key=lambda at: abs(at - middle))
            start, end = " ".join(words[:at]), " ".join(words[at:])
            if not visible(start, end):
                question = f'Which ending completes the sentence as the documentation has it? "{start} ..."'
                found[start] = Candidate(f"sentence ending, {words[at]}", sentence, question, end, document.id)
    return list(found.values())


def _candidate(entry: Entry, document: Document) -> Candidate | None:
    spoken = sentences(entry.text)
    if not spoken or entry.kind in ("question", "document") or not re.search(r"[^\W\d_]{3}", entry.name):
        return None
    first = spoken[0]
    if not first.endswith(".") or not _MIN_WORDS <= len(first.split()) <= _MAX_WORDS:
        return None
    if entry.kind == "section":
        return _section(entry, first, document)
    split = predicate(first)
    if not _A_NAME.search(entry.name):
        return None
    if split is not None:
        subject, said = split
        if len(said.split()) < _MIN_WORDS or _bare(entry.name) in said.lower():
            return None
        question = f'Which ending completes the sentence as the documentation has it? "{subject} ..."'
        return Candidate(f"{entry.kind} ending", entry.name, question, said, document.id)
    if _bare(entry.name) in first.lower() or " " in entry.name or (entry.name.isalpha() and entry.name.isupper()):
        return None
    question = f'Which name does the documentation describe with these words? "{first}"'
    return Candidate(_name_kind(entry.name), entry.name, question, entry.name, document.id)


def _section(entry: Entry, first: str, document: Document) -> Candidate | None:
    if len(entry.name.split()) < 2 or re.match(
        r"(?:This|These|That|Those|It|They|For example|However|Thus|In this)\b", first
    ):
        return None
    question = f'Which sentence opens the section "{entry.name}" of "{document.title}"?'
    return Candidate("section opening", f"{document.id} {entry.name}", question, first, document.id)


def _name_kind(name: str) -> str:
    """Return a label that names of one look share, so that no wrong option gives itself away by its look."""
    if "(" in name:
        return "name of a function"
    return f"name like {re.split('[_.]', name)[0]}_" if "_" in name and name.isupper() else "name"


def visible(question: str, right: str) -> bool:
    """Say whether most of the right option's words stand in the question, by their stems."""
    asked = {_stem(word) for word in _content(question)}
    said = [_stem(word) for word in _content(right)]
    return not said or sum(stem in asked for stem in said) > 0.34 * len(said)


def _wrong_options(
    candidate: Candidate, pool: Sequence[Candidate], longer: int, rng: random.Random
) -> list[str] | None:
    """Return three wrong options, `longer` of them longer than the right one, or None where there are too few."""
    size = len(candidate.right)
    rivals = [other for other in pool if other.about != candidate.about and not _alike(other.right, candidate.right)]
    # What the same document says is the hardest to tell apart: by topic alone it cannot be.
    own = [other for other in rivals if other.source == candidate.source]
    if len(own) >= _OWN_ENOUGH:
        rivals = own
    above = sorted((other.right for other in rivals if len(other.right) > size), key=len)[:_NEAREST]
    below = sorted((other.right for other in rivals if len(other.right) < size), key=len, reverse=True)[:_NEAREST]
    longer = max(min(longer, len(above)), OPTIONS - 1 - len(below))
    if longer > len(above) or longer > OPTIONS - 1:
        return None
    chosen = rng.sample(above, longer) + rng.sample(below, OPTIONS - 1 - longer)
    return chosen if len({*chosen, candidate.right}) == OPTIONS else None


def _item(candidate: Candidate, wrong: list[str], place: int) -> Item:
    options = [*wrong[:place], candidate.right, *wrong[place:]]
    digest = hashlib.sha256("\n".join((candidate.source, candidate.question, candidate.right)).encode()).hexdigest()
    return Item(digest[:16], candidate.question, options, place, candidate.source, candidate.kind)


def _rounds(count: int, rng: random.Random) -> list[int]:
    drawn: list[int] = []
    while len(drawn) < count:
        drawn += rng.sample(range(OPTIONS), OPTIONS)
    return drawn[:count]


def _distinct(pool: Iterable[Candidate]) -> list[Candidate]:
    return list({candidate.right.lower(): candidate for candidate in pool}.values())


def _alike(one: str, other: str) -> bool:
    """Say whether two options say nearly the same, so that both could be called right."""
    ours, theirs = {_stem(w) for w in _content(one)}, {_stem(w) for w in _content(other)}
    return len(ours & theirs) > 0.5 * max(1, min(len(ours), len(theirs))) and len(ours | theirs) > 1


def _bare(name: str) -> str:
    return re.sub(r"^pragma ", "", name.split("(")[0].strip().lower())


_SMALL = frozenset(
    re.findall(
        r"[^|]+",
        "the|and|for|with|that|this|which|from|into|when|then|than|are|was|were|has|have|can|may|will|not|but|its|"
        "any|all|one|two|sentence|ending|completes|documentation|name|describe|words|opens|section|does|these",
    )
)


def _content(text: str) -> list[str]:
    return [word for word in re.findall(r"[^\W_]{3,}", text.lower()) if word not in _SMALL]


def _stem(word: str) -> str:
    return word[:6]
