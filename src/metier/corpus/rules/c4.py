"""The rules of C4 (Raffel et al. 2020, JMLR 21(140), section 2.2), with the numbers of the code that made it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.corpus.kernel.rules import LineRules, clean
from metier.corpus.rules.rule_set import Objection, RuleSet
from metier.corpus.rules.seen import Needs, Seen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.corpus.kernel import Texts


class C4(RuleSet):
    """C4's rules for pages: leave out placeholder text, program text, and what has next to no sentences.

    C4 first takes lines out: those that do not end as a sentence does, that have too few words or one endless word, or
    that speak of JavaScript, cookies or terms of use. This set counts sentences in the lines that would stay and looks
    for braces and "lorem ipsum" there; it changes no text. The step `clean-lines` takes the lines out. Text wrapped to
    a width is judged by its unwrapped lines, and fenced code may have braces. Bad words are the compliance step's.
    """

    rule: ClassVar[str] = "c4"

    min_sentences: int | None = Field(
        3, ge=1, description="Sentences needed in the lines that C4 keeps; the first version of the paper said 5."
    )
    no_lorem_ipsum: bool = Field(True, description="Leave out pages with the placeholder text.")
    no_braces: bool = Field(True, description="Leave out pages with a `{` outside fenced code.")
    min_line_words: int = Field(5, ge=0, description="Words a line needs; the first version of the paper said 3.")
    end_mark: bool = Field(True, description="Lines must end as a sentence does; FineWeb switched this off.")
    max_word_chars: int = Field(1000, ge=1, description="A line with a longer word is none.")
    citations: bool = Field(True, description="Take marks like [12] and [citation needed] out of lines.")

    @property
    def line_rules(self) -> LineRules:
        """The settings for lines, as the kernel takes them."""
        settings = (self.min_line_words, self.max_word_chars, self.end_mark, self.citations)
        return LineRules(LineRules().short_chars, *map(int, settings))

    def needs(self, needs: Needs) -> Needs:
        """Return `needs` with this set's rules for lines."""
        return needs._replace(lines=self.line_rules._replace(short_chars=needs.lines.short_chars))

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield the objections: placeholder text, braces, too few sentences."""
        m = seen.measures
        if self.no_lorem_ipsum:
            yield Objection("c4: lorem ipsum", seen.prose & (m.c4_lorem > 0))
        if self.no_braces:
            yield Objection("c4: braces", seen.prose & (m.c4_braces > 0))
        if self.min_sentences is not None:
            yield Objection("c4: too few sentences", seen.prose & (m.c4_sentences < self.min_sentences))

    def cleaned(self, texts: Texts) -> tuple[list[str], NDArray[np.int64]]:
        """Return texts without the lines that C4 takes out, and how many lines of each had each of VERDICTS."""
        return clean(texts, self.line_rules)
