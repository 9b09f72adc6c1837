"""Find what a lexicon objects to: stretches of a text in which several of its terms come together.

All terms are found at once by Aho-Corasick over the text's bytes. What they come to is summed over stretches of some
hundred words, so a long text is not thrown away for words that are pages apart, nor a short one for a single word; and
the same stretch in a medical, legal or journalistic context needs four times as much.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from metier.corpus.comply.lexicon import POINTS, Lexicon, Term, lexicon

ENOUGH = 6.0
"""Points that make an objection, where the threshold is 1."""

STRETCH = 600
"""Bytes of a stretch: some hundred words of English, two hundred characters of Chinese."""

_SHORT, _SHORT_SHARE = 300, 2 / 3  # bytes below which a text is one remark, and needs fewer points
_TOGETHER = 160  # bytes between the two terms of a pair
_AROUND = 300  # bytes on either side of a stretch in which a context is looked for
_MARGIN = 60  # bytes shown on either side of what was found
_EXCUSED = {0: 1.0, 1: 1.0, 2: 0.5}  # by different words of a context; more of them: a quarter
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_")
_ACCENTED = range(0xC3, 0xD4)  # bytes that begin Latin, Greek and Cyrillic letters: an é goes on with a word


class Hit(NamedTuple):
    """A term that counts: where it stands, in bytes, and what it is worth."""

    start: int
    end: int
    category: str
    term: str
    points: float


class Objection(NamedTuple):
    """What is wrong with one stretch of a text: its points after what excuses it, and where it lies, in bytes."""

    category: str
    points: float
    start: int
    end: int
    terms: tuple[str, ...]
    excuse: str | None


class Matcher(NamedTuple):
    """A lexicon with its automaton."""

    lexicon: Lexicon
    automaton: Any
    terms: tuple[Term, ...]


@cache
def matcher(own: Path | None = None) -> Matcher:
    """Return the matcher of the package's lexicons and the user's, built once in a process."""
    from ahocorasick_rs import BytesAhoCorasick, Implementation

    found = lexicon(own)
    patterns = [term.text for term in found.terms]
    # As a table of states: twice as fast as the default on English, for a few megabytes.
    return Matcher(found, BytesAhoCorasick(patterns, implementation=Implementation.DFA), found.terms)


def objections(text: bytes, using: Matcher, least: float = ENOUGH) -> list[Objection]:
    """Return the stretches of a UTF-8 text that come to `least` points, the worst of each category first."""
    lowered = text.lower()  # of bytes: only A-Z change, so places stay
    least *= _SHORT_SHARE if len(text) < _SHORT else 1
    hits = list(_hits(lowered, using))
    if not hits:
        return []
    found = [one for category in using.lexicon.categories for one in _stretches(lowered, hits, category, using, least)]
    return sorted(found, key=lambda one: (-one.points, one.start))


def excerpt(text: bytes, found: Objection) -> str:
    """Return what an objection is about with a few words on either side, on one line."""
    start, end = max(0, found.start - _MARGIN), min(len(text), found.end + _MARGIN)
    told = text[start:end].decode("utf-8", "ignore")
    return " ".join(("… " * (start > 0) + told + " …" * (end < len(text))).split())


def _hits(lowered: bytes, using: Matcher) -> Iterator[Hit]:
    """Yield the terms that count: whole words, no part of an innocent expression, none inside a longer term."""
    found = using.automaton.find_matches_as_indexes(lowered, overlapping=True)
    whole = [(start, end, using.terms[number]) for number, start, end in found]
    whole = [one for one in whole if _stands_alone(lowered, *one)]
    innocent = [(start, end) for start, end, term in whole if not term.roles]
    guilty = (
        [one for one in whole if one[2].roles and not any(start < one[1] and one[0] < end for start, end in innocent)]
        if innocent
        else whole
    )
    sides: dict[tuple[int, str], tuple[list[tuple[int, int, str]], list[tuple[int, int, str]]]] = {}
    terms: list[Hit] = []
    for start, end, term in guilty:
        for role in term.roles:
            place = start, end, term.text.decode()
            if role.pair is None:
                terms.append(Hit(start, end, role.category, place[2], POINTS[role.severity]))
            else:
                sides.setdefault((role.pair, role.category), ([], []))[role.side].append(place)
    for (_, category), (ones, others) in sides.items():
        terms += _pairs(category, ones, others)
    yield from _outermost(terms)


def _stands_alone(lowered: bytes, start: int, end: int, term: Term) -> bool:
    """Say whether a term is a word of its own there, or, in Chinese, has none of its exceptions beside it."""
    first, last = lowered[start], lowered[end - 1]
    if first in _WORD and start and (lowered[start - 1] in _WORD or _accented(lowered, start - 1)):
        return False
    if last in _WORD and not term.open and end < len(lowered) and (lowered[end] in _WORD or lowered[end] in _ACCENTED):
        return False
    if term.not_before and lowered[end : end + 4].decode("utf-8", "ignore")[:1] in term.not_before:
        return False
    return not (term.not_after and lowered[max(0, start - 4) : start].decode("utf-8", "ignore")[-1:] in term.not_after)


def _accented(lowered: bytes, at: int) -> bool:
    """Say whether the byte at a place ends an accented letter of two bytes."""
    return lowered[at] >= 0x80 and at > 0 and lowered[at - 1] in _ACCENTED


def _pairs(
    category: str, ones: Sequence[tuple[int, int, str]], others: Sequence[tuple[int, int, str]]
) -> Iterator[Hit]:
    """Yield the nearest pairs of two terms that do not overlap and are close together."""
    starts = [start for start, _, _ in others]
    for start, end, name in ones:
        at = bisect_left(starts, start)
        near = [other for other in others[max(0, at - 3) : at + 3] if other[0] >= end or other[1] <= start]
        gaps = [(max(other[0] - end, start - other[1]), other) for other in near]
        if gaps and min(gaps)[0] <= _TOGETHER:
            _, (first, last, other_name) = min(gaps)
            yield Hit(min(start, first), max(end, last), category, f"{name} + {other_name}", POINTS["phrase"])


def _outermost(hits: Sequence[Hit]) -> Iterator[Hit]:
    """Yield the hits that are not inside another of their category: "fuck you" is not "fuck" as well."""
    reach: dict[str, int] = {}
    for hit in sorted(hits, key=lambda one: (one.start, -one.end)):
        if hit.end > reach.get(hit.category, -1):
            reach[hit.category] = hit.end
            yield hit


def _stretches(lowered: bytes, hits: Sequence[Hit], category: str, using: Matcher, least: float) -> Iterator[Objection]:
    """Yield the stretches of one category that come to enough points; none overlaps another."""
    mine = [hit for hit in hits if hit.category == category]
    if max((hit.points for hit in mine), default=0.0) <= POINTS["hint"]:
        return
    best: list[Objection] = []
    last = 0
    for first, opening in enumerate(mine):
        last = max(last, first)
        while last < len(mine) and mine[last].start < opening.start + STRETCH:
            last += 1
        points = _points(mine[first:last])
        if points < least:
            continue
        end = max(hit.end for hit in mine[first:last])
        terms = tuple(dict.fromkeys(hit.term for hit in mine[first:last]))
        excuse, share = _excuse(lowered, opening.start, end, category, using)
        if points * share < least:
            continue
        found = Objection(category, round(points * share, 2), opening.start, end, terms, excuse)
        if best and found.start < best[-1].end:
            if found.points > best[-1].points:
                best[-1] = found
        else:
            best.append(found)
    yield from best


def _points(hits: Sequence[Hit]) -> float:
    """Return what hits come to: each different term by its severity, and half as much again if it is said again.

    Hints alone come to nothing.
    """
    times: dict[str, int] = {}
    worth: dict[str, float] = {}
    for hit in hits:
        times[hit.term] = times.get(hit.term, 0) + 1
        worth[hit.term] = hit.points
    if max(worth.values()) <= POINTS["hint"]:
        return 0.0
    return sum(points * (1.5 if times[term] > 1 else 1.0) for term, points in worth.items())


def _excuse(lowered: bytes, start: int, end: int, category: str, using: Matcher) -> tuple[str | None, float]:
    """Return the context that excuses a stretch, if one does, and what share of its points it leaves."""
    around = lowered[max(0, start - _AROUND) : end + _AROUND].decode("utf-8", "ignore")
    best: tuple[str | None, float] = None, 1.0
    for name in using.lexicon.excused_by[category]:
        words = {found[0] for found in using.lexicon.contexts[name].finditer(around)}
        share = _EXCUSED.get(len(words), 0.25)
        if share < best[1]:
            best = name, share
    return best
