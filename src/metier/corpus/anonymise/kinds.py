"""The kinds of personal and secret data, with the names they have in recipes, tags and reports."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple, get_args

Kind = Literal[
    "name", "email", "phone", "address", "ip", "mac", "id", "iban", "card", "password", "key", "credentials", "word"
]
"""What a recipe names. `id` is every national number, `word` what an own list or pattern finds."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Language = Literal["en", "zh", "de", "fr", "es", "it"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


Action = Literal["mask", "pseudonym", "drop"]
Column = Literal["text", "title", "source"]


class Code(IntEnum):
    """The finest kinds, by the number that the scanner gives them. Numbers are part of the kernel: only append."""

    EMAIL = 0
    PHONE = 1
    IP = 2
    MAC = 3
    CARD = 4
    IBAN = 5
    US_SSN = 6
    DE_TAX = 7
    DE_CARD = 8
    FR_NIR = 9
    ES_DNI = 10
    ES_NIE = 11
    IT_CF = 12
    UK_NINO = 13
    CN_RESIDENT = 14
    PASSPORT = 15
    PASSWORD = 16
    KEY = 17
    CREDENTIALS = 18
    NAME = 19
    ADDRESS = 20
    WORD = 21


class Sort(NamedTuple):
    """What is known of a code: its kind in recipes, its name in reports, its tag, and the language it belongs to.

    Where two spans overlap, the one of higher rank stays: a checksum is better evidence than a shape.
    """

    kind: Kind
    label: str
    tag: str
    rank: int
    language: Language | None = None


SORTS: dict[Code, Sort] = {
    Code.EMAIL: Sort("email", "email", "[EMAIL]", 4),
    Code.PHONE: Sort("phone", "phone", "[PHONE]", 1),
    Code.IP: Sort("ip", "ip", "[IP]", 3),
    Code.MAC: Sort("mac", "mac", "[MAC]", 3),
    Code.CARD: Sort("card", "card", "[CARD]", 4),
    Code.IBAN: Sort("iban", "iban", "[IBAN]", 5),
    Code.US_SSN: Sort("id", "id us ssn", "[ID]", 3, "en"),
    Code.DE_TAX: Sort("id", "id de steuer-id", "[ID]", 3, "de"),
    Code.DE_CARD: Sort("id", "id de personalausweis", "[ID]", 3, "de"),
    Code.FR_NIR: Sort("id", "id fr nir", "[ID]", 4, "fr"),
    Code.ES_DNI: Sort("id", "id es dni", "[ID]", 3, "es"),
    Code.ES_NIE: Sort("id", "id es nie", "[ID]", 3, "es"),
    Code.IT_CF: Sort("id", "id it codice fiscale", "[ID]", 4, "it"),
    Code.UK_NINO: Sort("id", "id uk nino", "[ID]", 3, "en"),
    Code.CN_RESIDENT: Sort("id", "id cn resident", "[ID]", 4, "zh"),
    Code.PASSPORT: Sort("id", "id passport", "[ID]", 2),
    Code.PASSWORD: Sort("password", "password", "[PASSWORD]", 5),
    Code.KEY: Sort("key", "key", "[KEY]", 6),
    Code.CREDENTIALS: Sort("credentials", "credentials", "[CREDENTIALS]", 7),
    Code.NAME: Sort("name", "name", "[NAME]", 0),
    Code.ADDRESS: Sort("address", "address", "[ADDRESS]", 0),
    Code.WORD: Sort("word", "word", "[WORD]", 8),
}

STRUCTURED = frozenset(code for code in Code if code < Code.NAME)
"""What the scanner finds by itself; the rest is found around the cues it reports."""


class Span(NamedTuple):
    """Something found: bytes `start` to `end` of a text's UTF-8."""

    code: Code
    start: int
    end: int


def codes_of(kinds: tuple[Kind, ...], languages: tuple[Language, ...]) -> frozenset[Code]:
    """Return the codes that belong to some kinds, without the national numbers of other languages."""
    return frozenset(
        code
        for code, sort in SORTS.items()
        if sort.kind in kinds and (sort.language is None or sort.language in languages)
    )


def without_overlaps(spans: list[Span]) -> list[Span]:
    """Return spans in order, none touching another's bytes.

    From the left: of two that overlap, the one of higher rank stays, of equal ranks the longer, then the first.
    """
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end, -SORTS[span.code].rank, span.code)):
        if kept and span.start < kept[-1].end:
            last = kept[-1]
            rank, other = SORTS[span.code].rank, SORTS[last.code].rank
            if rank > other or (rank == other and span.end - span.start > last.end - last.start):
                kept[-1] = span
        else:
            kept.append(span)
    return kept
