"""What to look for, read from the lexicons beside this file; see the head of lexicon_en.yaml for what they say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from metier.core import Mistake

POINTS = {"hint": 1.0, "strong": 3.0, "severe": 4.0, "phrase": 6.0}
LANGUAGES = ("en", "zh")
_CONDITION = re.compile(r"\(([+-])[前后] ?([^)]+)\)")


class Role(NamedTuple):
    """What a term stands for: a category at a severity, or one side (0 or 1) of a pair, by the pair's number."""

    category: str
    severity: str
    pair: int | None = None
    side: int = 0


class Term(NamedTuple):
    """A term in lower case, as UTF-8; `roles` is empty for an innocent expression.

    It does not count directly after a character of `not_after`, or directly before one of `not_before`. A term that is
    `open` takes any ending.
    """

    text: bytes
    open: bool
    not_after: frozenset[str]
    not_before: frozenset[str]
    roles: tuple[Role, ...]


class Lexicon(NamedTuple):
    """Terms, for each category the contexts that excuse it, and for each context what it is known by."""

    terms: tuple[Term, ...]
    excused_by: Mapping[str, tuple[str, ...]]
    contexts: Mapping[str, re.Pattern[str]]

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories, in their order."""
        return tuple(self.excused_by)


@cache
def lexicon(own: Path | None = None) -> Lexicon:
    """Return the lexicons of the package, and with them one of the user's own.

    Raises:
        Mistake: the user's lexicon is not of the form of those in the package.
    """
    folder = resources.files("metier.corpus.comply")
    told = [yaml.safe_load((folder / f"lexicon_{language}.yaml").read_text("utf-8")) for language in LANGUAGES]
    if own is not None:
        told.append(_own(own))
    try:
        return _compiled(told)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Mistake(
            f"{own.name if own else 'the lexicon'} is no lexicon",
            found=f"{type(error).__name__}: {error}",
            hint="it needs language, contexts, innocent and categories, as the lexicons of the package have them",
        ) from error


def _own(path: Path) -> Any:
    try:
        told = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Mistake(f"{path.name} is no YAML that can be read", found=str(error)) from error
    if not isinstance(told, dict) or not isinstance(told.get("categories"), dict):
        raise Mistake(f"{path.name} is no lexicon", found="no `categories`", hint="see the lexicons of the package")
    return told


def _compiled(told: Iterable[Mapping[str, Any]]) -> Lexicon:
    roles: dict[str, list[Role]] = {}
    excused_by: dict[str, tuple[str, ...]] = {}
    contexts: dict[str, list[str]] = {}
    pairs = 0
    for one in told:
        for name, words in (one.get("contexts") or {}).items():
            contexts.setdefault(name, []).extend(map(str, words))
        for word in one.get("innocent") or []:
            roles.setdefault(str(word), [])
        for category, lists in one["categories"].items():
            excused_by[category] = (*excused_by.get(category, ()), *(lists.get("excused_by") or []))
            for severity in POINTS:
                for word in lists.get(severity) or []:
                    roles.setdefault(str(word), []).append(Role(category, severity))
            for sides in lists.get("together") or []:
                for side, words in enumerate(sides):
                    for word in words:
                        roles.setdefault(str(word), []).append(Role(category, "phrase", pairs, side))
                pairs += 1
    patterns = {name: _context(words) for name, words in contexts.items()}
    return Lexicon(tuple(_terms(roles)), excused_by, patterns)


def _terms(roles: Mapping[str, list[Role]]) -> Iterator[Term]:
    for written, meant in roles.items():
        conditions = {sign: frozenset(characters) - {" "} for sign, characters in _CONDITION.findall(written)}
        text = _CONDITION.sub("", written).strip().lower()
        if not text.strip("*"):
            raise ValueError(f"'{written}' is no term")
        after, before = conditions.get("-", frozenset()), conditions.get("+", frozenset())
        yield Term(text.removesuffix("*").encode(), text.endswith("*"), after, before, tuple(meant))


def _context(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for any of the words: whole ones in Latin script, anywhere in Chinese."""
    told = sorted({word.lower() for word in words}, key=lambda word: (-len(word), word))
    whole = "|".join(re.escape(word) for word in told if word.isascii())
    parts = "|".join(re.escape(word) for word in told if not word.isascii())
    return re.compile(
        "|".join(found for found in (rf"(?<![a-z0-9])(?:{whole})(?![a-z0-9])" if whole else "", parts) if found)
    )
