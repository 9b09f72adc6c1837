"""Say which language each document is written in, or nothing where that is not sure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.core import Step, Work
from metier.core.types import Documents
from metier.corpus.engine import apply, noted, objected

if TYPE_CHECKING:
    import pyarrow as pa

UNSURE = "unsure"
CODE = "code"

_PROSE = re.compile(r"text/x-(?:rst|tex|latex|bibtex|(?:web-)?markdown|org|log)")
# What text/x-… people do not write for people; and data.
_CODE = re.compile(r"text/(?:x-.+|css|javascript|xml|yaml)|application/(?:x-)?(?:json|javascript|sql|toml|xml|sh|yaml)")


class IdentifyLanguage(Step[Documents]):
    """Fill in the language of each document, and leave out those in other languages than you want.

    The language is an ISO 639 code ("en", "zh"), null where the text is too short, in no language (numbers, mark-up)
    or unclear. Chinese, Japanese and Korean are told by their script; for all others some thousand characters from the
    beginning, the middle and the end of the text are compared with 139 languages (py3langid's model). Source code
    passes untouched.
    """

    name: ClassVar[str] = "identify-language"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    keep: tuple[str, ...] | None = Field(
        None, min_length=1, description="Languages to keep, as [en, zh]; null keeps all. Code always stays."
    )
    keep_unsure: bool = Field(True, description="With `keep`: whether documents of no clear language stay.")
    overwrite: bool = Field(False, description="Look also at documents whose language is already filled in.")
    characters: int = Field(1000, ge=100, description="Characters of a document to look at.")
    min_confidence: float = Field(0.5, ge=0, le=1, description="Below this probability the language stays null.")

    def run(self, work: Work) -> None:
        """Write the documents with their language."""
        operator = Languages(self.keep, self.keep_unsure, self.overwrite, self.characters, self.min_confidence)
        totals = apply(work, work.made(self.corpus), operator, "identifying languages")
        made = {"document": totals.kept}
        work.count("document", totals.came, totals.kept, totals.dropped, source="corpus", made=made)
        work.figure("languages", dict(totals.notes.most_common()))
        if not totals.kept and totals.came:
            work.warn(f"no document is in {', '.join(self.keep or ())}: look at the figure `languages`")


@dataclass(frozen=True)
class Languages:
    """The operator of the step; its fields are the step's."""

    keep: tuple[str, ...] | None = None
    keep_unsure: bool = True
    overwrite: bool = False
    characters: int = 1000
    min_confidence: float = 0.5

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Fill in the column `language`; object to languages that are not wanted."""
        import pyarrow as pa

        kinds = batch.column("media_type").to_pylist()
        known = batch.column("language").to_pylist()
        code = [is_code(kind) for kind in kinds]
        wanted = [
            at for at, told in enumerate(known) if not code[at] and (self.overwrite or told is None or not told.strip())
        ]
        texts = batch.column("text").take(pa.array(wanted, pa.int64())).to_pylist() if wanted else []
        languages = list(known)
        for at, language in zip(wanted, self._identified(texts), strict=True):
            languages[at] = language
        place = batch.schema.get_field_index("language")
        told = batch.set_column(place, batch.schema.field(place), pa.array(languages, batch.schema.field(place).type))
        noted_batch = noted(told, [{CODE if code[at] else lang or UNSURE: 1} for at, lang in enumerate(languages)])
        if self.keep is None:
            return noted_batch
        return objected(noted_batch, [None if code[at] else self._reason(lang) for at, lang in enumerate(languages)])

    def _identified(self, texts: Sequence[str]) -> list[str | None]:
        from metier.corpus.langid import identify

        return identify(texts, self.characters, self.min_confidence)

    def _reason(self, language: str | None) -> str | None:
        if language is None:
            return None if self.keep_unsure else "no clear language"
        # "en" also keeps "en-GB", which a crawler may have read from a page.
        wanted = self.keep is None or language in self.keep or language.split("-")[0] in self.keep
        return None if wanted else f"language {language}"


def is_code(media_type: str | None) -> bool:
    """Say whether a media type is one of source code or data, in which a language of people is not looked for."""
    kind = (media_type or "").split(";")[0].strip().lower()
    return bool(_CODE.fullmatch(kind)) and not _PROSE.fullmatch(kind)
