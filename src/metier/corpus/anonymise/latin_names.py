"""Names of persons in Latin script: after titles and salutations, in signatures and headers, beside an e-mail address.

A given name that is nothing else, before a word with a capital, is a name too. Manuals are full of words with
capitals, so whatever stands in lists of products, months and headings is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from metier.corpus.anonymise.gazetteer import FAMILY_NAMES, NO_NAMES
from metier.corpus.anonymise.literals import Cue

_UPPER = "A-ZÀ-ÖØ-ÞĆČĐŁŃŘŚŠŤŹŻŽŒ"
_LOWER = "a-zà-öø-ÿćčđęěğıłńňőřśşšťůźżžœß"
_WORD = rf"[{_UPPER}](?:['’][{_UPPER}])?[{_LOWER}]+(?:[{_UPPER}][{_LOWER}]+)?(?:-[{_UPPER}][{_LOWER}]+)*"
_PARTICLE = r"(?:von|van|de|der|den|du|la|le|del|della|di|da|dos|zu|zum|zur|ter|ten|bin)"
_PART = rf"(?:{_WORD}|[{_UPPER}]\.)"
_NEXT = rf"(?: (?:{_PARTICLE} ){{0,2}}(?:l['’])?{_PART}(?![{_LOWER}]))"
_NAME = rf"{_PART}{_NEXT}{{0,3}}"
_DEGREES = r"(?:(?:Dr|Prof|Ing|med|jur|rer|nat|h\.c|Dipl\.-Ing|Mag)\.?[ \u00a0])*"

_AFTER_TITLE = re.compile(rf"\.?[ \u00a0]{_DEGREES}((?:{_PARTICLE} ){{0,2}}{_NAME})")
_AFTER_SALUTATION = re.compile(
    rf" (?:(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau|M|Mme)\.? )*({_PART}{_NEXT}{{0,2}})(?=\s*[,!:;\n]|\s*$)"
)
_IN_HEADER = re.compile(
    rf"[ \u00a0]?:[ \t]*[\"'*]{{0,3}}({_NAME})"
    r"(?=[\"'*]{0,3}[ \t]*(?:[<,;|(/\n\r]|$))"
)
_AFTER_PERSON = re.compile(rf" (?:(?:is|ist|est|war|was) )?({_PART}{_NEXT}{{1,3}})")
_AFTER_CLOSING = re.compile(rf"[,.!]?[ \t]*\r?\n\s{{0,8}}({_NAME})[ \t]*(?:\r?\n|$|,)")
_AFTER_GIVEN = re.compile(rf"{_NEXT}{{1,3}}")
_HYPHENED = re.compile(rf"(?:-[{_UPPER}][{_LOWER}]+)+")
_BEFORE_MAIL = re.compile(rf"(?:^|[^\w.'’-])({_PART}{_NEXT}{{1,3}})[\"'’]?[ ]{{0,2}}[<(\[]\s{{0,2}}$")
_AFTER_MAIL = re.compile(rf"[>\]]? \(({_PART}{_NEXT}{{1,3}})\)")
_CELL_BEFORE = re.compile(
    rf"(?:^|[:：;,|\t\n\"'])[ ]{{0,2}}({_PART}{_NEXT}{{1,3}})[\"']?[ ]{{0,2}}([;,|\t])[ \"']{{0,2}}$"
)
_CELL = re.compile(rf"(?:^|[;,|\t\n\"'])[ ]{{0,2}}({_WORD}{_NEXT}{{1,2}})(?=[\"']?[ ]{{0,2}}(?:[;,|\t\n]|$))")
_JOINED = frozenset(("Le", "La", "De", "Du", "Des", "Von", "Van", "Di", "El", "Al"))  # Le Gall, Van Dyke
_PERSONAL = frozenset(("Dear", "Liebe", "Lieber", "Cher", "Chère", "Querido", "Querida", "Caro", "Cara"))


class Named(NamedTuple):
    """A name found in a piece of text, by characters."""

    start: int
    end: int


class LatinNames:
    """Find the names that a cue speaks of.

    Args:
        given: given names that are nothing else, and those that are words too.
    """

    def __init__(self, given: tuple[frozenset[str], frozenset[str]]) -> None:
        self._sure = given[0]
        self._given = given[0] | given[1]

    def at_cue(self, cue: int, text: str, start: int, end: int) -> Named | None:
        """Return the name that the cue text[start:end] leads to, or None."""
        if start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_"):
            return None
        if cue in (Cue.GIVEN, Cue.GIVEN_WORD):
            return self._from_given(text, start, end, sure=cue == Cue.GIVEN)
        if cue == Cue.FAMILY:
            return self._in_cell(text, end)
        if cue == Cue.TITLE:
            match = _AFTER_TITLE.match(text, end - (text[end - 1] in " ."))
            return self._checked(match, lone=True) if match else None
        if cue == Cue.SALUTATION:
            match = _AFTER_SALUTATION.match(text, end)
            return self._checked(match, lone=text[start:end] in _PERSONAL) if match else None
        if cue in (Cue.HEADER, Cue.FIELD):
            match = _IN_HEADER.match(text, end)
            if match is None and cue == Cue.HEADER and (person := _AFTER_PERSON.match(text, end)):
                return self._checked(person, lone=False, known=True)
            return self._checked(match, lone=cue == Cue.HEADER, known=cue == Cue.FIELD) if match else None
        match = _AFTER_CLOSING.match(text, end)
        return self._checked(match, lone=True) if match else None

    def before_mail(self, text: str) -> Named | None:
        """Return the name that ends a text after which an e-mail address in brackets begins."""
        text_end = text[-3:].rstrip()
        match = _BEFORE_MAIL.search(text) if text_end.endswith(("<", "(", "[")) else None
        return self._checked(match, lone=False) if match else None

    def in_cell_before(self, text: str) -> Named | None:
        """Return the name in the cell of a table that ends a text, before an e-mail address, number or postal address.

        After a comma, which separates much else, one of its words must be a known name.
        """
        text_end = text[-4:].rstrip(" \"'")
        match = _CELL_BEFORE.search(text) if text_end.endswith((";", ",", "|", "\t")) else None
        return self._checked(match, lone=False, known=match[2] == ",") if match else None

    def after_mail(self, text: str, at: int) -> Named | None:
        """Return the name in parentheses after an e-mail address that ends at `at`."""
        match = _AFTER_MAIL.match(text, at)
        return self._checked(match, lone=False) if match else None

    def _in_cell(self, text: str, end: int) -> Named | None:
        """Return the name that ends at `end` and is all that stands between two separators, as in a table of people."""
        line = max(text.rfind("\n", 0, end), end - 80, 0)
        for match in _CELL.finditer(text, line):
            if match.end(1) == end:
                return self._checked(match, lone=False, known=True)
        return None

    def _checked(self, match: re.Match[str], lone: bool, known: bool = False) -> Named | None:
        """Return the match's name without what is none at its end.

        Args:
            lone: whether one word is enough where it is no known given name.
            known: whether one of the words must be a known name.
        """
        words = match[1].split(" ")
        while words and (words[-1] in NO_NAMES or not words[-1][0].isupper()):
            if len(words) == 2 and words[0] in self._sure and words[1][0].isupper():
                break  # Thomas Day
            words.pop()
        joined = len(words) > 1 and words[0] in _JOINED
        if not words or (words[0] in NO_NAMES and not joined) or (len(words) == 1 and len(words[0]) < 3):
            return None
        listed = any(word.split("-")[0] in self._given or word in FAMILY_NAMES for word in words)
        if (known and not listed) or (len(words) == 1 and not lone and words[0] not in self._sure):
            return None
        start = match.start(1)
        return Named(start, start + len(" ".join(words)))

    def _from_given(self, text: str, start: int, end: int, sure: bool) -> Named | None:
        joined = _HYPHENED.match(text, end)
        end = joined.end() if joined else end
        rest = _AFTER_GIVEN.match(text, end)
        if rest is None or (end < len(text) and text[end].isalpha()):
            return None
        words = rest[0].split(" ")[1:]
        while words and (words[-1] in NO_NAMES or not words[-1][0].isupper() or words[-1].endswith(".")):
            words.pop()
        if not words or words[0] in NO_NAMES:
            return None
        if not sure and not any(word in FAMILY_NAMES for word in words):
            return None
        return Named(start, end + 1 + len(" ".join(words)))


def family_names(names: Iterable[str]) -> set[str]:
    """Return the family names of some persons by which a text may go on to speak of them: four letters or more.

    Words that are also something else are left out: a Mr Baker does not make a name of every baker.
    """
    last = {name.split(" ")[-1] for name in names if " " in name}
    return {word for word in last if len(word) >= 4 and word not in NO_NAMES and word.lower() not in _TRADES}


_TRADE_NAMES = (
    "baker bell brooks brown butler carter chase clark cook cooper cross day field fields fisher ford foster fox "
    "gray green grant hall hand hill hunter king knight lane little long love marsh marshall mason miller moore page "
    "park parks parker price reed rice rich rose sanders shepherd short small stone strong summers turner walker "
    "wall ward waters weaver weeks wells west white winter wise wolf wood woods young klein lange groß winter sommer "
    "wagner fischer weber schneider koch bauer richter könig kaiser vogel stein petit blanc brun roche fontaine "
    "marchand"
)
_TRADES = frozenset(_TRADE_NAMES.split())
