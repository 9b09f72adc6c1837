"""From an entry of a manual to a question and its answer, or the reason why it makes none.

The answer is always the document's own sentences, whole and in their order; only the question is ours.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from metier.core.entries import Entry
from metier.core.markdown import sentences

MAX_WORDS = 60
MIN_WORDS = 6


class Pair(NamedTuple):
    """A question and its answer; `kind` labels the task ("function", "definition", ...)."""

    kind: str
    question: str
    answer: str


class Rejected(NamedTuple):
    """Why an entry makes no pair."""

    reason: str


class Asked(NamedTuple):
    """What one document gave: pairs, and how many candidates were rejected for which reason."""

    pairs: list[Pair]
    rejected: Counter[str]


_EMPTY_HEADINGS = frozenset(
    re.findall(
        r"[^|]+",
        "overview|introduction|summary|example|examples|notes|note|details|description|usage|background|see also|"
        "references|syntax|limitations|caveats|history|abstract|preface|conclusion|conclusions|requirements|options|"
        "parameters|remarks|warning|warnings|important|update|miscellaneous|other|general|todo|contents|"
        "table of contents|copyright|more|executive summary|additional notes|further reading|about|how it works|"
        "definitions|appendix|rationale|advantages|disadvantages|goals|status|features|benefits|why|"
        "technical details|arguments|returns|return value|result|results|short answer|longer answer|answer|"
        "long answer|disclaimer",
    )
)
# A sentence that begins so needs the one before it. "This function" does not: the question has named it.
_LEANING = re.compile(
    r"^(?:(?:It|Its|They|Their|Them|He|She|Here|There|However|Thus|Hence|Therefore|Also|But|And|Or|So|Then"
    r"|Otherwise|Instead"
    r"|Nevertheless|Furthermore|Moreover|In addition|For example|For instance|Such|Both|Similarly|Likewise"
    r"|In other words"
    r"|As (?:shown|described|noted|mentioned|stated|with|before|above)|Note|Again|Consequently|Conversely"
    r"|On the other hand"
    r"|Important|Warning|Caution|Deprecated|Because of this|In this case|In these cases|In contrast"
    r"|First|Second|Third|Finally|Yes but|We begin|See|Update)\b"
    r"|(?:This|These|That|Those)\b)",
)
_LEANING_INSIDE = re.compile(
    r"\b(?:this|these) (?:method|function|routine|interface|opcode|option|pragma|command|case)s?\b"
)
_NAMED_THING = re.compile(
    r"^(?:This|These|The) (?:two |three |SQL |C |API )?(?:functions?|routines?|interfaces?|methods?|pragmas?"
    r"|options?|opcodes?"
    r"|commands?|macros?|statements?|clauses?|flags?|parameters?|objects?|structures?|values?|constants?|settings?"
    r"|operators?"
    r"|error codes?|result codes?|verb|keywords?|callback|module|utility|program|extension|table|argument"
    r"|instruction)\b"
)
_ABOUT_THE_PAGE = re.compile(
    r"\b(?:this|the current|the following|the previous|the next|the remainder of this) "
    r"(?:page|document|section|article|chapter|paper|report|list|table|diagram|figure|appendix|sentence|example|text|steps?)\b"
    r"|\b(?:see|shown|listed|described|as follows) (?:above|below|here)\b"
    r"|\bthe (?:above|following|foregoing|preceding)\b"
    r"|\b(?:text|examples?|code|diagram|figure|table|list|steps?|sections?) (?:above|below|that follows?)\b"
    r"|\b(?:as|is|are) follows\b",
    re.IGNORECASE,
)
_NO_NAME = re.compile(r"\(\*\w|[=;!?{}]|\(.*['\"].*\)|\.\.\.$|^\W*http|['\"]\s*->")
_STATEMENT = re.compile(
    r"\.$|\b(?:is|are|was|were|does|do|did|has|have|can|cannot|will|may|must|should)(?: not)?\b", re.IGNORECASE
)
_QUESTION_WORD = re.compile(r"^(?:How|Why|When|What|Where|Which|Who)\b", re.IGNORECASE)
_ASKS = re.compile(
    r"\b(?:how|why|when|what|where|which|who|is|are|do|does|can|could|should|will|isn't|doesn't)\b", re.IGNORECASE
)

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "function": (
        "What does {name} do?",
        "What does the {name} {noun} do?",
        "Explain the {name} {noun}.",
        "What is {name} used for?",
        "Describe what {name} does.",
        "What happens when {name} is called?",
        "Can you tell me what the {name} {noun} is for?",
        "I came across {name}. What does it do?",
    ),
    "named": (
        "What is the {name} {noun}?",
        "What does the {name} {noun} do?",
        "Explain the {name} {noun}.",
        "What is the purpose of the {name} {noun}?",
        "Tell me about the {name} {noun}.",
        "Can you describe the {name} {noun}?",
    ),
    "definition": (
        "What is {name}?",
        "What does {name} mean?",
        "Explain {name}.",
        "What should I know about {name}?",
        "Can you explain {name} to me?",
        "Describe {name}.",
    ),
    "term": (
        'What is {name} in "{title}"?',
        'In "{title}", what does {name} mean?',
        'Explain {name} as used in "{title}".',
        'What does "{title}" say about {name}?',
    ),
    "section": (
        "What should I know about {name}?",
        "Explain {name}.",
        "What does the documentation say about {name}?",
        "Tell me about {name}.",
        "Can you explain {name} in a few sentences?",
        "Describe {name} briefly.",
    ),
    "how": ("Explain {name}.", "Can you tell me {name}?", "I would like to know {name}.", "Describe {name}."),
    "document": (
        'What is "{name}" about?',
        'Give a short introduction to "{name}".',
        'Introduce the topic "{name}" briefly.',
        'What is the main point of "{name}"?',
    ),
}


def pair(entry: Entry, title: str, vocabulary: frozenset[str], rng: random.Random) -> Pair | Rejected:
    """Return a question about an entry and the document's answer, or the reason why there is none.

    Args:
        title: of the document, to which an answer may refer instead of its heading.
        vocabulary: the document's words as written; a heading's Title Case is undone by them.
    """
    name = entry.name.strip()
    if name.lower() in _EMPTY_HEADINGS or len(name) < 2 or not re.search(r"[^\W\d_]{2}", name):
        return Rejected("heading says nothing")
    if entry.kind != "question" and (len(name.split()) > 14 or _NO_NAME.search(name)):
        return Rejected("heading is no name")
    if entry.kind == "section" and _STATEMENT.search(name):
        return Rejected("heading is a sentence")
    if entry.kind == "question" and not _ASKS.search(name):
        return Rejected("heading is no question")
    if entry.kind == "section" and re.match(
        r"^(?:Appendix|Chapter|Part|Step|Table|Figure|Update|Method|Option) \w{1,3}\b", name
    ):
        return Rejected("heading says nothing")
    answer = own_sentences(entry.text)
    if isinstance(answer, Rejected):
        return answer
    first = sentences(answer)[0]
    named = entry.kind in ("function", "definition") and _NAMED_THING.match(first) is not None
    if not named and (_LEANING.match(first) or _LEANING_INSIDE.search(first)):
        return Rejected("answer leans on what stands before it")
    wanted = f"{name} {title}" if entry.kind in ("section", "document") else name
    if entry.kind in ("section", "document", "question") and not _speaks_of(answer, wanted):
        return Rejected("answer does not speak of its heading")
    return Pair(entry.kind, _question(entry, name, title, vocabulary, rng), answer)


def own_sentences(text: str) -> str | Rejected:
    """Return the first sentences of `text`, up to MAX_WORDS, each whole; a text that fits no sentence is rejected."""
    if re.match(r"[a-z]", text) and not re.match(r"[\w.]*[A-Z_(\d.]", text.split(" ")[0]):
        return Rejected("answer begins in mid-sentence")
    kept: list[str] = []
    for sentence in sentences(re.sub(r"^(?:Short )?[Aa]nswer: ", "", text)):
        if len(" ".join([*kept, sentence]).split()) > MAX_WORDS:
            if not kept:
                return Rejected("first sentence is too long")
            break
        # What leads into a list, an example or another page has no end here.
        if sentence.endswith((":", "...")) or _ABOUT_THE_PAGE.search(sentence):
            break
        kept.append(sentence)
    if not kept:
        return Rejected("answer points elsewhere")
    while kept and not re.search(r"(?<!\.\.)[.!。！][\"')\]]*$", kept[-1]):
        kept.pop()
    answer = " ".join(kept)
    if re.search(r"\);|\b(?:CREATE TABLE|INSERT INTO) \w+ ?\(", answer):
        return Rejected("answer is code")
    if len(answer.split()) < MIN_WORDS or len(answer) < 30:
        return Rejected("answer is too short")
    return answer


def vocabulary(text: str) -> frozenset[str]:
    """Return the words of a text as they are written in the middle of its sentences."""
    return frozenset(re.findall(r"(?<=[a-z,] )[^\W\d_]+(?:['’][^\W\d_]+)?", text))


def in_sentence_case(heading: str, words: frozenset[str]) -> str:
    """Return a heading as it would stand inside a sentence: "Column Affinity" as "column affinity", "VACUUM" as it is.

    Args:
        words: as written inside sentences; "Windows" stays, if the text writes it so and never "windows".
    """

    def lowered(found: re.Match[str]) -> str:
        word = found.group()
        return word.lower() if word.lower() in words or word not in words else word

    return re.sub(r"(?<![\w.])[A-Z][a-z]*\b(?![\w(.])", lowered, heading)


def _question(entry: Entry, name: str, title: str, words: frozenset[str], rng: random.Random) -> str:
    kind: str = entry.kind
    noun = entry.noun or "function"
    if kind == "question":
        name = in_sentence_case(name, words)
        return name[0].upper() + name[1:]
    if kind == "definition" and entry.noun:
        kind = "named"
        if name.upper().startswith("PRAGMA "):
            name, noun = name[7:], "pragma"
    elif kind == "section":
        name = in_sentence_case(name, words)
        if _QUESTION_WORD.match(name):
            kind, name = "how", name[0].lower() + name[1:]
    elif kind == "definition" and " " in name:
        kind, name = "section", in_sentence_case(name, words)
    elif kind == "definition" and name.isalpha():
        # "type" or "NotNull" alone could be anything: say whose it is.
        return rng.choice(_TEMPLATES["term"]).format(name=name, title=title)
    elif kind == "function" and "(" in name and rng.random() < 0.5:
        # People ask for abs() as well as for abs(X).
        name = name.split("(")[0].strip() + "()"
    return rng.choice(_TEMPLATES[kind]).format(name=name, noun=noun)


def _speaks_of(answer: str, heading: str) -> bool:
    said = {_stem(word) for word in re.findall(r"\w+", answer)}
    wanted = [_stem(word) for word in re.findall(r"\w{3,}", heading) if word.lower() not in _SMALL_WORDS]
    return any(stem in said for stem in wanted)


_SMALL_WORDS: Sequence[str] = re.findall(
    r"[^|]+",
    "the|and|for|with|how|why|what|when|into|from|this|that|are|not|can|does|using|its",
)


def _stem(word: str) -> str:
    return word.lower().rstrip("s")[:5]
