"""Check digits and built-in rules of numbers that belong to one person: what makes a row of digits an identity.

Every function takes the number without separators, letters in upper case, and says whether it can have been issued.
"""

from __future__ import annotations

from datetime import date

# ISO 13616 register: length of an IBAN by country.
_IBAN_LENGTHS = (
    "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DJ:27 "
    "DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HN:28 HR:21 HU:28 "
    "IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 "
    "MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 SA:24 "
    "SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20 YE:30"
)
IBAN_LENGTHS = {part[:2]: int(part[3:]) for part in _IBAN_LENGTHS.split()}
DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
# GB/T 2260: the first two digits of a resident identity number name a province; 83 is used for Taiwan residents.
_PROVINCES = "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83"
CN_PROVINCES = frozenset(_PROVINCES.split())
# Agenzia delle Entrate, D.M. 23/12/1976: values of characters at odd places (counted from 1) of a codice fiscale.
_CF_ODD_VALUES = "1 0 5 7 9 13 15 17 19 21 1 0 5 7 9 13 15 17 19 21 2 4 18 20 11 3 6 8 12 14 16 10 22 25 24 23"
_CF_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", map(int, _CF_ODD_VALUES.split()), strict=True))
CF_MONTHS = "ABCDEHLMPRST"
# BSI TR-03105: no vowels and no letters that look like digits.
ID_CARD_LETTERS = "CFGHJKLMNPRTVWXYZ"


def luhn(digits: str) -> bool:
    """Say whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1)."""
    total = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + at % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def card_issuer(digits: str) -> str | None:
    """Return who issues cards with this beginning and length (ISO/IEC 7812 ranges), or None."""
    size, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4" and size in (13, 16, 19):
        return "visa"
    if (51 <= two <= 55 or 2221 <= four <= 2720) and size == 16:
        return "mastercard"
    if two in (34, 37) and size == 15:
        return "american express"
    if (four == 6011 or 644 <= three <= 649 or two == 65) and size in (16, 19):
        return "discover"
    if 3528 <= four <= 3589 and 16 <= size <= 19:
        return "jcb"
    if four in (1800, 2131) and size == 15:
        return "jcb"
    if (300 <= three <= 305 or three == 309 or two in (36, 38, 39)) and size == 14:
        return "diners club"
    if two in (62, 81) and 16 <= size <= 19:
        return "unionpay"
    if (two == 50 or 56 <= two <= 58 or two in (63, 67) or four in (6304, 6759)) and size in (16, 18, 19):
        return "maestro"
    return None


def card(digits: str) -> bool:
    """Say whether this is a payment card's number: an issuer's range and the Luhn digit, not one digit repeated."""
    return 13 <= len(digits) <= 19 and card_issuer(digits) is not None and len(set(digits)) > 1 and luhn(digits)


def iban(text: str) -> bool:
    """Say whether this is an IBAN: the country's length, and 1 as the remainder of 97 (ISO 13616)."""
    if IBAN_LENGTHS.get(text[:2]) != len(text) or not text[2:4].isdigit() or not 2 <= int(text[2:4]) <= 98:
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def us_ssn(digits: str) -> bool:
    """Say whether a social security number can have been issued: no area 000, 666 or 900-999, no group 00, no 0000."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return len(digits) == 9 and area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def de_tax_id(digits: str) -> bool:
    """Say whether this is a Steuer-Identifikationsnummer.

    Of its first ten digits exactly one comes twice or thrice, all others at most once, and three alike are not
    neighbours; the eleventh is the check digit of ISO/IEC 7064 MOD 11,10.
    """
    if len(digits) != 11 or digits[0] == "0":
        return False
    body = digits[:10]
    often = [digit for digit in set(body) if body.count(digit) > 1]
    if len(often) != 1 or body.count(often[0]) > 3 or often[0] * 3 in body:
        return False
    product = 10
    for digit in body:
        total = (int(digit) + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == int(digits[10])


def de_id_card(text: str) -> bool:
    """Say whether this is the serial number of a German identity card with its check digit (weights 7, 3, 1)."""
    if len(text) != 10 or text[0] not in ID_CARD_LETTERS or not text[9].isdigit():
        return False
    if any(character not in ID_CARD_LETTERS and not character.isdigit() for character in text):
        return False
    return sum(int(character, 36) * (7, 3, 1)[at % 3] for at, character in enumerate(text[:9])) % 10 == int(text[9])


def fr_nir(text: str) -> bool:
    """Say whether this is a French social security number: sex, year, month, département, and 97 less the remainder."""
    if len(text) != 15 or text[0] not in "12" or not text[11:].isdigit():
        return False
    # Corsica's départements are 2A and 2B; 19 and 18 stand for them in the arithmetic.
    plain = text[:5] + {"2A": "19", "2B": "18"}.get(text[5:7], text[5:7]) + text[7:]
    if not plain.isdigit() or text[5:7] == "00":
        return False
    # Months above 12 are given where the month of birth is not known.
    month = int(text[3:5])
    return (1 <= month <= 12 or 20 <= month <= 42 or month >= 50) and 97 - int(plain[:13]) % 97 == int(plain[13:])


def es_dni(text: str) -> bool:
    """Say whether this is a Spanish DNI: eight digits and the letter of their remainder by 23."""
    return len(text) == 9 and text[:8].isdigit() and DNI_LETTERS[int(text[:8]) % 23] == text[8]


def es_nie(text: str) -> bool:
    """Say whether this is a Spanish NIE: X, Y or Z for 0, 1 or 2, seven digits, and the letter as of a DNI."""
    return len(text) == 9 and text[0] in "XYZ" and es_dni(str("XYZ".index(text[0])) + text[1:])


def it_codice_fiscale(text: str) -> bool:
    """Say whether this is an Italian tax code in its plain form: shape, month, day and check letter."""
    shape = "".join("9" if character.isdigit() else "A" for character in text)
    if shape != "AAAAAA99A99A999A" or text[8] not in CF_MONTHS or not 1 <= int(text[9:11]) % 40 <= 31:
        return False
    if int(text[9:11]) > 71:
        return False
    total = sum(
        _CF_ODD[character] if at % 2 == 0 else int(character, 36) - (0 if character.isdigit() else 10)
        for at, character in enumerate(text[:15])
    )
    return chr(ord("A") + total % 26) == text[15]


def uk_nino(text: str) -> bool:
    """Say whether a National Insurance number can have been issued: the prefixes that HMRC leaves out."""
    first, second = text[0], text[1]
    return (
        len(text) == 9
        and first not in "DFIQUV"
        and second not in "DFIOQUV"
        and text[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")
        and text[2:8].isdigit()
        and text[8] in "ABCD"
    )


def cn_resident_id(text: str) -> bool:
    """Say whether this is a Chinese resident identity number (GB 11643-1999).

    Province, a birth date between 1900 and 2099 that the calendar has, and the check character of ISO 7064 MOD 11-2.
    """
    if len(text) != 18 or not text[:17].isdigit() or text[:2] not in CN_PROVINCES:
        return False
    year = int(text[6:10])
    if not 1900 <= year <= 2099:
        return False
    try:
        date(year, int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - at, 11) for at, digit in enumerate(text[:17]))
    return "10X98765432"[total % 11] == text[17].upper()
