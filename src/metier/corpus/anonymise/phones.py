"""Telephone numbers: international, and the national ways of writing of the US, Germany, France, the UK and China."""

from __future__ import annotations

import re

from metier.corpus.anonymise.characters import (
    ALNUM,
    DIGITS,
    HEX,
    IDENTIFIER,
    LETTERS,
    PHONE_CUES,
    SURE_PHONE_CUES,
    at,
    cued,
    digits_within,
    words_of,
)
from metier.corpus.anonymise.kinds import Code, Span
from metier.corpus.anonymise.numbers import FEWEST_DIGITS, Groups, begins, ends_after, groups, stands_alone_left

# ITU-T E.164: country codes of one, two and three digits.
_ONE_DIGIT = frozenset("17")
_TWO = (
    "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 "
    "91 92 93 94 95 98"
)
_TWO_DIGITS = frozenset(_TWO.split())
_THREE = (
    "211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 238 239 240 241 242 "
    "243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 267 268 269 290 291 "
    "297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 379 380 381 382 383 385 "
    "386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 670 672 "
    "673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 808 850 852 853 855 856 870 878 "
    "880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993 994 995 "
    "996 998"
)
_THREE_DIGITS = frozenset(_THREE.split())
# How many digits may follow a country's code; E.164 allows 15 in all.
_NATIONAL_SIZES = {"1": (10, 10), "33": (9, 9), "34": (9, 9), "44": (9, 10), "49": (6, 11), "86": (9, 11)}
_OTHER_SIZES = (7, 12)

_EXTENSION = re.compile(rb" ?(?:[xX]|[eE]xt\.?|\xe8\xbd\xac|\xe5\x88\x86\xe6\x9c\xba) ?[0-9]{1,6}(?![0-9A-Za-z_])")
# What follows a count: 13421772800 bytes are no telephone.
UNITS = words_of("字节 次 元 行 条 个 秒 毫")
_UNIT = re.compile(rb" ?(?:[kKMGT]?i?[bB](?:ytes?|its?)?(?![a-z])|[mun]?s(?![a-z])|" + b"|".join(UNITS) + rb")")
_BESIDE = 32
_WIDE = frozenset(range(0xE3, 0xEA)) | {0xEF}  # first bytes of Chinese and Japanese characters and their signs


def phone(data: bytes, place: int) -> Span | None:
    """Return the telephone number whose first group of digits begins at `place`, if one does.

    `place` holds a digit and the byte before it none.
    """
    if digits_within(data, place, 24) < FEWEST_DIGITS:
        return None
    parts = groups(data, place)
    if at(data, place - 1) == ord("+"):
        return _international(parts, 0)
    if not begins(parts):
        return None
    known = cued(data, place, PHONE_CUES)
    if parts.digits(0, 0).startswith("00"):
        return _international(parts, 2) if known or len(parts) > 1 else None
    likely = known or _beside_mail(data, place, parts.ends[0])
    return (
        _north_american(parts, likely)
        or _chinese(parts, likely)
        or _french(parts)
        or _with_trunk(parts, likely)
        or (_after_a_word(parts) if cued(data, place, SURE_PHONE_CUES) else None)
    )


def _beside_mail(data: bytes, start: int, end: int) -> bool:
    """Say whether an @ stands within 32 bytes of a number and on its line, as in a table of people."""
    before = data[max(0, start - _BESIDE) : start]
    after = data[end : end + _BESIDE]
    return b"@" in before[before.rfind(b"\n") + 1 :] or b"@" in after[: (after + b"\n").find(b"\n")]


def _span(parts: Groups, last: int, alone: bool) -> Span | None:
    """Return the span from the number's beginning to group `last` and an extension, or None if it cannot end there."""
    data, start = parts.data, parts.starts[0]
    extension = _EXTENSION.match(data, parts.ends[last])
    if extension is None and not ends_after(parts, last, alone):
        return None
    if last == 0 and _UNIT.match(data, parts.ends[0]):
        return None
    if alone and not stands_alone_left(parts):
        return None
    opened = last > 0 and parts.separators[1] == "P" and at(data, start - 1) == ord("(")
    return Span(Code.PHONE, start - opened, extension.end() if extension else parts.ends[last])


def _international(parts: Groups, skipped: int) -> Span | None:
    """Read a number with a country code, after + (`skipped` is 0) or 00 (2)."""
    data, start = parts.data, parts.starts[0]
    if skipped == 0:
        before = at(data, start - 2)
        if before in ALNUM or before in b"+_":
            return None
    for last in range(min(len(parts), 7) - 1, -1, -1):
        digits = parts.digits(0, last)[skipped:]
        country = _country(digits)
        if country is None:
            return None
        national = digits[len(country) :]
        fewest, most = _NATIONAL_SIZES.get(country, _OTHER_SIZES)
        if not fewest <= len(national) <= most or national[0] == "0" or len(digits) > 15:
            continue
        if country == "1" and not (_office(national[0]) and _office(national[3])):
            continue
        if country == "86" and len(national) == 11 and not _cn_mobile(national) and last == 0:
            continue
        span = _span(parts, last, alone=skipped == 2 or country not in _NATIONAL_SIZES)
        if span is not None:
            if skipped == 2:
                return span
            # The span begins at the plus, or at a parenthesis before it that closes after the country code.
            opened = len(parts) > 1 and parts.separators[1] == "P" and at(data, start - 2) == ord("(")
            return span._replace(start=start - 1 - opened)
    return None


def _country(digits: str) -> str | None:
    if digits[:1] in _ONE_DIGIT:
        return digits[:1]
    if digits[:2] in _TWO_DIGITS:
        return digits[:2]
    return digits[:3] if digits[:3] in _THREE_DIGITS else None


def _office(digit: str) -> bool:
    """Say whether a North American area or exchange code may begin with this digit (NANP: 2 to 9)."""
    return digit not in "01"


def _north_american(parts: Groups, known: bool) -> Span | None:
    """Read (415) 555-0100, 415-555-0100, 415.555.0100, 1-415-...; with spaces alone or in one only after a word."""
    first = 1 if parts.sizes(0, 0) == (1,) and parts.digits(0, 0) == "1" and len(parts) > 1 else 0
    if parts.sizes(first, first + 2) == (3, 3, 4):
        inner = parts.between(first, first + 2)
        area, exchange = parts.digits(first, first), parts.digits(first + 1, first + 1)
        if inner not in ("HH", "DD", "PH", "PD", "PS", "SH", "SS") or (inner == "SS" and not known):
            return None
        opened = at(parts.data, parts.starts[first] - 1) == ord("(")
        if (inner[0] == "P") != opened or not (_office(area[0]) and _office(exchange[0])):
            return None
        return _span(parts, first + 2, alone=inner == "SS")
    if known and parts.sizes(0, 0) == (10,) and _office(parts.digits(0, 0)[0]) and _office(parts.digits(0, 0)[3]):
        return _span(parts, 0, alone=True)
    return None


def _cn_mobile(digits: str) -> bool:
    """Say whether this begins as the mobile numbers given out in China do."""
    second, third = digits[1], digits[2]
    allotted = {"4": "56789", "5": "012356789", "6": "2567", "7": "0123456789", "9": "012356789"}
    return digits[0] == "1" and (second in "38" or third in allotted.get(second, ""))


def _chinese(parts: Groups, known: bool) -> Span | None:
    """Read 138-1234-5678, 86-138..., 400-810-8888; 13812345678 where a word or Chinese text stands around it."""
    data, sizes = parts.data, parts.sizes(0, 3)
    if sizes[:1] == (11,) and _cn_mobile(parts.digits(0, 0)):
        start, end = parts.starts[0], parts.ends[0]
        wide = any(at(data, place) in _WIDE for place in (*range(start - 12, start), *range(end, end + 9)))
        return _span(parts, 0, alone=True) if known or wide else None
    if sizes[:3] == (3, 4, 4) and parts.between(0, 2) in ("HH", "SS") and _cn_mobile(parts.digits(0, 0)):
        return _span(parts, 2, alone=parts.between(0, 2) == "SS")
    first = parts.digits(0, 0)
    if first == "86" and sizes[1:2] == (11,) and parts.between(0, 1) in ("H", "S") and _cn_mobile(parts.digits(1, 1)):
        return _span(parts, 1, alone=True)
    if first in ("400", "800") and sizes[:3] in ((3, 3, 4), (3, 4, 3)) and parts.between(0, 2) == "HH":
        return _span(parts, 2, alone=False)
    return None


def _french(parts: Groups) -> Span | None:
    """Read 01 42 68 53 00, 01.42.68.53.00 and 01-42-68-53-00."""
    if parts.sizes(0, 4) != (2, 2, 2, 2, 2) or parts.between(0, 4) not in ("SSSS", "DDDD", "HHHH"):
        return None
    digits = parts.digits(0, 1)
    if digits[0] != "0" or digits[1] == "0" or digits[2:] == "00":
        return None
    return None if _after_hexadecimal(parts) else _span(parts, 4, alone=True)


def _after_hexadecimal(parts: Groups) -> bool:
    """Say whether a byte such as 3c stands before, as in a memory dump."""
    data, place = parts.data, parts.starts[0]
    return (
        at(data, place - 1) == ord(" ")
        and at(data, place - 2) in HEX & LETTERS
        and at(data, place - 3) in DIGITS
        and at(data, place - 4) not in IDENTIFIER
    )


def _with_trunk(parts: Groups, known: bool) -> Span | None:
    """Read 030 1234567, (0161) 496 0000, 0171/1234567, 010-12345678: an area code that begins with 0, and the rest."""
    first = parts.digits(0, 0)
    if not (first[0] == "0" and len(first) > 1 and first[1] != "0"):
        return None
    opened = at(parts.data, parts.starts[0] - 1) == ord("(")
    if len(parts) == 1:
        return _span(parts, 0, alone=True) if known and 9 <= len(first) <= 12 else None
    if not 3 <= len(first) <= (6 if opened else 5) or (parts.separators[1] == "P") != opened:
        return None
    if parts.sizes() == (5, 4) and parts.separators[1] == "H" and not known:
        return None  # 02111-1307 is a place in Boston
    tight = 1
    while tight + 1 < len(parts) and parts.separators[tight + 1] == "H":
        tight += 1
    for last, alone in ((len(parts) - 1, True), (tight, False)):
        inner = parts.between(0, last)
        if last > 5 or not set(inner) <= set("SHLP") or (not alone and inner[0] == "S"):
            continue
        total, spaced = sum(parts.sizes(0, last)), set(inner) == {"S"} and not known
        rest = parts.sizes(1, last)
        if not (9 + spaced <= total <= 12 - spaced) or min(rest) < 2 or max(rest) > 8:
            continue
        span = _span(parts, last, alone)
        if span is not None:
            return span
    return None


def _after_a_word(parts: Groups) -> Span | None:
    """Read any 7 to 15 digits after a word such as "Tel.", but no date and no IP address."""
    last = len(parts) - 1
    sizes, inner = parts.sizes(), parts.between(0, last)
    if last > 7 or not 7 <= sum(sizes) <= 15 or not set(inner) <= set("SHDLPOT"):
        return None
    dated = sizes[:3] in ((4, 2, 2), (2, 2, 4), (1, 2, 4), (2, 1, 4))
    if dated or (inner == "DDD" and last == 3):
        return None
    return _span(parts, last, alone=True)
