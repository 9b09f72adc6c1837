"""Passwords, keys and tokens: by their own form, or because a word says that one follows."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from metier.corpus.anonymise import identifiers
from metier.corpus.anonymise.characters import ALNUM, DIGITS, IDENTIFIER, LETTERS, LOWER, UPPER, at, words_of
from metier.corpus.anonymise.kinds import Code, Span
from metier.corpus.anonymise.literals import CHARSETS, Act, Literal

_LONGEST_VALUE = 128
_LONGEST_BLOCK = 16_384


def after_literal(data: bytes, place: int, literal: Literal) -> Span | None:
    """Return what a word found at `place` leads to, if it does. `literal.act` is not REPORT."""
    end = place + len(literal.text)
    if literal.act == Act.KEY:
        return _key(data, place, literal)
    if literal.act == Act.TOKEN:
        return _web_token(data, place)
    if literal.act == Act.BLOCK:
        return _private_key(data, place)
    if literal.act == Act.PASSWORD:
        return _password(data, place, end)
    if literal.act == Act.SECRET:
        return _secret(data, place, end)
    if literal.act == Act.BEARER:
        return _random_value(data, end, 16)
    return _document(data, end)


def _key(data: bytes, place: int, literal: Literal) -> Span | None:
    """Return the key that begins with a known prefix: characters of its set, in its number."""
    before = at(data, place - 1)
    if before in IDENTIFIER or before == ord("-"):
        return None
    charset = CHARSETS[literal.argument]
    start = end = place + len(literal.text)
    while at(data, end) in charset and end - start <= literal.most:
        end += 1
    while end > start and at(data, end - 1) == ord("."):
        end -= 1
    if not literal.fewest <= end - start <= literal.most or at(data, end) in IDENTIFIER:
        return None
    if sum(character in DIGITS for character in data[start:end]) < literal.digits:
        return None
    return Span(Code.KEY, place, end)


_WEB_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{7,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]+){1,3}")


def _web_token(data: bytes, place: int) -> Span | None:
    """Return the JSON Web Token (RFC 7519) at `place`: base64 of a header that begins with {", and parts."""
    match = None if at(data, place - 1) in IDENTIFIER else _WEB_TOKEN.match(data, place)
    return Span(Code.KEY, place, match.end()) if match else None


_BEGIN = re.compile(rb"BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_BODY = re.compile(rb"[A-Za-z0-9+/=\s\\]*")


def _private_key(data: bytes, place: int) -> Span | None:
    """Return the PEM block (RFC 7468) whose BEGIN is at `place`; where its end is missing, as far as base64 goes."""
    begin = _BEGIN.match(data, place) if data[max(0, place - 5) : place] == b"-----" else None
    if begin is None:
        return None
    body = begin.end()
    last = data.find(b"-----END", body, body + _LONGEST_BLOCK)
    if last >= 0:
        close = data.find(b"-----", last + 8, last + 72)
        end = close + 5 if close >= 0 else last
    else:
        run = _BODY.match(data, body, body + _LONGEST_BLOCK)
        last = end = run.end() if run else body
    if sum(character in ALNUM for character in data[body:last]) < 40:
        return None
    return Span(Code.KEY, place - 5, end)


class _Assigned(NamedTuple):
    """Where a value begins and how it was assigned: `tight` is = without spaces, `sure` is Chinese, XML or a quote."""

    place: int
    tight: bool
    sure: bool


_SPACES = re.compile(rb"[ \t]{0,8}")
_CLOSERS = re.compile(rb"[\"'`*\])\\]{0,4}")
_SIGN = re.compile(
    rb":=|=>|==?|:(?!:)|(?P<wide>\xef\xbc\x9a|\xef\xbc\x9d|\xe6\x98\xaf|\xe4\xb8\xba)"
    rb"|(?P<word>(?:is|ist|est|was|lautet)(?: ?:)? )"
)


def _assigned(data: bytes, word: int, place: int) -> _Assigned | None:
    """Return where the value begins that is assigned to the name which began at `word` and ended at `place`."""
    digits = 0
    while digits < 3 and at(data, place) in DIGITS:
        place, digits = place + 1, digits + 1
    if at(data, place) in IDENTIFIER or (at(data, place) == ord("-") and at(data, place + 1) in ALNUM):
        return None
    if at(data, place) == ord(">") and at(data, word - 1) == ord("<"):
        return _Assigned(place + 1, False, True)
    closed = _end(_CLOSERS, data, place)
    spaced = _end(_SPACES, data, closed)
    sign = _SIGN.match(data, spaced)
    if sign is None or (sign["word"] and spaced == place):
        option = data[max(0, word - 2) : word] == b"--" and spaced > place
        quoted = spaced > place and closed == place and at(data, spaced) in b"\"'"
        return _Assigned(spaced, False, quoted) if option or quoted else None
    after = sign.end()
    value = _end(_SPACES, data, after)
    if data[value : value + 2] == b"**":
        value = _end(_SPACES, data, value + 2)
    return _Assigned(value, sign[0] == b"=" and spaced == closed and value == after, bool(sign["wide"]))


def _end(pattern: re.Pattern[bytes], data: bytes, place: int) -> int:
    match = pattern.match(data, place)
    return match.end() if match else place


class _Value(NamedTuple):
    start: int
    end: int
    quoted: bool


_STOPS = frozenset(b"\"'`,;<>|\\") | frozenset(range(0x21)) | frozenset(range(0x7F, 0x100))
_OPENING = {ord(")"): ord("("), ord("]"): ord("["), ord("}"): ord("{")}


def _value(data: bytes, place: int) -> _Value | None:
    """Return the value that begins at `place`: what is between quotes, or a run without spaces; never a line end."""
    first = at(data, place)
    escaped = first == ord("\\") and at(data, place + 1) in b"\"'"
    if first in b"\"'`" or escaped or data[place : place + 3] == b"\xe2\x80\x9c":
        opening = 2 if escaped else 1 if first < 0x80 else 3
        closing = data[place : place + opening] if first < 0x80 else b"\xe2\x80\x9d"
        start = place + opening
        end = data.find(closing, start, start + _LONGEST_VALUE + opening)
        if end < 0 or any(character <= 0x20 for character in data[start:end]):
            return None
        return _Value(start, end, True)
    end = place
    while at(data, end) not in _STOPS and end - place <= _LONGEST_VALUE:
        if at(data, end) == ord("&") and _next_parameter(data, end + 1):
            break
        end += 1
    while end > place:
        last = at(data, end - 1)
        unbalanced = last in _OPENING and _OPENING[last] not in data[place : end - 1]
        if last not in b".:" and not unbalanced:
            break
        end -= 1
    return _Value(place, end, False)


def _next_parameter(data: bytes, place: int) -> bool:
    start = place
    while at(data, place) in IDENTIFIER and place - start <= 32:
        place += 1
    return place > start and at(data, place) == ord("=")


PLACEHOLDERS = words_of(
    "none null true false string required optional password passwd passphrase secret token username example changeme "
    "yourpassword your-password your-secret sha1 sha224 sha256 sha384 sha512 sha-256 sha-512 md5 utf8 utf-8 utf16 "
    "base64 bcrypt argon2 argon2i argon2id pbkdf2 scram-sha-256 int32 int64 uint32 uint64 varchar2 latin1 rot13 rc4 "
    "des3 3des aes128 aes256 aes-128 aes-256 pkcs12 pkcs5 pkcs8 crypt16 win32 oauth2 http2 k8s i18n l10n"
)
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*(?:[.-][A-Za-z_][A-Za-z0-9_]*)*")
_VARIABLE = re.compile(rb"\$[A-Z_][A-Z0-9_]*")
_CALL = re.compile(rb"[A-Za-z_][A-Za-z_.]{2,}[(\[][A-Za-z0-9_.=()\[\]]*")
_WORD_WITH_SIGNS = re.compile(rb"[^A-Za-z0-9]{0,2}[A-Za-z_.-]*[^A-Za-z0-9]{0,2}")
_STARTS = (b"${", b"$(", b"%(", b"{{", b"{%", b"&lt;", b"/", b"./", b"~/")
_SYMBOLS = frozenset(b"!@#$%^&?~+*")


def _password(data: bytes, word: int, place: int) -> Span | None:
    """Return the password assigned to a word such as `password`. Prose about passwords and code without one stay."""
    assigned = _assigned(data, word, place)
    found = _value(data, assigned.place) if assigned else None
    if assigned is None or found is None:
        return None
    value = data[found.start : found.end]
    if not 5 <= len(value) <= _LONGEST_VALUE or len(set(value)) == 1 or value.lower() in PLACEHOLDERS:
        return None
    if value.startswith(_STARTS) or b"://" in value or (value[0], value[-1]) in _PAIRS:
        return None
    if (not found.quoted and _CALL.fullmatch(value)) or _WORD_WITH_SIGNS.fullmatch(value):
        return None
    if _VARIABLE.fullmatch(value) or value[:2] == b"__" == value[-2:]:
        return None
    digits = sum(character in DIGITS for character in value)
    if digits == 0:
        good = any(character in _SYMBOLS for character in value) and any(character in LETTERS for character in value)
    elif digits == len(value):
        good = digits >= 6
    else:
        # `password = key2` names a variable; `PASSWORD=key2`, `password = "key2"` and `password = Key2` give one.
        plain = digits == 1 and _NAME.fullmatch(value) and not any(character in UPPER for character in value)
        good = found.quoted or assigned.tight or assigned.sure or not plain
    return Span(Code.PASSWORD, found.start, found.end) if good else None


# Signs around the name of a variable: {password}, [password], %PASSWORD%, __PASSWORD__.
_PAIRS = frozenset(tuple(pair) for pair in (b"{}", b"[]", b"%%"))
_SCHEME = re.compile(rb"(?:[Bb]earer|[Tt]oken|(?P<basic>[Bb]asic)) ")


def _secret(data: bytes, word: int, place: int) -> Span | None:
    """Return the long random value assigned to a word such as `api_key`, or after `Authorization: Basic`."""
    assigned = _assigned(data, word, place)
    if assigned is None:
        return None
    start = assigned.place
    if at(data, start) in b"\"'`":
        start += 1
    elif at(data, start) == ord("\\") and at(data, start + 1) in b"\"'":
        start += 2
    scheme = _SCHEME.match(data, start)
    return _random_value(data, scheme.end() if scheme else start, 8 if scheme and scheme["basic"] else 16)


_RANDOM = re.compile(rb"[A-Za-z0-9+/=_.~-]{0,513}")


def _random_value(data: bytes, place: int, fewest: int) -> Span | None:
    """Return the run of base64 or hexadecimal at `place` if it looks drawn, not written.

    A quarter of it is digits, or there is one and, in at least a third of the places, capital, small letter and digit
    take turns. Words joined by signs or in camelCase do neither.
    """
    end = _end(_RANDOM, data, place)
    while end > place and at(data, end - 1) in b".-/~":
        end -= 1
    value = data[place:end]
    if not fewest <= len(value) <= 512 or at(data, end) in b"([" or at(data, end) in IDENTIFIER:
        return None
    digits = sum(character in DIGITS for character in value)
    letters = sum(character in LETTERS for character in value)
    if letters < 2 or len(set(value)) < min(8, fewest - 2):
        return None
    turns = sum(_case(one) != _case(other) for one, other in pairwise(value))
    drawn = 4 * digits >= len(value) or ((digits > 0 or fewest < 16) and 3 * turns >= len(value))
    return Span(Code.KEY, place, end) if drawn else None


def _case(character: int) -> int:
    return 0 if character in LOWER else 1 if character in UPPER else 2 if character in DIGITS else 3


_CARD_NUMBER = re.compile(rb"(?<![0-9A-Za-z_])[A-Z][A-Z0-9]{7,9}(?![0-9A-Za-z_])")
_PASSPORT = re.compile(rb"[A-Z]{1,2}[0-9]{7,8}")
_DOCUMENT_WINDOW = 32


def _document(data: bytes, place: int) -> Span | None:
    """Return the first number of a passport or German identity card within 32 bytes after a word for one."""
    line = data.find(b"\n", place, place + _DOCUMENT_WINDOW)
    limit = line if line >= 0 else place + _DOCUMENT_WINDOW
    match = _CARD_NUMBER.search(data, place, place + _DOCUMENT_WINDOW + 12)
    if match is None or match.start() >= limit:
        return None
    text = match[0].decode()
    if _PASSPORT.fullmatch(match[0]):
        return Span(Code.PASSPORT, *match.span())
    unchecked = (
        len(text) == 9
        and all(character in identifiers.ID_CARD_LETTERS or character.isdigit() for character in text)
        and sum(character.isdigit() for character in text) >= 3
    )
    return Span(Code.DE_CARD, *match.span()) if unchecked or identifiers.de_id_card(text) else None
