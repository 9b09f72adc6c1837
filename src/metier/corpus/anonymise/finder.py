"""Everything personal or secret in a batch of texts: the scanner, names and addresses around cues, own words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from metier.corpus.anonymise import addresses, chinese_names
from metier.corpus.anonymise.characters import IDENTIFIER, at, latin_letter_at, latin_letter_before
from metier.corpus.anonymise.cues import literals_for
from metier.corpus.anonymise.gazetteer import given_names
from metier.corpus.anonymise.kinds import KINDS, LANGUAGES, Code, Kind, Language, Span, codes_of, without_overlaps
from metier.corpus.anonymise.latin_names import LatinNames, Named, family_names
from metier.corpus.anonymise.literals import Cue, Literal, secret_literals

if TYPE_CHECKING:
    import pyarrow as pa

_WINDOW = 200
_MOST_MENTIONED = 200
_SPACED = frozenset(
    (Cue.GIVEN, Cue.GIVEN_WORD, Cue.TITLE, Cue.SALUTATION, Cue.HEADER, Cue.FIELD, Cue.CLOSING, Cue.FAMILY)
)
_BESIDE = frozenset((Code.PHONE, Code.CN_RESIDENT, Code.EMAIL, Code.CARD, Code.ADDRESS))


@dataclass(frozen=True)
class Wanted:
    """What to look for: kinds, the languages of names, addresses and national numbers, own words and own patterns.

    Args:
        patterns: regular expressions of Python.
        tagger: a model that tags names (see `taggers.py`), or None.
    """

    kinds: tuple[Kind, ...] = KINDS
    languages: tuple[Language, ...] = LANGUAGES
    words: tuple[str, ...] = field(default=(), repr=False)  # may be names themselves
    patterns: tuple[str, ...] = field(default=(), repr=False)
    tagger: str | None = None


class Finder:
    """Find what is wanted in columns of texts. Made once in a process: it builds the tables of words."""

    def __init__(self, wanted: Wanted) -> None:
        from metier.corpus.anonymise.taggers import tagger
        from metier.corpus.kernel.pii import Scanner

        self._wanted = wanted
        self._names = "name" in wanted.kinds
        # A word that begins with a sign or is very short is no literal of the scanner.
        literal = [word for word in wanted.words if len(word.encode()) >= 3 and word[0].isalnum()]
        others = [rf"(?<!\w){re.escape(word)}(?!\w)" for word in wanted.words if word not in literal]
        self._patterns = [re.compile(pattern) for pattern in (*wanted.patterns, *others)]
        literals: list[Literal] = literals_for(wanted.kinds, wanted.languages, literal)
        if {"password", "key", "id"} & set(wanted.kinds):
            literals += secret_literals()
        self._scan = Scanner(literals, codes_of(wanted.kinds, wanted.languages))
        self._latin = LatinNames(given_names(wanted.languages))
        self._tag = tagger(wanted.tagger) if wanted.tagger is not None else None

    def __call__(self, column: pa.Array) -> dict[int, list[Span]]:
        """Return the spans of each text that has any, by its number in the column: bytes of its UTF-8, in order."""
        from metier.corpus.kernel import texts

        batch = texts(column)
        found = self._scan(batch)
        spans: dict[int, list[Span]] = {}
        for number, start, end, code in found.spans.tolist():
            spans.setdefault(number, []).append(Span(Code(code), start, end))
        cues: dict[int, list[tuple[int, int, int]]] = {}
        for number, start, end, cue in found.reports.tolist():
            cues.setdefault(number, []).append((cue, start, end))
        everywhere = self._patterns or self._tag is not None
        for number in range(len(batch)) if everywhere else sorted({*spans, *cues}):
            data = bytes(batch.data[batch.offsets[number] : batch.offsets[number + 1]])
            more = self._around(data, cues.get(number, []), spans.get(number, []))
            if more:
                spans[number] = without_overlaps([*spans.get(number, []), *more])
        return spans

    def _around(self, data: bytes, cues: list[tuple[int, int, int]], spans: list[Span]) -> list[Span]:
        """Return the names, addresses and own words of one text."""
        found: list[Span] = []
        for cue, start, end in cues:
            if cue == Cue.OWN:
                found += [Span(Code.WORD, start, end)] if _by_itself(data, start, end) else []
            else:
                found += self._at_cue(data, cue, start, end)
        if self._names:
            beside: list[Span] = []
            for span in (*spans, *found):
                if span.code in _BESIDE:
                    beside += self._beside(data, span)
            found += beside
            if self._tag is not None:
                text = data.decode("utf-8", "replace")
                found += _in_bytes(text, Code.NAME, self._tag(text))
            found += self._mentioned(data, found)
        if self._patterns:
            text = data.decode("utf-8", "replace")
            for pattern in self._patterns:
                found += _in_bytes(text, Code.WORD, (Named(*m.span()) for m in pattern.finditer(text) if m[0]))
        return found

    def _at_cue(self, data: bytes, cue: int, start: int, end: int) -> list[Span]:
        window = _Window(data, start, end)
        code = Code.NAME
        if cue in _SPACED:
            named = self._latin.at_cue(cue, window.text, window.start, window.end)
        elif cue == Cue.ZH_TITLE:
            polite = window.text[window.start : window.end] in chinese_names.POLITE_TITLES.split()
            named = chinese_names.before_title(window.text, window.start, polite)
        elif cue == Cue.ZH_HEADER:
            sure = window.text[window.start : window.end] in chinese_names.SURE_FIELDS.split()
            named = chinese_names.after_field(window.text, window.end, sure)
        else:
            code, named = Code.ADDRESS, addresses.address(cue, window.text, window.start, window.end)
        return [window.span(code, named)] if named is not None else []

    def _beside(self, data: bytes, span: Span) -> list[Span]:
        """Return the names that stand directly before or after an e-mail address or a number."""
        window = _Window(data, span.start, span.end)
        before = window.text[: window.start]
        found = [self._latin.in_cell_before(before)]
        if "zh" in self._wanted.languages:
            found.append(chinese_names.before_number(before))
        if span.code == Code.EMAIL:
            found += [self._latin.before_mail(before), self._latin.after_mail(window.text, window.end)]
        return [window.span(Code.NAME, named) for named in found if named is not None]

    def _mentioned(self, data: bytes, found: list[Span]) -> list[Span]:
        """Return where else in the text the persons are named that were found by a cue."""
        names = {data[span.start : span.end].decode("utf-8", "replace") for span in found if span.code == Code.NAME}
        full = sorted(name for name in names if " " in name or (len(name) > 1 and name[0] >= "\u3000"))
        # A family name that the text also writes small is a word in it: "Main developers" are no Mr Main's.
        family = [name for name in sorted(family_names(full)) if name.lower().encode() not in data]
        wanted = [name.encode() for name in [*full, *family][:_MOST_MENTIONED]]
        more = []
        for name in wanted:
            place = data.find(name)
            while place >= 0:
                if _by_itself(data, place, place + len(name)):
                    more.append(Span(Code.NAME, place, place + len(name)))
                place = data.find(name, place + len(name))
        return more


class _Window:
    """Some characters around bytes start:end of a text, and where in them those are."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        before = data[max(0, start - _WINDOW) : start].decode("utf-8", "ignore")
        self.start = len(before)
        middle = data[start:end].decode("utf-8", "ignore")
        self.end = self.start + len(middle)
        self.text = before + middle + data[end : end + _WINDOW].decode("utf-8", "ignore")
        self._place = start

    def span(self, code: Code, named: Named) -> Span:
        return Span(code, self._byte(named.start), self._byte(named.end))

    def _byte(self, at: int) -> int:
        if at <= self.start:
            return self._place - len(self.text[at : self.start].encode())
        return self._place + len(self.text[self.start : at].encode())


def _in_bytes(text: str, code: Code, found: Iterable[Named]) -> list[Span]:
    """Return spans of characters as spans of the text's UTF-8."""
    spans, last, place = [], 0, 0
    for named in sorted(found):
        place += len(text[last : named.start].encode())
        last = named.start
        spans.append(Span(code, place, place + len(text[named.start : named.end].encode())))
    return spans


def _by_itself(data: bytes, start: int, end: int) -> bool:
    """Say whether a word is no part of a longer one; Chinese is written without spaces."""
    joined = _in_word(data, start - 1) or latin_letter_before(data, start)
    return not (joined and _latin(data, start)) and not (
        (_in_word(data, end) or latin_letter_at(data, end)) and _latin(data, end - 1)
    )


def _in_word(data: bytes, place: int) -> bool:
    return at(data, place) in IDENTIFIER


def _latin(data: bytes, place: int) -> bool:
    return _in_word(data, place) or latin_letter_at(data, place) or latin_letter_before(data, place + 1)
