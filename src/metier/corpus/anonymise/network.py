"""Addresses of the net: e-mail, IPv4, IPv6, MAC, and names with passwords in URLs."""

from __future__ import annotations

import re

from metier.corpus.anonymise.characters import (
    ALNUM,
    DIGITS,
    HEX,
    IDENTIFIER,
    IP_CUES,
    LETTERS,
    MAC_CUES,
    UPPER,
    at,
    cued,
    latin_letter_at,
    latin_letter_before,
    words_of,
)
from metier.corpus.anonymise.kinds import Code, Span

_LOCAL = ALNUM | frozenset(b"._%+-'")
_LONGEST_LOCAL = 64
_USERINFO = frozenset(range(0x21, 0x7F)) - frozenset(b'/?#<>"@`')
_LONGEST_USERINFO = 128
# What stands after "name@2x" or "unit@host" without being a top-level domain.
NO_TLD = words_of(
    "png jpg jpeg gif svg webp ico bmp tif tiff css js jsx ts tsx json html htm xml txt yml yaml toml csv tsv log "
    "conf cfg ini service socket target timer mount device slice scope path desktop deb rpm tar gz zip xz bz zst exe "
    "dll bin dat db sql java class jar cpp hpp lua php pdf tex texi patch diff orig bak tmp"
)
SHARED_ACCOUNTS = words_of("git hg svn cvs")
NO_PASSWORD = words_of("password passwd pass pwd pw secret passphrase user username token")


def email(data: bytes, place: int) -> Span | None:
    """Return the e-mail address whose @ is at `place`, if there is one.

    git@host is an account that all share, a@2x.png a file; what stands before the @ of a URL is no mailbox.
    """
    start = place
    while place - start < _LONGEST_LOCAL:
        if at(data, start - 1) in _LOCAL:
            start -= 1
        elif latin_letter_before(data, start):
            start -= 2
        else:
            break
    while start < place and at(data, start) in b".%+-'":
        start += 1
    if start == place or at(data, place - 1) in b".'" or data[start:place] in SHARED_ACCOUNTS:
        return None
    if _userinfo(data, place) is not None:
        return None
    end = _domain(data, place + 1)
    return Span(Code.EMAIL, start, end) if end is not None else None


def _domain(data: bytes, place: int) -> int | None:
    """Return where the domain that begins at `place` ends: its last label that can be a top-level domain."""
    end, first, limit = None, True, place + 253
    while place < limit:
        label = place
        while at(data, place) in ALNUM or at(data, place) == ord("-") or latin_letter_at(data, place):
            place += 1 if at(data, place) < 0x80 else 2
        if place == label or at(data, label) == ord("-"):
            break
        if not first:
            letters = label
            while at(data, letters) in LETTERS and letters - label <= 24:
                letters += 1
            fits = 2 <= letters - label <= 24 and at(data, letters) not in DIGITS
            if fits and not latin_letter_at(data, letters) and data[label:letters].lower() not in NO_TLD:
                end = letters
        first = False
        if at(data, place) != ord("."):
            break
        place += 1
    return end


def _userinfo(data: bytes, place: int) -> int | None:
    """Return where the part of a URL between :// and the @ at `place` begins, or None if no URL is there."""
    start = place
    while place - start < _LONGEST_USERINFO and at(data, start - 1) in _USERINFO:
        start -= 1
    # The scan stops at the second slash.
    return start if data[max(0, start - 3) : start] == b"://" and at(data, start - 4) in ALNUM else None


def credentials(data: bytes, place: int) -> Span | None:
    """Return name and password of the URL whose @ is at `place`, if it has them and they are no placeholders."""
    start = _userinfo(data, place)
    host = at(data, place + 1)
    if start is None or not (host in ALNUM or host == ord("[") or host >= 0x80):
        return None
    name, colon, password = data[start:place].partition(b":")
    if not colon or not password or _placeholder(password) or _placeholder(name):
        return None
    return None if password.lower() in NO_PASSWORD else Span(Code.CREDENTIALS, start, place)


def _placeholder(text: bytes) -> bool:
    return text[:1] in (b"$", b"{", b"%", b"[", b"*") or (len(text) > 1 and len(set(text)) == 1)


_OCTETS = re.compile(rb"(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})(?![0-9])")
_THREE_DOTS = re.compile(rb"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
NO_ADDRESS_WORDS = words_of(
    "see version ver v release rev section sections chapter sect sec oid step appendix table figure fig"
)
NO_ADDRESS_SIGNS = words_of("§ 版本 章 节")
_NO_ADDRESS = re.compile(
    rb"(?:(?<![a-z])(?:" + b"|".join(NO_ADDRESS_WORDS) + rb")|" + b"|".join(NO_ADDRESS_SIGNS) + rb")[ .:=(\"']*$"
)


def ipv4(data: bytes, place: int) -> Span | None:
    """Return the IPv4 address that begins at `place` (a digit, none before it), if it is one.

    Version and section numbers are told apart by what stands around them; four small numbers (three below 32 after one
    below 100, or three below 100 after one below 10) need a word such as "host" before them, a port or a prefix, or be
    of network 10 or all alike. Addresses of no one stay: see `_reserved`.
    """
    match = _OCTETS.match(data, place)
    if match is None:
        return None
    octets = [int(part) for part in match.groups()]
    if max(octets) > 255 or _reserved(octets) or not _begins_address(data, place):
        return None
    end = match.end()
    after, next_but_one = at(data, end), at(data, end + 1)
    if after in IDENTIFIER or (after in b".+~" and next_but_one in ALNUM):
        return None
    if after == ord("-") and next_but_one in ALNUM and not _THREE_DOTS.match(data, end + 1):
        return None
    like_a_version = (octets[0] < 100 and max(octets[1:]) < 32) or (octets[0] < 10 and max(octets) < 100)
    if like_a_version and not (after in b":/" and next_but_one in DIGITS) and not cued(data, place, IP_CUES):
        known = octets[0] == 10 or len(set(octets)) == 1
        if not known or _heads_a_section(data, place, end):
            return None
    return Span(Code.IP, place, end)


def _begins_address(data: bytes, place: int) -> bool:
    before, further = at(data, place - 1), at(data, place - 2)
    if before in IDENTIFIER or before == ord("."):
        return False
    if (before in b"-/" and further in LETTERS) or (before == ord("-") and further == ord("_")):
        return False
    window = data[max(0, place - 16) : place].lower()
    return _NO_ADDRESS.search(window[window.rfind(b"\n") + 1 :]) is None


_MARGIN = frozenset(b" \t#*-=>")


def _heads_a_section(data: bytes, start: int, end: int) -> bool:
    """Say whether a number begins a line and a title follows, as in "## 10.2.3.1 Locking"."""
    before = start
    while start - before < 8 and at(data, before - 1) in _MARGIN:
        before -= 1
    after = end + (at(data, end) == ord("."))
    while after - end < 5 and at(data, after) in b" \t":
        after += 1
    return (
        at(data, before - 1) == 10
        and at(data, after - 1) in b" \t"
        and (at(data, after) in UPPER or at(data, after) >= 0xC0)
    )


def _reserved(octets: list[int]) -> bool:
    """Say whether an address is nobody's: this host, loopback, documentation (RFC 5737), multicast, masks."""
    if octets[0] in (0, 127) or octets[0] >= 224:
        return True
    return tuple(octets[:3]) in ((192, 0, 2), (198, 51, 100), (203, 0, 113))


_LONGEST_RUN = 45


def colons(data: bytes, start: int, end: int) -> Span | None:
    """Return the IPv6 or MAC address in a run of hexadecimal digits and colons, data[start:end], if it is one."""
    if end - start > _LONGEST_RUN:
        return None
    if at(data, start) == ord(":") and at(data, start + 1) != ord(":"):
        start += 1
    if at(data, start - 1) in IDENTIFIER:
        # The end of a word that happens to be hexadecimal, as in "mac:00:11:...": the address begins after its colon.
        while start < end and at(data, start) in HEX:
            start += 1
        if at(data, start + 1) == ord(":") or start >= end:
            return None
        start += 1
    if at(data, end - 1) == ord(":") and at(data, end - 2) != ord(":"):
        end -= 1
    if at(data, end) in IDENTIFIER or end <= start:
        return None
    groups = data[start:end].split(b":")
    if len(groups) in (6, 8) and all(len(group) == 2 for group in groups):
        return _mac(data, start, end)
    return _ipv6(data, start, end, groups)


def _mac(data: bytes, start: int, end: int) -> Span | None:
    """Return the span unless the address is nobody's: all zeros or ones, multicast, documentation (RFC 7042)."""
    digits = bytes(character for character in data[start:end].lower() if character in HEX)
    if len(set(digits)) == 1 or digits.startswith((b"01005e", b"3333", b"00005e0053")):
        return None
    return Span(Code.MAC, start, end)


def _ipv6(data: bytes, start: int, end: int, groups: list[bytes]) -> Span | None:
    """Read RFC 4291: eight groups, or fewer around one "::"; the last two may be an IPv4 address."""
    mapped = _OCTETS.match(data, end - len(groups[-1])) if at(data, end) == ord(".") and groups[-1] else None
    count = len(groups)
    if mapped is not None:
        octets = [int(part) for part in mapped.groups()]
        if max(octets) > 255 or at(data, mapped.end()) in IDENTIFIER:
            return None
        end, count = mapped.end(), count + 1
    elif at(data, end) == ord(".") and at(data, end + 1) in ALNUM:
        return None
    if any(len(group) > 4 for group in groups):
        return None
    gaps = sum(1 for place in range(start, end - 1) if data[place : place + 2] == b"::")
    if gaps == 0:
        whole = count == 8 and all(groups)
        return Span(Code.IP, start, end) if whole and not _reserved_v6(groups[0].lower(), groups[1].lower()) else None
    if gaps > 1 or count - groups.count(b"") > 7:
        return None
    first, second = groups[0].lower(), groups[1].lower()
    if first == b"":
        # "::ffff:198.18.0.1"; the loopback address ::1 is nobody's, other such forms are no longer in use.
        known = mapped is not None and len(groups) == 4 and groups[2].lower() == b"ffff" and not _reserved(octets)
        return Span(Code.IP, start, end) if known else None
    given = len(first) == 4 and (
        first[0] in b"23" or first[:2] in (b"fc", b"fd") or (first[:2] == b"fe" and first[2] in b"89ab")
    )
    return Span(Code.IP, start, end) if given and not _reserved_v6(first, second) else None


def _reserved_v6(first: bytes, second: bytes) -> bool:
    """Say whether an address begins as those for documentation (RFC 3849) or multicast do."""
    return (first == b"2001" and second in (b"db8", b"0db8")) or (len(first) == 4 and first[:2] == b"ff")


_HYPHENS = re.compile(rb"(?<![0-9A-Za-z_-])[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}(?![0-9A-Za-z_-])")
_DOTS = re.compile(rb"(?<![0-9A-Za-z_.])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![0-9A-Za-z_]|\.[0-9A-Za-z])")


def mac_with_hyphens(data: bytes, place: int) -> Span | None:
    """Return the MAC address 00-1A-2B-3C-4D-5E or 001a.2b3c.4d5e that begins at `place`, if one does.

    It has letters and digits, or a word such as "MAC" stands before it.
    """
    match = _HYPHENS.match(data, place) or _DOTS.match(data, place)
    if match is None:
        return None
    letters = sum(character in LETTERS for character in match[0])
    if not 0 < letters < 12 and not cued(data, place, MAC_CUES):
        return None
    return _mac(data, place, match.end())
