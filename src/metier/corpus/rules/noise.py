"""Text that was damaged on its way, or is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from metier.corpus.rules.rule_set import Objection, RuleSet
from metier.corpus.rules.seen import Seen

_FEWEST_TOKENS = 20
_FEWEST_WORDS = 50


class Noise(RuleSet):
    """Leave out damaged text and gibberish: wrong encodings, control characters, symbols, keys and hashes.

    Damage is looked for in all documents, the rest in documents that are written by people for people. The defaults
    were tried on Debian's documentation in English, German, French and Chinese.
    """

    rule: ClassVar[str] = "noise"

    max_damaged: float | None = Field(
        0.005, gt=0, le=1, description="Places for each character that were decoded wrongly, as in `cafÃ©`."
    )
    max_controls: float | None = Field(0.01, gt=0, le=1, description="Share of control characters.")
    max_symbols: float | None = Field(
        0.2, gt=0, le=1, description="Share of symbols, and of words of more than 60 characters."
    )
    max_strange_words: float | None = Field(
        0.4, gt=0, le=1, description="Of longer Latin words: those without a vowel, or with letters and digits mixed."
    )
    max_single_letters: float | None = Field(
        0.35, gt=0, le=1, description="Share of words of one letter: text whose letters stand apart."
    )
    max_stretched: float | None = Field(
        0.1, gt=0, le=1, description="Share of letters and digits repeated five times or more."
    )

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield the objections: damage first, then gibberish."""
        m = seen.measures
        written = seen.written & (m.tokens >= _FEWEST_TOKENS)
        if self.max_damaged is not None:
            yield Objection("noise: encoding damage", m.damaged > self.max_damaged * m.chars)
        if self.max_controls is not None:
            yield Objection("noise: control characters", m.controls > self.max_controls * m.chars)
        if self.max_symbols is not None:
            yield Objection("noise: symbols", written & (m.odd + m.endless > self.max_symbols * m.prose_chars))
        if self.max_strange_words is not None:
            strange = (m.latin >= _FEWEST_TOKENS) & (m.strange > self.max_strange_words * m.latin)
            yield Objection("noise: no words", written & strange)
        if self.max_single_letters is not None:
            words = m.words - m.cjk
            apart = (words >= _FEWEST_WORDS) & (m.single_letters > self.max_single_letters * words)
            yield Objection("noise: letters apart", written & seen.spaced & apart)
        if self.max_stretched is not None:
            yield Objection("noise: stretched words", written & (m.stretched > self.max_stretched * m.prose_chars))
