"""The rules of Gopher's MassiveText (Rae et al. 2021, arXiv:2112.11446, appendix A1.1 and table A1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from metier.corpus.rules.rule_set import Objection, RuleSet
from metier.corpus.rules.seen import Needs, Seen


class GopherQuality(RuleSet):
    """Gopher's quality rules: leave out what is not made of ordinary words in ordinary lines.

    Where the paper counts words, two Chinese or Japanese characters count as one. Rules about the length of words are
    not for scripts that write no spaces, and stop words are those of the document's language, if there is a list of it.
    The marks of Markdown (`#`, bullets) are no symbols. Source code, tables and documents that are mostly code or
    tables are not judged.
    """

    rule: ClassVar[str] = "gopher-quality"

    min_words: int | None = Field(50, ge=1, description="Words needed.")
    max_words: int | None = Field(100_000, ge=1, description="Words allowed.")
    min_word_chars: float | None = Field(3, gt=0, description="Mean length of words needed.")
    max_word_chars: float | None = Field(10, gt=0, description="Mean length of words allowed.")
    max_symbol_ratio: float | None = Field(0.1, gt=0, description="`#` for each word allowed; ellipses likewise.")
    max_bullet_lines: float | None = Field(0.9, gt=0, le=1, description="Share of lines that begin with a bullet.")
    max_ellipsis_lines: float | None = Field(0.3, gt=0, le=1, description="Share of lines that end with an ellipsis.")
    min_lettered_words: float | None = Field(0.8, gt=0, le=1, description="Share of words with a letter in them.")
    min_stop_words: int | None = Field(2, ge=1, description="Different stop words needed.")
    more_stop_words: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Stop words of more languages, by ISO 639 code, or in place of the built-in."
    )

    def needs(self, needs: Needs) -> Needs:
        """Return `needs` with this set's stop words."""
        lower = {code.lower(): tuple(map(str.lower, words)) for code, words in self.more_stop_words.items()}
        return needs._replace(stop_words={**needs.stop_words, **lower})

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield the objections in the paper's order."""
        m, prose, spaced = seen.measures, seen.prose, seen.prose & seen.spaced
        half_words = 2 * (m.words - m.cjk) + m.cjk
        in_words = prose & (seen.spaced | seen.cjk)
        if self.min_words is not None:
            yield Objection("gopher: too few words", in_words & (half_words < 2 * self.min_words))
        if self.max_words is not None:
            yield Objection("gopher: too many words", in_words & (half_words > 2 * self.max_words))
        if self.min_word_chars is not None:
            short = m.word_chars < self.min_word_chars * (m.words - m.cjk)
            yield Objection("gopher: words too short", spaced & short)
        if self.max_word_chars is not None:
            long = m.word_chars > self.max_word_chars * (m.words - m.cjk)
            yield Objection("gopher: words too long", spaced & long)
        if self.max_symbol_ratio is not None:
            yield Objection("gopher: too many #", prose & (m.hashes > self.max_symbol_ratio * m.words))
            yield Objection("gopher: too many ellipses", prose & (m.ellipses > self.max_symbol_ratio * m.words))
        if self.max_bullet_lines is not None:
            yield Objection("gopher: nearly all bullets", prose & (m.bullet_lines > self.max_bullet_lines * m.lines))
        if self.max_ellipsis_lines is not None:
            many = m.ellipsis_lines > self.max_ellipsis_lines * m.lines
            yield Objection("gopher: lines end with ellipses", prose & many)
        if self.min_lettered_words is not None:
            few = m.lettered < self.min_lettered_words * m.tokens
            yield Objection("gopher: too few words with letters", in_words & few)
        if self.min_stop_words is not None:
            few = (seen.stop_words >= 0) & (seen.stop_words < self.min_stop_words)
            yield Objection("gopher: too few stop words", prose & few)


class GopherRepetition(RuleSet):
    """Gopher's repetition rules (table A1): leave out what says the same again and again.

    Shares of characters are of the characters of all lines, of all paragraphs, or of all tokens. In Chinese and
    Japanese, where tokens are characters, n-grams are twice as long. A table's rows, code and repeated headings do not
    count as repetition.
    """

    rule: ClassVar[str] = "gopher-repetition"

    max_lines: float | None = Field(0.3, gt=0, le=1, description="Share of lines that stood before.")
    max_paragraphs: float | None = Field(0.3, gt=0, le=1, description="Share of paragraphs that stood before.")
    max_line_chars: float | None = Field(0.2, gt=0, le=1, description="Share of characters in lines that stood before.")
    max_paragraph_chars: float | None = Field(
        0.2, gt=0, le=1, description="Share of characters in paragraphs that stood before."
    )
    max_top_2: float | None = Field(0.2, gt=0, le=1, description="Characters in the most frequent pair of words.")
    max_top_3: float | None = Field(0.18, gt=0, le=1, description="Characters in the most frequent 3-gram.")
    max_top_4: float | None = Field(0.16, gt=0, le=1, description="Characters in the most frequent 4-gram.")
    max_repeated_5: float | None = Field(0.15, gt=0, le=1, description="Characters in 5-grams that stood before.")
    max_repeated_6: float | None = Field(0.14, gt=0, le=1, description="Characters in 6-grams that stood before.")
    max_repeated_7: float | None = Field(0.13, gt=0, le=1, description="Characters in 7-grams that stood before.")
    max_repeated_8: float | None = Field(0.12, gt=0, le=1, description="Characters in 8-grams that stood before.")
    max_repeated_9: float | None = Field(0.11, gt=0, le=1, description="Characters in 9-grams that stood before.")
    max_repeated_10: float | None = Field(0.1, gt=0, le=1, description="Characters in 10-grams that stood before.")

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield the objections in the order of table A1."""
        m = seen.measures
        shares = (
            ("repeated lines", m.duplicate_lines, self.max_lines, m.lines),
            ("repeated paragraphs", m.duplicate_paragraphs, self.max_paragraphs, m.paragraphs),
            ("characters in repeated lines", m.duplicate_line_chars, self.max_line_chars, m.line_chars),
            (
                "characters in repeated paragraphs",
                m.duplicate_paragraph_chars,
                self.max_paragraph_chars,
                m.paragraph_chars,
            ),
            ("one 2-gram all over", m.top_2, self.max_top_2, m.gram_chars),
            ("one 3-gram all over", m.top_3, self.max_top_3, m.gram_chars),
            ("one 4-gram all over", m.top_4, self.max_top_4, m.gram_chars),
            ("repeated 5-grams", m.duplicate_5, self.max_repeated_5, m.gram_chars),
            ("repeated 6-grams", m.duplicate_6, self.max_repeated_6, m.gram_chars),
            ("repeated 7-grams", m.duplicate_7, self.max_repeated_7, m.gram_chars),
            ("repeated 8-grams", m.duplicate_8, self.max_repeated_8, m.gram_chars),
            ("repeated 9-grams", m.duplicate_9, self.max_repeated_9, m.gram_chars),
            ("repeated 10-grams", m.duplicate_10, self.max_repeated_10, m.gram_chars),
        )
        for reason, part, most, whole in shares:
            if most is not None:
                yield Objection(f"gopher: {reason}", seen.prose & (part > most * whole))
