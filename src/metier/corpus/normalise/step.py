"""The step, and the operator that does its work on batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.core import Step, Work
from metier.core.types import Documents
from metier.corpus.engine import apply, noted, objected, with_texts
from metier.corpus.language import is_code

if TYPE_CHECKING:
    import pyarrow as pa

    from metier.corpus.normalise.boilerplate import Edges

EMPTY = "nothing but boilerplate"
REPAIRED = "lines decoded again"
_REMOVED = "removed: "
_LATEX = frozenset({"text/x-tex", "text/x-latex", "application/x-tex", "application/x-latex"})
_MOST_SURVEYED = 400_000  # documents of all sites together: bounds the memory of the survey at about 200 MB
_LEAST_A_SITE = 200
_TOLD = 1000  # lines listed in the record


class Normalise(Step[Documents]):
    """Bring texts into one form: composed Unicode, plain spaces, links as their text, repeated page furniture gone.

    Source code passes untouched; code blocks and tables of other texts keep every byte, and so do verbatim text and
    listings in LaTeX. Lines that stand at the edges of many documents of the corpus or of one site (a host, or a top
    folder), numbers aside ("This page last modified on ..."), are boilerplate; how often each was removed is in the
    record. Lines of UTF-8 that were read as Windows-1252 ("Ã©") are read again where the bytes prove it.
    """

    name: ClassVar[str] = "normalise"
    version: ClassVar[int] = 2
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    boilerplate_share: float | None = Field(
        0.1,
        gt=0,
        le=1,
        description="Share of the documents, of all or of a site's, that a line must stand in to be boilerplate; null "
        "keeps all.",
    )
    boilerplate_at_least: int = Field(8, ge=2, description="Documents a line must stand in to be boilerplate.")
    boilerplate_sample: int = Field(
        5000, ge=10, description="Documents, of all and of each site, that are searched for boilerplate."
    )
    repair: bool = Field(True, description="Read lines again that were decoded wrongly, where that is certain.")

    def run(self, work: Work) -> None:
        """Find the boilerplate in a sample of the documents, then write all of them in their normal form."""
        documents = work.made(self.corpus)
        found = self._boilerplate(work, documents) if self.boilerplate_share is not None else {}
        totals = apply(work, documents, Normaliser(found, self.repair), "normalising")
        made = {"document": totals.kept}
        work.count("document", totals.came, totals.kept, totals.dropped, source="corpus", made=made)
        removed = {note.removeprefix(_REMOVED): n for note, n in totals.notes.items() if note.startswith(_REMOVED)}
        work.figure("boilerplate_lines", dict(Counter(removed).most_common(_TOLD)))
        work.figure("lines_decoded_again", totals.notes[REPAIRED])

    def _boilerplate(self, work: Work, documents: Documents) -> dict[str | None, frozenset[int]]:
        """Return the boilerplate of the corpus (None) and of each site, as hashes of keys."""
        from metier.corpus.engine.pool import open_pool
        from metier.corpus.normalise.boilerplate import CORPUS, Survey, repeated, sites

        assert self.boilerplate_share is not None
        shards = documents.shards
        pages = sites(shards)
        total = pages.total()
        # A site that is the whole corpus, or too small to prove anything, needs no survey of its own.
        own = [site for site, count in pages.items() if self.boilerplate_at_least <= count < total]
        a_site = min(self.boilerplate_sample, max(_LEAST_A_SITE, _MOST_SURVEYED // max(len(own), 1)))
        numbers = {site: number for number, site in enumerate(sorted(own), CORPUS + 1)}
        shares = {number: a_site / pages[site] for site, number in numbers.items()}
        shares[CORPUS] = self.boilerplate_sample / max(total, 1)
        surveys: list[Edges] = []
        with (
            work.progress("looking for boilerplate", len(shards), "shards") as bar,
            open_pool(work.host, work) as pool,
        ):
            for edges in pool.every(Survey(numbers, shares), shards, what="looking for boilerplate"):
                surveys.append(edges)
                bar.advance()
        found = repeated(surveys, self.boilerplate_share, self.boilerplate_at_least)
        named: dict[int, str | None] = {CORPUS: None, **{number: site for site, number in numbers.items()}}
        return {named[number]: hashes for number, hashes in found.items()}


@dataclass(frozen=True)
class Normaliser:
    """The operator of the step.

    Args:
        boilerplate: hashes of the keys of lines that are boilerplate, of all documents (None) and by site.
        repair: whether to read lines again that were decoded wrongly.
    """

    boilerplate: Mapping[str | None, frozenset[int]] = field(default_factory=dict)
    repair: bool = True

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the texts in their normal form; object to those of which nothing is left."""
        columns = (batch.column(name).to_pylist() for name in ("text", "source", "media_type"))
        texts: list[str] = []
        notes: list[Counter[str]] = []
        for text, source, media_type in zip(*columns, strict=True):
            counts: Counter[str] = Counter()
            texts.append(self.normal(text, source, media_type, counts))
            notes.append(counts)
        reasons = [None if text and not text.isspace() else EMPTY for text in texts]
        return objected(noted(with_texts(batch, texts), notes), reasons)

    def normal(self, text: str, source: str, media_type: str, counts: Counter[str]) -> str:
        """Return one text in its normal form, and count what was repaired and removed."""
        from metier.corpus.normalise.text import latex, normalise, repaired_prose

        if is_code(media_type) and media_type not in _LATEX:
            return text
        if self.repair:
            text, lines = repaired_prose(text)
            counts.update({REPAIRED: lines} if lines else {})
        if media_type in _LATEX:
            return latex(text)
        removed: Counter[str] = Counter()
        text = normalise(text, self._unwanted(source), removed)
        counts.update({_REMOVED + key: times for key, times in removed.items()})
        return text

    def _unwanted(self, source: str) -> Callable[[str], bool] | None:
        """Return what says of a line's key whether it is boilerplate; None where there is none."""
        from metier.corpus.normalise.boilerplate import key_hash, site_of

        everywhere = self.boilerplate.get(None, frozenset[int]())
        here = self.boilerplate.get(site_of(source), frozenset[int]())
        if not everywhere and not here:
            return None

        def unwanted(key: str) -> bool:
            hashed = key_hash(key)
            return hashed in everywhere or hashed in here

        return unwanted
