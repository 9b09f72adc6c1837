"""The scanner: what is personal or secret in a text by its own form or by the word before it.

This is the definition, in Python. The compiled scanner of `metier.corpus.kernel.pii` gives the same spans, byte for
byte; the tests hold it to that on generated text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from metier.corpus.anonymise.assigned import after_literal
from metier.corpus.anonymise.characters import DIGITS, UPPER, at
from metier.corpus.anonymise.houses import house_number
from metier.corpus.anonymise.kinds import Code, Span, without_overlaps
from metier.corpus.anonymise.literals import Act, Cue, Literal, Where
from metier.corpus.anonymise.network import colons, credentials, email, ipv4, mac_with_hyphens
from metier.corpus.anonymise.numbers import identity
from metier.corpus.anonymise.phones import phone

SHORTEST_LITERAL = 3


class Report(NamedTuple):
    """Where a REPORT word was found: bytes `start` to `end`, and the literal's argument."""

    argument: int
    start: int
    end: int


class Literals:
    """Words to look for, by their first three bytes."""

    def __init__(self, literals: Iterable[Literal]) -> None:
        self.all = sorted(set(literals))
        self.by_beginning: dict[bytes, list[Literal]] = {}
        for literal in self.all:
            if len(literal.text) < SHORTEST_LITERAL:
                raise ValueError(f"a word to look for has at least {SHORTEST_LITERAL} bytes")
            self.by_beginning.setdefault(literal.text[:SHORTEST_LITERAL], []).append(literal)

    def at(self, data: bytes, place: int) -> Iterator[Literal]:
        """Yield the words that stand at `place`."""
        for literal in self.by_beginning.get(data[place : place + SHORTEST_LITERAL], ()):
            if data.startswith(literal.text, place):
                yield literal


def stands(data: bytes, start: int, end: int, where: int) -> bool:
    """Say whether what is beside the word data[start:end] is as `where`, a Where, wants it."""
    after, further = at(data, end), at(data, end + 1)
    if where == Where.BEFORE_DIGIT:
        return after in DIGITS
    if where == Where.BEFORE_NAME:
        named = further in UPPER or further >= 0xC3
        return (after in b" -" and named) or (after == ord(" ") and further in b"vdlzb")
    if where == Where.IN_CELL:
        spaces = (after == ord(" ")) + (after == further == ord(" "))
        return at(data, start - 1) == ord(" ") and at(data, end + spaces) in b";,|\t\n\"'"
    if where == Where.BEFORE_COLON:
        no_break = data[end : end + 2] == b"\xc2\xa0"
        return at(data, end + (2 if no_break else after == ord(" "))) == ord(":")
    return True


_AT = re.compile(rb"@")
_NUMBER = re.compile(rb"(?<![0-9])[0-9]")
_COLONS = re.compile(rb"[0-9A-Fa-f:]{6,}")
_PAIRS = re.compile(rb"(?<![0-9A-Za-z_.-])(?=[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.)")
# Where a run of letters or digits begins, a capital after a small letter, or a character of another script.
_BEGINNING = re.compile(
    rb"(?<![A-Za-z])(?=[A-Za-z])|(?<=[a-z])(?=[A-Z])|(?<![0-9])(?=[0-9])|(?=[\xc0-\xff])",
)


def scan(data: bytes, literals: Literals, codes: frozenset[Code]) -> tuple[list[Span], list[Report]]:
    """Return what is found in a text, in order and without overlaps, and where the words to report stand.

    Args:
        data: the text in UTF-8; bytes that are none are passed over.
        codes: what to look for.
    """
    reports: list[Report] = []
    spans = [span for span in _candidates(data, literals, codes, reports) if span is not None and span.code in codes]
    return without_overlaps(spans), reports


def _candidates(
    data: bytes, literals: Literals, codes: frozenset[Code], reports: list[Report]
) -> Iterator[Span | None]:
    for match in _AT.finditer(data):
        yield email(data, match.start())
        yield credentials(data, match.start())
    for match in _NUMBER.finditer(data):
        if Code.ADDRESS in codes and (end := house_number(data, match.start())):
            reports.append(Report(Cue.HOUSE, match.start(), end))
        yield identity(data, match.start())
        yield phone(data, match.start())
        yield ipv4(data, match.start())
    for match in _COLONS.finditer(data):
        if match[0].count(b":") > 1:
            yield colons(data, *match.span())
    for match in _PAIRS.finditer(data):
        yield mac_with_hyphens(data, match.start())
    for match in _BEGINNING.finditer(data):
        for literal in literals.at(data, match.start()):
            if literal.act == Act.REPORT:
                end = match.start() + len(literal.text)
                if stands(data, match.start(), end, literal.digits):
                    reports.append(Report(literal.argument, match.start(), end))
            else:
                yield after_literal(data, match.start(), literal)
