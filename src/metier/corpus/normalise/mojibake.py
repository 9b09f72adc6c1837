"""Undo one kind of wrong decoding, where it can be proved: UTF-8 that was read as Windows-1252 ("Ã©" for "é").

The proof is that the bytes come out again: a line of such text, written in Windows-1252, is valid UTF-8. A line that
holds a single rightly decoded accent is not. What passes by chance (a capital A umlaut before a closing quote is
"Ä«", which are the bytes of "ī") is left alone unless some other place of the text leaves no doubt.
"""

from __future__ import annotations

import re

# Windows-1252 as browsers have it: the five bytes it leaves free are the control characters of Latin-1.
_TO_BYTE = {bytes([code]).decode("cp1252", "ignore") or chr(code): code for code in range(0x80, 0x100)}
_FOLLOWERS = "".join(character for character, code in _TO_BYTE.items() if code < 0xC0)
_ENDS = "«»‹›“”‘’„‚–—…\u00a0\u00ad"  # what may well stand behind a word
_MARKS = "™®©°ªº¹²³·•†‡ŠšŒœŽžŸƒ"  # and, if less often, these
_PAIR = re.compile(f"[\u00c2-\u00f4][{re.escape(_FOLLOWERS)}]")


def _class(without: str) -> str:
    return f"[{re.escape(''.join(character for character in _FOLLOWERS if character not in without))}]"


_DOUBTLESS = re.compile(
    # "é" and "°": the letters Ã and Â end hardly any word. "ő" and "д": two bytes. "…" and "中": three. "😀": four.
    f"[ÃÂ]{_class(_ENDS)}|[\u00c4-\u00df]{_class(_ENDS + _MARKS)}"
    f"|[\u00e0-\u00ef](?:{_class(_ENDS)}{_class('')}|{_class('')}{_class(_ENDS)})|â€{_class('')}|ðŸ{_class('')}"
)
_TIMES = 3  # text goes wrong more than once where two programs in a row do


def repaired(text: str) -> str:
    """Return the text with its provably damaged lines repaired; the same object if there are none."""
    for _ in range(_TIMES):
        if text.isascii() or _PAIR.search(text) is None or _DOUBTLESS.search(text) is None:
            return text
        lines = text.split("\n")
        fixed = [_repaired_line(line) for line in lines]
        if fixed == lines:
            return text
        text = "\n".join(fixed)
    return text


def _repaired_line(line: str) -> str:
    if line.isascii() or _PAIR.search(line) is None:
        return line
    codes = bytearray()
    for character in line:
        code = ord(character)
        if code >= 0x80:
            known = _TO_BYTE.get(character)
            if known is None:
                return line  # a character that Windows-1252 has not: this line was decoded by something better
            code = known
        codes.append(code)
    try:
        return codes.decode("utf-8")
    except UnicodeDecodeError:
        return line
