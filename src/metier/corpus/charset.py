"""From bytes to text, or the reason why not. No guess is made that a check does not support."""

from __future__ import annotations

import codecs
import re
import unicodedata

from metier.corpus.charset_guess import guess_legacy, reads_as_text

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_HEAD = 8192
_PRINTABLE_CONTROLS = bytes((9, 10, 12, 13, 27))
_CONTROLS = bytes(code for code in range(32) if code not in _PRINTABLE_CONTROLS)


class Undecodable(Exception):  # noqa: N818 - it is a finding about a file, not a fault
    """These bytes are no text; the message is the reason, as it stands in a ledger, `detail` is about this file."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


def decode(data: bytes, declared: str | None = None) -> str:
    """Return `data` as text: by byte-order mark, as UTF-8, by what is declared, or by a checked guess.

    Args:
        declared: the charset that a server or a mail claims; what the text itself declares is looked for too.

    Raises:
        Undecodable: the bytes are binary, or text in no charset that could be established.
    """
    if not data:
        raise Undecodable("empty file")
    name = charset_of(data, declared)
    try:
        return data.decode(name)
    except UnicodeDecodeError as error:
        raise Undecodable(f"invalid {_shown(name)}", f"byte {error.start}") from None


def charset_of(data: bytes, declared: str | None = None, whole: bool = True) -> str:
    """Return the name of the charset that `data` is in. With it the whole decodes, save where a mark or UTF-8 lies.

    Args:
        whole: whether `data` is all there is; else it is a beginning, cut at the end of a line.

    Raises:
        Undecodable: no charset could be established, and why.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _by_mark(data, name)
    if looks_binary(data):
        wide = _wide_without_mark(data[: _HEAD * 2])
        if wide is None:
            raise Undecodable("binary file")
        return wide
    if _is_utf8(data):
        # ISO 2022 writes Japanese in bytes of ASCII, between escapes.
        return "iso2022_jp" if b"\x1b$" in data[:_HEAD] and _decodes(data, "iso2022_jp") else "utf-8"
    named = _known(declared) or _declared_in(data)
    if named is not None and named not in ("utf-8", "ascii"):
        if _decodes(data, named):
            return named
        raise Undecodable("not in the charset it declares", named)
    guessed = None if named == "utf-8" else guess_legacy(data) or _wide_without_mark(data[: _HEAD * 2])
    if guessed is None or (whole and not _decodes(data, guessed)):
        raise Undecodable("invalid UTF-8")
    return guessed


def looks_binary(data: bytes) -> bool:
    """Say whether bytes without a byte-order mark are no text of single bytes: NULs, or many control characters."""
    head = data[:_HEAD]
    if b"\0" in head:
        return True
    return len(head) - len(head.translate(None, _CONTROLS)) > 0.02 * len(head)


def _by_mark(data: bytes, name: str) -> str:
    # Any even number of bytes after FF FE decodes as UTF-16; text has assigned characters and spaces.
    head = data[: _HEAD * 2].decode(name, "replace")
    if name != "utf-8-sig" and not looks_written(head):
        raise Undecodable("binary file")
    return name


def looks_written(text: str) -> bool:
    """Say whether characters look like a text: assigned ones, few controls, now and then a space or a stop."""
    head = text[:4096].rstrip("\ufffd")
    odd = sum(unicodedata.category(c) in ("Cn", "Co", "Cs") or (c < " " and c not in "\t\n\r\f") for c in head)
    odd += head.count("\ufffd")
    return (
        bool(head.strip())
        and odd <= 0.02 * len(head)
        and (len(head) <= 200 or re.search(r"[\s。,，.]", head) is not None)
    )


def _wide_without_mark(head: bytes) -> str | None:
    """Return UTF-16 of one byte order if bytes without a mark are that for certain, else None."""
    head = head[: len(head) // 2 * 2]
    if len(head) < 8:
        return None
    low, high = head[0::2].count(0) / (len(head) / 2), head[1::2].count(0) / (len(head) / 2)
    for name, zeros, others in (("utf-16-le", high, low), ("utf-16-be", low, high)):
        # Western text has a zero in every character's high byte; in East Asian text the characters themselves decide.
        text = head.decode(name, "replace")
        if (zeros > 0.4 and others < 0.02 and looks_written(text)) or (
            others < 0.1 and len(text) >= 12 and reads_as_text(text)
        ):
            return name
    return None


def _is_utf8(data: bytes) -> bool:
    return data.isascii() or _decodes(data, "utf-8")


def _decodes(data: bytes, name: str) -> bool:
    try:
        data.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _declared_in(data: bytes) -> str | None:
    found = _DECLARED.search(data[:2048])
    return _known(found.group(1).decode("ascii")) if found is not None else None


def _known(name: str | None) -> str | None:
    """Return the codec for a declared charset, read as browsers do, or None."""
    if not name:
        return None
    try:
        known = codecs.lookup(name.strip()).name
        "".encode(known)
    except (LookupError, ValueError, TypeError):  # "hex" and its kin are codecs too, and no charsets
        return None
    # GB2312 pages use GBK's characters, Latin-1 pages those of Windows.
    browsers = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "shift_jis": "cp932", "euc_kr": "cp949"}
    return browsers.get(known, known)


def _shown(codec: str) -> str:
    return codec.removesuffix("-sig").removesuffix("-le").removesuffix("-be").upper().replace("_", "-")
