"""Bytes of a text as the scanner reads them. All that is personal data in numbers and keys is ASCII.

Beyond the ends of a text there is a line end, so that no rule asks whether it is at an end. Bytes of other scripts are
boundaries: `\\b` of regular expressions would find none between a Chinese character and a letter.
"""

from __future__ import annotations

import re

DIGITS = frozenset(b"0123456789")
UPPER = frozenset(range(ord("A"), ord("Z") + 1))
LOWER = frozenset(range(ord("a"), ord("z") + 1))
LETTERS = UPPER | LOWER
ALNUM = LETTERS | DIGITS
IDENTIFIER = ALNUM | {ord("_")}
HEX = DIGITS | frozenset(b"abcdefABCDEF")


def at(data: bytes, place: int) -> int:
    """Return the byte at a place, a line end outside the text."""
    return data[place] if 0 <= place < len(data) else 10


def latin_letter_before(data: bytes, place: int) -> bool:
    """Say whether the two bytes before `place` are a Latin letter with a mark (U+00C0 to U+024F), as in müller."""
    first, second = at(data, place - 2), at(data, place - 1)
    return 0xC3 <= first <= 0xC9 and 0x80 <= second <= 0xBF and not (first == 0xC3 and second in (0x97, 0xB7))


def latin_letter_at(data: bytes, place: int) -> bool:
    """Say whether a Latin letter with a mark begins at `place`."""
    return latin_letter_before(data, place + 2)


_DIGIT = re.compile(rb"[0-9]")


def digits_within(data: bytes, place: int, width: int) -> int:
    """Return how many of `width` bytes from `place` are digits."""
    return len(_DIGIT.findall(data, place, place + width))


CUE_WINDOW = 40


def words_of(text: str) -> tuple[bytes, ...]:
    """Return the words of a list in UTF-8; an underscore stands for a space in a word."""
    return tuple(word.replace("_", " ").encode() for word in text.split())


PHONE_CUES = words_of(
    "phone phones phonenumber telephone tel telefon telefonnummer telefonnr mobile mobil mobilnummer mobilephone cell "
    "cellphone fax telefax call calling dial handy handynummer whatsapp hotline rufnummer sms portable appelez appeler "
    "joignable erreichbar erreichen anrufen rufen joindre tél téléphone 电话 手机 联系 热线 传真 致电 拨打 号码 微信"
)
# Words after which any number of fitting length is a telephone's: "call" and "cell" have other meanings.
SURE_PHONE_CUES = words_of(
    "phone phones phonenumber telephone tel telefon telefonnummer telefonnr mobile mobil mobilnummer mobilephone "
    "cellphone fax telefax handynummer whatsapp hotline rufnummer tél téléphone 电话 手机 热线 传真"
)
SSN_CUES = words_of("ssn social_security")
# Numbers of things that are written like a social security number.
THING_CUES = words_of("sku part item lot order invoice article model serial ticket batch")
DNI_CUES = words_of("dni nif documento")
NINO_CUES = words_of("nino national_insurance ni_number ni_no")
IP_CUES = words_of(
    "ip ips ipv4 addr address addresses host hosts hostname server servers dns ping inet gateway from client peer "
    "route subnet network proxy listen bind connect connected ssh nameserver nameservers resolver resolvers :// "
    "地址 服务器 主机 网关 登录"
)
MAC_CUES = words_of("mac physical hardware ether hwaddr 物理")


def cued(data: bytes, place: int, cues: tuple[bytes, ...]) -> bool:
    """Say whether one of some words stands before `place`: whole, on the same line, within 40 bytes.

    Upper and lower case are the same. What the window cuts off counts as a word's end; a byte of another script does.
    """
    window = data[max(0, place - CUE_WINDOW) : place].lower()
    line = window.rfind(b"\n") + 1
    for cue in cues:
        found = window.find(cue, line)
        while found >= 0:
            before = window[found - 1] if found > line else 10
            after = window[found + len(cue)] if found + len(cue) < len(window) else 10
            if cue[0] not in LOWER or (before not in LOWER and after not in LOWER):
                return True
            found = window.find(cue, found + 1)
    return False
