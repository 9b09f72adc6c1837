"""The rules that FineWeb added to Gopher's and C4's (Penedo et al. 2024, arXiv:2406.17557, section 3.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from metier.corpus.rules.rule_set import Objection, RuleSet
from metier.corpus.rules.seen import Needs, Seen


class FineWeb(RuleSet):
    """FineWeb's rules: leave out lists, menus and pages put together from repeated lines.

    The thresholds are the paper's. The code that made the data set (datatrove's FineWebQualityFilter) has 0.01 in place
    of 0.1 for repeated lines, and leaves out pages with more than 0.3 lines for each word. Text wrapped to a width is
    judged by its unwrapped lines, a Chinese or Japanese character is as long as four letters, and headings are no
    lines.
    """

    rule: ClassVar[str] = "fineweb"

    min_ended_lines: float | None = Field(
        0.12, gt=0, le=1, description="Share of lines that end as a sentence does; so few or fewer are too few."
    )
    max_repeated_line_chars: float | None = Field(
        0.1, gt=0, le=1, description="Share of characters in lines that stood before; so many or more are too many."
    )
    max_short_lines: float | None = Field(
        0.67, gt=0, le=1, description="Share of short lines; so many or more are too many."
    )
    short_line_chars: int = Field(30, ge=1, description="Characters of a short line.")
    max_lines_per_word: float | None = Field(None, gt=0, description="Lines for each word.")

    def needs(self, needs: Needs) -> Needs:
        """Return `needs` with what this set calls a short line."""
        return needs._replace(lines=needs.lines._replace(short_chars=self.short_line_chars))

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield the objections in the order of the paper."""
        m = seen.measures
        lined = seen.prose & (m.lines > 0)
        if self.min_ended_lines is not None:
            few = m.ended_lines <= self.min_ended_lines * m.lines
            yield Objection("fineweb: lines without an end", seen.prose & few)
        if self.max_repeated_line_chars is not None:
            many = m.duplicate_line_chars >= self.max_repeated_line_chars * m.line_chars
            yield Objection("fineweb: repeated lines", lined & many)
        if self.max_short_lines is not None:
            yield Objection("fineweb: short lines", lined & (m.short_lines >= self.max_short_lines * m.lines))
        if self.max_lines_per_word is not None:
            half_words = 2 * (m.words - m.cjk) + m.cjk
            yield Objection("fineweb: a list", lined & (2 * m.lines > self.max_lines_per_word * half_words))
