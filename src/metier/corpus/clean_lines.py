"""Take lines out of documents that are no sentences, as C4 did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.core import Step, Work
from metier.core.types import Documents
from metier.corpus.engine import apply, noted, objected, with_texts
from metier.corpus.kernel.rules import VERDICTS
from metier.corpus.rules.c4 import C4
from metier.corpus.rules.seen import Seen

if TYPE_CHECKING:
    import pyarrow as pa

EMPTY = "no line is left"
TOLD = {
    "c4_long_word": "too long a word",
    "c4_no_end": "no end of a sentence",
    "c4_few_words": "too few words",
    "c4_script": "JavaScript",
    "c4_policy": "cookies and terms of use",
    "c4_kept": "kept",
    "c4_lorem": "kept, with placeholder text",
    "c4_braces": "kept, with braces",
}
"""What is told of the lines, by verdict."""


class CleanLines(Step[Documents]):
    """Take out lines that are no sentences: menus, buttons, notes about cookies and scripts (Raffel et al. 2020).

    A line goes that does not end as a sentence does, has too few words or an endless one, or speaks of JavaScript,
    cookies or terms of use. Headings, fenced code and tables stay as they are, and so do source code and tables.
    Text wrapped to a width is judged by its unwrapped lines. How many lines went is in the record. This is for pages
    of the web: in manuals it also takes out captions and items of lists.
    """

    name: ClassVar[str] = "clean-lines"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    end_mark: bool = Field(True, description="Lines must end as a sentence does; FineWeb switched this off.")
    min_line_words: int = Field(5, ge=0, description="Words a line needs; the first version of C4's paper said 3.")
    max_word_chars: int = Field(1000, ge=1, description="A line with a longer word is none.")
    citations: bool = Field(True, description="Take marks like [12] and [citation needed] out of lines.")

    def run(self, work: Work) -> None:
        """Write the documents without those lines."""
        rules = C4(
            end_mark=self.end_mark,
            min_line_words=self.min_line_words,
            max_word_chars=self.max_word_chars,
            citations=self.citations,
        )
        totals = apply(work, work.made(self.corpus), Cleaner(rules), "cleaning lines")
        made = {"document": totals.kept}
        work.count("document", totals.came, totals.kept, totals.dropped, source="corpus", made=made)
        work.figure("lines", dict(totals.notes.most_common()))


@dataclass(frozen=True)
class Cleaner:
    """The operator of the step. It notes lines that went by what was wrong with them, and those that stayed."""

    rules: C4

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with other texts; object to those that nothing is left of."""
        seen = Seen(batch)
        written = seen.written.tolist()
        cleaned, verdicts = self.rules.cleaned(seen.texts)
        before = batch.column("text").to_pylist()
        texts = [new if prose else old for new, old, prose in zip(cleaned, before, written, strict=True)]
        notes = [
            {TOLD[verdict]: lines for verdict, lines in zip(VERDICTS, row, strict=True) if lines} if prose else None
            for row, prose in zip(verdicts.tolist(), written, strict=True)
        ]
        reasons = [EMPTY if old and not new.strip() else None for new, old in zip(texts, before, strict=True)]
        return noted(objected(with_texts(batch, texts), reasons), notes)
