"""Numbers of persons: identity, tax and insurance numbers, accounts and cards, found at the beginning of digits."""

from __future__ import annotations

import re
from typing import NamedTuple

from metier.corpus.anonymise import identifiers
from metier.corpus.anonymise.characters import (
    ALNUM,
    DIGITS,
    DNI_CUES,
    IDENTIFIER,
    NINO_CUES,
    PHONE_CUES,
    SSN_CUES,
    THING_CUES,
    UPPER,
    at,
    cued,
    digits_within,
)
from metier.corpus.anonymise.kinds import Code, Span

FEWEST_DIGITS = 6
MOST_GROUPS = 9
LONGEST_GROUP = 20

# What may stand between two groups of digits, each with the letter by which rules name it: a trunk prefix "(0)", an
# Opening and a closing Parenthesis, a Hyphen or dash, a Dot, a sLash, a Space (also U+00A0, U+2009 and U+202F).
_SEPARATOR = re.compile(
    rb"(?:(?P<T> ?\(0\) ?)|(?P<O> ?\()|(?P<P>\)[ -]?)"
    rb"|(?P<H>-| - |\xe2\x80[\x90-\x93]| \xe2\x80\x93 )|(?P<D>\.)|(?P<L>/| / )"
    rb"|(?P<S> |\xc2\xa0|\xe2\x80[\x89\xaf]))(?=[0-9])"
)
_CN_TAIL = re.compile(rb"[ -][0-9]{3}[0-9Xx]")
_DIGIT_RUN = re.compile(rb"[0-9]+")


class Groups(NamedTuple):
    """Groups of digits and what separates them: `separators[k]` stands before group k, "" before the first."""

    data: bytes
    starts: list[int]
    ends: list[int]
    separators: list[str]

    def __len__(self) -> int:
        return len(self.starts)

    def sizes(self, first: int = 0, last: int | None = None) -> tuple[int, ...]:
        """Return the lengths of groups `first` to `last`, which is included."""
        stop = len(self) if last is None else last + 1
        return tuple(self.ends[k] - self.starts[k] for k in range(first, min(stop, len(self))))

    def digits(self, first: int, last: int) -> str:
        """Return the digits of groups `first` to `last`, which is included."""
        return b"".join(self.data[self.starts[k] : self.ends[k]] for k in range(first, last + 1)).decode()

    def between(self, first: int, last: int) -> str:
        """Return the separators inside groups `first` to `last`."""
        return "".join(self.separators[first + 1 : last + 1])


def groups(data: bytes, place: int) -> Groups:
    """Return up to nine groups of digits that begin at `place`; a group of more than 20 digits is the last."""
    found = Groups(data, [], [], [])
    separator = ""
    while True:
        run = _DIGIT_RUN.match(data, place, place + LONGEST_GROUP + 1)
        end = run.end() if run else place
        found.starts.append(place)
        found.ends.append(end)
        found.separators.append(separator)
        if len(found) == MOST_GROUPS or end - place > LONGEST_GROUP:
            return found
        match = _SEPARATOR.match(data, end)
        if match is None:
            return found
        separator, place = match.lastgroup or "", match.end()


def begins(found: Groups) -> bool:
    """Say whether the number may begin here: it is no part of a word, a longer number, an amount or a path."""
    data, place = found.data, found.starts[0]
    before, further = at(data, place - 1), at(data, place - 2)
    if before in IDENTIFIER or before in b"$%\\":
        return False
    if before in b".-/" and (further in ALNUM or (before == ord("/") and further == ord("/"))):
        return False
    if before == ord(":") and further in DIGITS:
        return False
    if before == ord("#") and further == ord("&"):
        return False
    if data[max(0, place - 2) : place] in (b"\xc2\xa3", b"\xc2\xa5"):  # £ and ¥
        return False
    if data[max(0, place - 3) : place] in (b"\xe2\x82\xac", b"\xef\xbf\xa5"):  # € and ￥
        return False
    alone = len(found) == 1 or found.separators[1] == "S"
    thousands = before == ord(",") and further in DIGITS and found.ends[0] - place == 3 and alone
    return not thousands


def stands_alone_left(found: Groups) -> bool:
    """Say whether no other number stands before this one, with a mere space between."""
    data, place = found.data, found.starts[0]
    spaced = at(data, place - 1) == 0x20 and at(data, place - 2) in DIGITS
    no_break = data[max(0, place - 2) : place] == b"\xc2\xa0" and at(data, place - 3) in DIGITS
    return not spaced and not no_break


def ends_after(found: Groups, last: int, alone: bool = False) -> bool:
    """Say whether the number may end with group `last`.

    Args:
        alone: no other number may follow with a mere space between.
    """
    after = at(found.data, found.ends[last])
    if after in IDENTIFIER or after == ord("%"):
        return False
    if after == ord(":") and at(found.data, found.ends[last] + 1) in DIGITS:
        return False
    following = found.separators[last + 1] if last + 1 < len(found) else ""
    return following not in ("H", "D", "L") and not (alone and following == "S")


def identity(data: bytes, place: int) -> Span | None:
    """Return the number of a person, account or card whose first group of digits begins at `place`, if one does.

    `place` holds a digit and the byte before it none.
    """
    if digits_within(data, place, 24) < FEWEST_DIGITS:
        return None
    found = _lettered(data, place)
    if found is not None:
        return found
    parts = groups(data, place)
    if not begins(parts) or at(data, place - 1) == ord("+"):
        return None
    return _in_one(parts) or _nir(data, place) or _in_groups(parts)


def _in_one(parts: Groups) -> Span | None:
    """Find numbers written without separators."""
    data, start, end = parts.data, parts.starts[0], parts.ends[0]
    size = end - start
    if size in (17, 18):
        long = data[start : start + 18]
        if at(data, start + 18) not in IDENTIFIER and identifiers.cn_resident_id(_plain(long.upper())):
            return Span(Code.CN_RESIDENT, start, start + 18)
    if size == 8:
        return _dni(data, start, end, _plain(data[start:end]))
    if not ends_after(parts, 0):
        return None
    digits = _plain(data[start:end])
    if size == 15 and identifiers.fr_nir(digits):
        return Span(Code.FR_NIR, start, end)
    if 13 <= size <= 19 and identifiers.card(digits):
        return Span(Code.CARD, start, end)
    if size == 11 and identifiers.de_tax_id(digits) and not cued(data, start, PHONE_CUES):
        return Span(Code.DE_TAX, start, end)
    if size == 9 and identifiers.us_ssn(digits) and cued(data, start, SSN_CUES):
        return Span(Code.US_SSN, start, end)
    return None


def _in_groups(parts: Groups) -> Span | None:
    """Find numbers written in groups."""
    data, start = parts.data, parts.starts[0]
    four = parts.sizes(0, 3)
    if four[:3] == (3, 2, 4) and parts.between(0, 2) in ("HH", "SS"):
        spaced = parts.between(0, 2) == "SS"
        if spaced and not (stands_alone_left(parts) and cued(data, start, SSN_CUES)):
            return None
        if not ends_after(parts, 2, spaced) or not identifiers.us_ssn(parts.digits(0, 2)):
            return None
        if not cued(data, start, THING_CUES):
            return Span(Code.US_SSN, start, parts.ends[2])
        return None
    if four == (2, 3, 3, 3) and parts.between(0, 3) in ("SSS", "LLL", "HHH", "DDD"):
        if ends_after(parts, 3) and identifiers.de_tax_id(parts.digits(0, 3)):
            return Span(Code.DE_TAX, start, parts.ends[3])
        return None
    if four[:3] == (2, 3, 3) and parts.between(0, 2) == "DD":
        return _dni(data, start, parts.ends[2], parts.digits(0, 2))
    if four[:2] == (6, 8) and parts.between(0, 1) in ("S", "H"):
        tail = _CN_TAIL.match(data, parts.ends[1])
        text = parts.digits(0, 1) + _plain(tail[0][1:].upper()) if tail else ""
        if tail and at(data, tail.end()) not in IDENTIFIER and identifiers.cn_resident_id(text):
            return Span(Code.CN_RESIDENT, start, tail.end())
        return None
    for shape in ((4, 4, 4, 4, 3), (4, 4, 4, 4), (4, 6, 5), (4, 6, 4)):
        last = len(shape) - 1
        signs = set(parts.between(0, last))
        good = parts.sizes(0, last) == shape and signs in ({"S"}, {"H"}) and ends_after(parts, last)
        if good and identifiers.card(parts.digits(0, last)):
            return Span(Code.CARD, start, parts.ends[last])
    return None


def _dni(data: bytes, start: int, end: int, digits: str) -> Span | None:
    """Find the letter of a DNI after its digits. 12345678L is a constant in C and Java: L and F need a word before."""
    place = end + 1 if at(data, end) == ord("-") else end
    letter = at(data, place)
    if letter not in UPPER or at(data, place + 1) in IDENTIFIER or not identifiers.es_dni(digits + chr(letter)):
        return None
    if letter in b"LF" and not cued(data, start, DNI_CUES):
        return None
    return Span(Code.ES_DNI, start, place + 1)


_NIR = re.compile(
    rb"([12])( ?)([0-9]{2})\2([0-9]{2})\2([0-9]{2}|2[AB])\2([0-9]{3})\2([0-9]{3}) ?([0-9]{2})(?![0-9A-Za-z_])"
)


def _nir(data: bytes, place: int) -> Span | None:
    """Find a French NIR in the groups in which it is printed, or whole with a space before the key."""
    match = _NIR.match(data, place)
    if match is None:
        return None
    text = _plain(b"".join(match.group(1, 3, 4, 5, 6, 7, 8)))
    return Span(Code.FR_NIR, place, match.end()) if identifiers.fr_nir(text) else None


_CF = re.compile(rb"[A-Z]{6}[0-9]{2}[A-Z][0-9]{2}[A-Z][0-9]{3}[A-Z](?![0-9A-Za-z_])")
_NINO = re.compile(rb"([A-Z]{2})(?:[0-9]{6}| [0-9]{2} [0-9]{2} [0-9]{2} ?)([A-Z])(?![0-9A-Za-z_])")
_NIE = re.compile(rb"([XYZ])-?([0-9]{7})-?([A-Z])(?![0-9A-Za-z_])")


def _lettered(data: bytes, place: int) -> Span | None:
    """Find numbers that begin with letters before the digits at `place`."""
    before = at(data, place - 1)
    if before in UPPER:
        return _iban(data, place - 2) or _tax_code(data, place - 6) or _nino(data, place - 2) or _nie(data, place - 1)
    if before == ord(" ") and at(data, place - 2) in UPPER:
        return _nino(data, place - 3)
    if before == ord("-"):
        return _nie(data, place - 2)
    return None


def _iban(data: bytes, start: int) -> Span | None:
    """Find an IBAN, whole or in groups of four with a space between."""
    if start < 0 or at(data, start - 1) in IDENTIFIER or at(data, start) not in UPPER:
        return None
    size = identifiers.IBAN_LENGTHS.get(data[start : start + 2].decode("latin-1"))
    if size is None:
        return None
    text, place = bytearray(), start
    spaced = at(data, start + 4) == ord(" ")
    while len(text) < size:
        if spaced and text and len(text) % 4 == 0:
            if at(data, place) != ord(" "):
                return None
            place += 1
        character = at(data, place)
        if character not in UPPER and character not in DIGITS:
            return None
        text.append(character)
        place += 1
    if at(data, place) in IDENTIFIER or not identifiers.iban(_plain(bytes(text))):
        return None
    return Span(Code.IBAN, start, place)


def _tax_code(data: bytes, start: int) -> Span | None:
    match = _CF.match(data, start) if start >= 0 and at(data, start - 1) not in IDENTIFIER else None
    good = match is not None and identifiers.it_codice_fiscale(_plain(match[0]))
    return Span(Code.IT_CF, start, start + 16) if good else None


def _nino(data: bytes, start: int) -> Span | None:
    """Find a National Insurance number. AC123456B may be hexadecimal: where all of it is, it needs a word before."""
    match = _NINO.match(data, start) if start >= 0 and at(data, start - 1) not in IDENTIFIER else None
    if match is None:
        return None
    text = _plain(match[0].replace(b" ", b""))
    if not identifiers.uk_nino(text):
        return None
    hexadecimal = text == _plain(match[0]) and text[0] in "ABCDEF" and text[1] in "ABCDEF"
    if hexadecimal and not cued(data, start, NINO_CUES):
        return None
    return Span(Code.UK_NINO, start, match.end())


def _nie(data: bytes, start: int) -> Span | None:
    match = _NIE.match(data, start) if start >= 0 and at(data, start - 1) not in IDENTIFIER else None
    good = match is not None and identifiers.es_nie(_plain(b"".join(match.groups())))
    return Span(Code.ES_NIE, start, match.end()) if match is not None and good else None


def _plain(data: bytes) -> str:
    return data.decode("latin-1")
