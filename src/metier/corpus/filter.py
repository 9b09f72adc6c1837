"""Leave out what is no prose worth learning, each document with the reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from metier.core import Mistake, Step, Work
from metier.core.types import Document, Documents
from metier.corpus import rules


class Filter(Step[Documents]):
    """Leave out indexes, change logs, symbol tables, licences, damaged text and what is too short to teach anything.

    Thresholds are shares of a document's characters unless said otherwise; null switches a rule off. Every document
    left out is in `dropped.jsonl` with its reason.
    """

    name: ClassVar[str] = "filter"

    corpus: Step[Documents] = Field(description="The documents, normalised.")
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

    def run(self, work: Work) -> None:
        """Write the documents that no rule objects to."""
        documents = work.made(self.corpus)
        dropped: Counter[str] = Counter()
        log = work.folder / "dropped.jsonl"
        with (
            work.progress("filtering", documents.record.ledger.made("document"), "documents") as bar,
            log.open("w", encoding="utf-8") as out,
        ):

            def kept() -> Iterator[Document]:
                for document in documents.rows():
                    bar.advance()
                    reason = self.reason(document)
                    if reason is None:
                        yield document
                        continue
                    dropped[reason] += 1
                    row = {"id": document.id, "source": document.source, "title": document.title, "reason": reason}
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")

            made = Documents.write(work.folder, kept())
        if made == 0:
            raise Mistake(
                "the filter leaves no document",
                found="; ".join(f"{count} documents: {reason}" for reason, count in dropped.most_common(4)),
                hint="set the threshold of that rule to null, or look at the texts with `metier show`",
            )
        work.count("document", made + dropped.total(), made, dropped, source="corpus", made={"document": made})

    def reason(self, document: Document) -> str | None:
        """Return the first rule's reason to leave the document out, or None to keep it."""
        text, title = document.text, document.title
        found: str | None = None
        if self.max_log_entry_share is not None:
            found = rules.change_log(text, title, self.max_log_entry_share)
        if found is None and self.min_legal_terms is not None:
            found = rules.licence_page(text, title, self.min_legal_terms)
        if found is None and self.max_damage_share is not None:
            found = rules.damaged(text, self.max_damage_share, self.max_odd_share)
        if found is None and self.max_code_share is not None:
            found = rules.list_of_codes(text, self.max_code_share)
        return found or self._shapeless(text)

    def _shapeless(self, text: str) -> str | None:
        shape = rules.shape(text)
        found: str | None = None
        if self.min_prose_chars is not None and shape.total < self.min_prose_chars:
            return rules.too_short(shape, self.min_prose_chars)
        if self.max_table_share is not None:
            found = rules.mostly_tables(shape, self.max_table_share)
        if found is None and self.max_fragment_share is not None:
            found = rules.mostly_navigation(shape, self.max_fragment_share)
        if found is None and self.min_prose_chars is not None:
            found = rules.too_short(shape, self.min_prose_chars)
        return found
