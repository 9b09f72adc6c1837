"""Which languages are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from metier.corpus.rules.rule_set import Objection, RuleSet
from metier.corpus.rules.seen import Seen


class Languages(RuleSet):
    """Leave out documents in other languages than those wanted, by their `language` column.

    The step `identify-language` fills that column in. Source code, tables and logs are not judged.
    """

    rule: ClassVar[str] = "language"

    wanted: tuple[str, ...] = Field((), description="ISO 639 codes, as [en, zh]; none keeps all.")
    keep_unknown: bool = Field(True, description="Whether documents of no stated language stay.")

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield an objection for each language that is not wanted."""
        import numpy as np

        if not self.wanted:
            return
        wanted = {code.partition("-")[0].lower() for code in self.wanted}
        languages = np.array([language or "" for language in seen.languages], np.str_)
        for language in sorted({*seen.languages} - {None} - wanted, key=str):
            yield Objection(f"language: {language}", seen.written & (languages == language))
        if not self.keep_unknown:
            yield Objection("language: unknown", seen.written & (languages == ""))
