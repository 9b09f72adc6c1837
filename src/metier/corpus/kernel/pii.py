"""The scanner for personal and secret data on columns of texts: compiled where it can be, else in Python.

Both give the same rows. `metier.corpus.anonymise.structured` says what is found; the compiled scanner is pii.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from metier.corpus.anonymise import assigned, characters, houses, identifiers, network, phones
from metier.corpus.anonymise.kinds import Code
from metier.corpus.anonymise.literals import Literal
from metier.corpus.anonymise.structured import Literals, scan
from metier.corpus.kernel import Texts, compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The lists of words that rules look into, in the order of the enumeration in pii_text.h.
_WORD_LISTS: tuple[Iterable[bytes], ...] = (
    characters.PHONE_CUES,
    characters.SURE_PHONE_CUES,
    characters.SSN_CUES,
    characters.THING_CUES,
    characters.DNI_CUES,
    characters.NINO_CUES,
    characters.IP_CUES,
    characters.MAC_CUES,
    network.NO_TLD,
    network.SHARED_ACCOUNTS,
    network.NO_PASSWORD,
    network.NO_ADDRESS_WORDS,
    network.NO_ADDRESS_SIGNS,
    assigned.PLACEHOLDERS,
    phones.UNITS,
    houses.STREET_ENDINGS,
    houses.FRENCH_STREETS,
    houses.CHINESE_STREETS,
    houses.CHINESE_HOUSES,
    [country.encode() + bytes([size]) for country, size in identifiers.IBAN_LENGTHS.items()],
    [province.encode() for province in sorted(identifiers.CN_PROVINCES)],
)
_SLOTS = 65_536
_LITERAL = struct.Struct("<IIiHHBB2x")


class Found(NamedTuple):
    """What is in a column: rows of (text, start, end, code) and, for words to report, (text, start, end, argument).

    `start` and `end` are bytes of the text's UTF-8. Spans are in order and none overlaps another of its text.
    """

    spans: NDArray[np.int64]
    reports: NDArray[np.int64]


class Scanner:
    """Look for some kinds of data, and for words to report.

    Args:
        literals: words to look for, of at least three bytes.
        codes: what to look for; other spans neither are returned nor stand in another's way.
    """

    def __init__(self, literals: Iterable[Literal], codes: frozenset[Code]) -> None:
        self._literals = Literals(literals)
        self._codes = codes
        self._compiled = compiled("_pii")
        if self._compiled is not None:
            self._table = _table(self._literals, self._compiled)
            self._words = _words()
            self._mask = sum(1 << code for code in codes)

    def __call__(self, texts: Texts) -> Found:
        """Return what is in the texts."""
        if self._compiled is not None:
            spans, reports = self._compiled.scan(texts.offsets, texts.data, self._table, self._words, self._mask)
            return Found(_rows(spans), _sorted(_rows(reports)))
        found: list[tuple[int, int, int, int]] = []
        words: list[tuple[int, int, int, int]] = []
        for number in range(len(texts)):
            data = bytes(texts.data[texts.offsets[number] : texts.offsets[number + 1]])
            spans, reports = scan(data, self._literals, self._codes)
            found += ((number, span.start, span.end, span.code) for span in spans)
            words += ((number, report.start, report.end, report.argument) for report in reports)
        return Found(_rows(found), _sorted(_rows(words)))


def _rows(rows: bytes | list[tuple[int, int, int, int]]) -> NDArray[np.int64]:
    import numpy as np

    flat = np.frombuffer(rows, np.int64) if isinstance(rows, bytes) else np.array(rows, np.int64)
    return flat.reshape(-1, 4)


def _sorted(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    import numpy as np

    return rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0]))]


def _table(literals: Literals, kernel: Any) -> bytes:
    """Return the words as pii_assigned.h reads them: bits of the slots, where each slot's words begin, words, bytes."""
    by_slot: list[tuple[int, Literal]] = sorted((kernel.slot(literal.text), literal) for literal in literals.all)
    bits, starts, words, data = bytearray(_SLOTS // 8), [0] * (_SLOTS + 1), bytearray(), bytearray()
    for slot, literal in by_slot:
        bits[slot // 8] |= 1 << slot % 8
        starts[slot + 1] += 1
        words += _LITERAL.pack(
            len(data),
            len(literal.text),
            literal.argument,
            literal.fewest,
            literal.most,
            literal.act,
            literal.digits,
        )
        data += literal.text
    for slot in range(_SLOTS):
        starts[slot + 1] += starts[slot]
    head = struct.pack("<II", len(by_slot), len(data))
    return head + bytes(bits) + struct.pack(f"<{_SLOTS + 1}I4x", *starts) + bytes(words) + bytes(data)


def _words() -> bytes:
    """Return the lists as pii_text.h reads them: a count, then for each word its size and its bytes."""
    out = bytearray()
    for words in _WORD_LISTS:
        listed = list(words)
        out += struct.pack("<H", len(listed))
        for word in listed:
            out += bytes([len(word)]) + word
    return bytes(out)
