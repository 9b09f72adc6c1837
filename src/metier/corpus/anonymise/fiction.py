"""Numbers that belong to no one, in the form of those that do: reserved ranges, and check digits that are wrong."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from metier.corpus.anonymise import identifiers
from metier.corpus.anonymise.kinds import Code

T = TypeVar("T")


class Draw:
    """Choices that follow from a key and a value alone: HMAC-SHA256, counted on, read two bytes a choice."""

    def __init__(self, key: bytes, *what: str) -> None:
        self._key = key
        self._what = "\0".join(what).encode("utf-8", "replace")
        self._left = b""
        self._block = 0

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1, for limits up to 65,536, all equally likely."""
        while True:
            if len(self._left) < 2:
                self._left = hmac.digest(self._key, self._block.to_bytes(4, "big") + self._what, hashlib.sha256)
                self._block += 1
            number, self._left = int.from_bytes(self._left[:2], "big"), self._left[2:]
            if number < 65_536 - 65_536 % limit:
                return number % limit

    def one_of(self, choices: Sequence[T]) -> T:
        """Return one of some choices."""
        return choices[self.below(len(choices))]

    def digits(self, count: int) -> str:
        """Return that many digits."""
        return "".join(str(self.below(10)) for _ in range(count))

    def like(self, text: str) -> str:
        """Return a text with other letters and digits, each of the class it replaces; all else stays."""
        return "".join(self._like(character) for character in text)

    def _like(self, character: str) -> str:
        if character in "0123456789":
            return str(self.below(10))
        if "a" <= character <= "z":
            return chr(ord("a") + self.below(26))
        if "A" <= character <= "Z":
            return chr(ord("A") + self.below(26))
        return character


def in_form(value: str, characters: str) -> str:
    """Return `value` with its letters and digits replaced, in turn, by `characters`; what is too much is left out."""
    rest = iter(characters)
    return "".join(next(rest, "") if character.isascii() and character.isalnum() else character for character in value)


# Numbers kept for fiction: North America 555-0100 to -0199; Ofcom's and ARCEP's drama numbers; the Bundesnetzagentur's.
_FRENCH = {"1": "19900", "2": "26191", "3": "35301", "4": "46571", "5": "53649", "6": "63998", "7": "63998"}
_GERMAN = ("3023125", "6990009", "4066969", "2214710", "8999998")


def phone(value: str, draw: Draw) -> str:
    """Return a telephone number of the same form that no network gives out."""
    body = re.sub(r"(?i)[ ]?(?:x|ext\.?|转|分机)[ ]?\d{1,6}$", "", value)
    digits = re.sub(r"\D", "", body.replace("(0)", ""))
    country, national = _parted(digits, body.startswith(("+", "(+")))
    made = country + _unused(country, national, draw)
    shown = body.replace("(0)", "\0")
    extension = re.sub(r"\d", lambda digit: draw.digits(1), value[len(body) :])
    return in_form(shown, made).replace("\0", "(0)") + extension


def _parted(digits: str, international: bool) -> tuple[str, str]:
    """Split digits into what stays, country code or trunk prefix, and the national number."""
    prefix = "" if international else "00" if digits.startswith("00") else None
    if prefix is not None:
        rest = digits[len(prefix) :]
        size = 1 if rest[:1] in "17" else 2 if rest[:2] in ("86", "49", "33", "44") else 3
        return prefix + rest[:size], rest[size:]
    if len(digits) == 11 and digits[0] == "1" and digits[1] not in "01":
        # A North American number with its 1, or a Chinese mobile: in form the two cannot be told apart by digits alone.
        return "", digits
    return ("0", digits[1:]) if digits.startswith("0") else ("", digits)


def _unused(country: str, national: str, draw: Draw) -> str:
    size, code = len(national), country.removeprefix("00")
    if size == 10 and code in ("1", "") and national[0] not in "01":
        return f"{2 + draw.below(8)}{draw.digits(2)}55501{draw.digits(2)}"
    if size == 11 and national[0] == "1":
        # 140 is of the numbers of machines, which have 13 digits.
        return "140" + draw.digits(8)
    if code in ("33", "0") and size == 9 and national[0] in _FRENCH:
        return _FRENCH[national[0]] + draw.digits(4)
    if code in ("44", "0") and size == 10:
        return ("7700900" if national[0] == "7" else "1632960") + draw.digits(3)
    if code in ("49", "0") and size in (10, 11):
        return draw.one_of(_GERMAN) + draw.digits(size - 7)
    # No national number begins with two zeros.
    return ("00" + draw.digits(max(size - 2, 0)))[:size]


def _ssn(plain: str, draw: Draw) -> str:
    return f"9{draw.digits(2)}0{1 + draw.below(9)}{draw.digits(4)}"  # 9xx is no area, and groups below 50 no ITIN's


def _cn_resident(plain: str, draw: Draw) -> str:
    birth = f"{1950 + draw.below(55)}{1 + draw.below(12):02d}{1 + draw.below(28):02d}"
    return "99" + draw.digits(4) + birth + draw.digits(4)  # no province has 99


def _nir(plain: str, draw: Draw) -> str:
    return f"{1 + draw.below(2)}{draw.digits(2)}{1 + draw.below(12):02d}00{draw.digits(8)}"  # no département has 00


def _iban(plain: str, draw: Draw) -> str:
    return plain[:2] + "00" + draw.like(plain[4:])  # check digits run from 02 to 98


def _card(plain: str, draw: Draw) -> str:
    return _wrong(plain[0] + draw.digits(len(plain) - 1), identifiers.luhn)


def _wrong(made: str, good: Callable[[str], bool]) -> str:
    """Return the number with its last character changed until it does not check."""
    alphabet = "0123456789" if made[-1].isdigit() else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    while good(made):
        made = made[:-1] + alphabet[(alphabet.index(made[-1]) + 1) % len(alphabet)]
    return made


_NUMBERS: dict[Code, Callable[[str, Draw], str]] = {
    Code.US_SSN: _ssn,
    Code.CN_RESIDENT: _cn_resident,
    Code.FR_NIR: _nir,
    Code.IBAN: _iban,
    Code.CARD: _card,
    Code.DE_TAX: lambda plain, draw: _wrong(draw.like(plain), identifiers.de_tax_id),
    Code.DE_CARD: lambda plain, draw: _wrong(draw.like(plain), identifiers.de_id_card),
    Code.ES_DNI: lambda plain, draw: _wrong(draw.like(plain), identifiers.es_dni),
    Code.ES_NIE: lambda plain, draw: _wrong(plain[0] + draw.like(plain[1:]), identifiers.es_nie),
    Code.IT_CF: lambda plain, draw: _wrong(draw.like(plain), identifiers.it_codice_fiscale),
    Code.UK_NINO: lambda plain, draw: "QQ" + draw.like(plain[2:]),  # HMRC gives out no prefix with Q
    Code.PASSPORT: lambda plain, draw: draw.like(plain),
}


def number(code: Code, value: str, draw: Draw) -> str:
    """Return a number of a person, account or card in the same form that cannot have been given out."""
    plain = "".join(character for character in value if character.isascii() and character.isalnum()).upper()
    return in_form(value, _NUMBERS[code](plain, draw))


def ip(value: str, draw: Draw) -> str:
    """Return an address of the same kind: private ones stay private, others come from ranges that are not routed.

    IPv4 240.0.0.0/4 is reserved (RFC 1112), IPv6 2001:db8::/32 is for documentation (RFC 3849).
    """
    if ":" in value:
        return "2001:db8:" + ":".join(f"{draw.below(65_536):x}" for _ in range(6))
    parts = value.split(".")
    if parts[0] == "10":
        return ".".join(("10", *(str(draw.below(256)) for _ in range(3))))
    if parts[:2] == ["192", "168"]:
        return f"192.168.{draw.below(256)}.{draw.below(256)}"
    if parts[0] == "172" and 16 <= int(parts[1]) <= 31:
        return f"172.{16 + draw.below(16)}.{draw.below(256)}.{draw.below(256)}"
    return ".".join((str(240 + draw.below(15)), *(str(draw.below(256)) for _ in range(3))))


def mac(value: str, draw: Draw) -> str:
    """Return an address of the same form that no maker was given: locally administered, of one station (IEEE 802)."""
    digits = re.sub(r"[^0-9A-Fa-f]", "", value)
    made = f"{draw.below(64) << 2 | 2:02x}" + "".join(f"{draw.below(16):x}" for _ in range(len(digits) - 2))
    return in_form(value, made.upper() if digits.upper() == digits and digits.lower() != digits else made)
