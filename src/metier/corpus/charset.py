"""From bytes to text, or the reason why not. No guess is made that a check does not support."""

from __future__ import annotations

import codecs
import re
import unicodedata
from itertools import pairwise

_MAGIC = (
    b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ",
    b"\x7fELF", b"SQLite format 3", b"MZ\x90", b"\xd0\xcf\x11\xe0", b"RIFF", b"OggS", b"\xca\xfe\xba\xbe", b"wOF",
)  # fmt: skip
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_WESTERN_LETTER_CONTEXT = re.compile(r"[A-Za-z]|^\s.\s$")


class Undecodable(Exception):  # noqa: N818 - it is a finding about a file, not a fault
    """These bytes are no text; the message is the reason, as it stands in a ledger."""


def decode(data: bytes) -> str:
    """Return `data` as text, by byte-order mark, as UTF-8, by its own declaration, or by a checked guess.

    Raises:
        Undecodable: the bytes are binary, or text in no charset that could be established.
    """
    if not data:
        raise Undecodable("empty file")
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _by_mark(data, name)
    if looks_binary(data):
        raise Undecodable("binary file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    declared = _declared_charset(data)
    if declared is not None:
        if declared == "utf-8":
            raise Undecodable("invalid UTF-8")
        try:
            return data.decode(declared)
        except UnicodeDecodeError:
            raise Undecodable("not in the charset it declares") from None
    guessed = _guess(data)
    if guessed is None:
        raise Undecodable("invalid UTF-8")
    return guessed


def looks_binary(data: bytes) -> bool:
    """Say whether bytes without a byte-order mark are no text at all: known magic, NULs, control characters."""
    head = data[:8192]
    if head.startswith(_MAGIC) or b"\0" in head:
        return True
    controls = sum(head.count(bytes([code])) for code in range(32) if code not in (9, 10, 12, 13, 27))
    return controls > 0.02 * len(head)


def _by_mark(data: bytes, name: str) -> str:
    try:
        text = data.decode(name)
    except UnicodeDecodeError:
        raise Undecodable("invalid UTF-8" if name == "utf-8-sig" else "binary file") from None
    # Any even number of bytes after FF FE decodes as UTF-16; text has assigned characters and spaces.
    head = text[:4096]
    odd = sum(unicodedata.category(c) in ("Cn", "Co", "Cs") or (c < " " and c not in "\t\n\r\f") for c in head)
    if not head.strip() or odd > 0.02 * len(head) or (len(head) > 200 and not re.search(r"[\s。,，.]", head)):
        raise Undecodable("binary file")
    return text


def _declared_charset(data: bytes) -> str | None:
    found = _DECLARED.search(data[:2048])
    if found is None:
        return None
    try:
        name = codecs.lookup(found.group(1).decode("ascii")).name
    except LookupError:
        return None
    # As browsers do: GB2312 pages use GBK's characters, Latin-1 pages those of Windows.
    return {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252"}.get(name, name)


def _guess(data: bytes) -> str | None:
    """Try the two charsets most old files are in, and believe one only if what it gives looks like its language."""
    try:
        text = data.decode("gb18030")
        foreign = [c for c in text if c > "\x7f"]
        # GB 2312's first level, the 3,755 characters of everyday Chinese, is ordered by sound: bytes B0 to D7.
        everyday = sum(0xB0 <= c.encode("gb18030")[0] <= 0xD7 or c in "，。、；：？！“”（）《》" for c in foreign)
        if len(foreign) >= 4 and everyday >= 0.9 * len(foreign):
            return text
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    foreign_at = [at for at, c in enumerate(text) if c > "\x7f"]
    at_home = sum(
        (text[at].isalpha() and _WESTERN_LETTER_CONTEXT.search(text[max(0, at - 1) : at + 2]) is not None)
        or text[at] in "‘’“”–—…•€£§©®°«»\xa0½¼×"
        for at in foreign_at
    )
    in_a_row = any(after - before == 1 for before, after in pairwise(foreign_at))
    rare = len(foreign_at) < 0.2 * len(text)
    return text if rare and not in_a_row and at_home >= 0.95 * len(foreign_at) else None
