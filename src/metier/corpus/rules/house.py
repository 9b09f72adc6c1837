"""The rules of the house: what in manuals and handbooks is no prose worth learning.

The shares are of characters or of lines; their defaults were set by reading what they drop and keep of the 766 pages of
the SQLite manual.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.corpus.rules.rule_set import Objection, RuleSet
from metier.corpus.rules.seen import Seen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOG_TITLE = re.compile(
    r"\bchange\s?logs?\b|^changes$|\brelease (?:notes?|logs?|history|summary)\b"
    r"|\b(?:release|version) v?\d+(?:\.\d+)+ (?:on|of|\()"
    r"|\bwhat(?:'|’)?s new\b|^(?:recent |old(?:er)? )?news\b|\b(?:news|announcements?)$"
    r"|\bchronology\b|history of .*releases"
    r"|\brelease history\b|更新日志|发布说明|变更记录",
    re.IGNORECASE,
)
_LICENCE_TITLE = re.compile(
    r"^(?:.{0,30}\b)?(?:licen[cs]e|copying|terms of (?:use|service)|privacy policy)\b|\bcopyright\b", re.I
)
_FEWEST_PARTS = 30
_FEWEST_ENTRIES = 5
_FEWEST_WORDS = 20
_MOST_STRANGE = 0.4


class House(RuleSet):
    """Leave out indexes, change logs, symbol tables, licences, damaged text and what is too short to teach anything.

    Source code, tables and logs are not judged.
    """

    rule: ClassVar[str] = "house"

    min_prose_chars: int | None = Field(120, ge=1, description="Characters of sentences and code needed.")
    max_fragment_share: float | None = Field(
        0.6, gt=0, le=1, description="Lines and items without a sentence: indexes."
    )
    max_table_share: float | None = Field(0.7, gt=0, le=1, description="Table cells without a sentence: symbol tables.")
    max_code_share: float | None = Field(
        0.3, gt=0, le=1, description="Of paragraphs: those that are a mere code number."
    )
    max_log_entry_share: float | None = Field(
        0.3,
        gt=0,
        le=1,
        description="Of headings and items: those that are a version or a date. Also looks at the title.",
    )
    min_legal_terms: float | None = Field(8.0, gt=0, description="Legal terms in 1000 words that make a licence page.")
    max_damage_share: float | None = Field(0.005, gt=0, le=1, description="Wrongly decoded characters.")
    max_odd_share: float = Field(0.2, gt=0, le=1, description="Symbols and endless words: gibberish.")

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield the objections: what a document is called and is about first, what it is made of then."""
        for objection in (*self._kinds(seen), *self._shapes(seen)):
            yield objection._replace(holds=objection.holds & seen.written)

    def _kinds(self, seen: Seen) -> Iterator[Objection]:
        import numpy as np

        s = seen.shape
        if self.max_log_entry_share is not None:
            titled = _matching(_LOG_TITLE, seen.titles)
            dated = (s.entries >= _FEWEST_ENTRIES) & (s.dated > self.max_log_entry_share * s.entries)
            yield Objection("change log, release notes or news", titled | dated)
        if self.min_legal_terms is not None:
            # A title that says so is enough with some legal terms; without it there must be very many.
            wanted = self.min_legal_terms * np.where(_matching(_LICENCE_TITLE, seen.titles), 0.4, 2.0)
            yield Objection("licence or legal page", 1000 * s.legal_terms / np.maximum(s.words, 1) >= wanted)
        if self.max_damage_share is not None:
            yield Objection("encoding damage", s.damaged > self.max_damage_share * np.maximum(s.chars, 1))
            strange = (s.latin >= _FEWEST_WORDS) & (s.strange > _MOST_STRANGE * s.latin)
            gibberish = (s.odd > self.max_odd_share * s.part_chars) | strange
            yield Objection("gibberish", (s.part_words >= _FEWEST_WORDS) & gibberish)
        if self.max_code_share is not None:
            codes = (s.parts >= _FEWEST_PARTS) & (s.codes > self.max_code_share * s.parts)
            yield Objection("list of codes", codes)

    def _shapes(self, seen: Seen) -> Iterator[Objection]:
        import numpy as np

        s = seen.shape
        total = s.prose + s.code + s.tables + s.fragments
        if self.min_prose_chars is not None:
            yield Objection("too short", total < self.min_prose_chars)
        if self.max_table_share is not None:
            yield Objection("tables of symbols", s.tables > self.max_table_share * np.maximum(total, 1))
        if self.max_fragment_share is not None:
            yield Objection("index or navigation", s.fragments > self.max_fragment_share * np.maximum(total, 1))
        if self.min_prose_chars is not None:
            yield Objection("too short", s.prose + s.code < self.min_prose_chars)


def _matching(pattern: re.Pattern[str], titles: list[str]) -> NDArray[np.bool_]:
    import numpy as np

    return np.fromiter((pattern.search(title.strip()) is not None for title in titles), np.bool_, len(titles))
