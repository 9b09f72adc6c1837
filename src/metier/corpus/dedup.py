"""Leave out what the corpus already says: exact copies, near duplicates and compilations."""

from __future__ import annotations

import json
import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from metier.core import Step, Work
from metier.core.types import Document, Documents

if TYPE_CHECKING:
    from metier.corpus.near import BandStore, Pair, ShingleStore

EXACT = "exact duplicate"
NEAR = "near duplicate"
COMPILATION = "made of other documents"
_BATCH = 256


class Duplicate(NamedTuple):
    """One document left out: why, the id of the copy that stands in for it, and how similar that one is.

    A compilation has no single stand-in; its `similarity` is the share of it that other documents say.
    """

    id: str
    source: str
    reason: str
    stands_in: str | None
    similarity: float


class Dedup(Step[Documents]):
    """Leave out exact duplicates, near duplicates and compilations of other documents.

    Of several copies the longest is kept, and of equally long ones the one with the smallest id. A near duplicate is
    one whose word 5-grams have a Jaccard similarity of at least `threshold` with a kept document: MinHash bands
    propose, the exact similarity decides. Every document left out is in `duplicates.jsonl`, with reason and stand-in.
    """

    name: ClassVar[str] = "dedup"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    threshold: float = Field(0.9, gt=0.5, le=1.0, description="Jaccard similarity from which two are near duplicates.")
    compilation: float | None = Field(
        0.7, gt=0.0, le=1.0, description="Share said by other documents from which one is left out; null keeps them."
    )

    def run(self, work: Work) -> None:
        """Write the documents that stay, and the list of those that do not."""
        documents = work.made(self.corpus)
        total = documents.record.ledger.made("document")
        scratch = work.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        with work.progress("comparing documents", total, "documents") as bar:
            corpus = measure(_advancing(documents.rows(), bar), scratch)
        dropped = duplicates(corpus, self.threshold, self.compilation)
        shutil.rmtree(scratch)
        _write_list(work.folder / "duplicates.jsonl", (dropped[number] for number in sorted(dropped)))
        kept = (document for number, document in enumerate(documents.rows()) if number not in dropped)
        made = Documents.write(work.folder, kept)
        reasons = Counter(duplicate.reason for duplicate in dropped.values())
        work.count("document", len(corpus.ids), made, reasons, source="corpus", made={"document": made})


class Measured(NamedTuple):
    """What must be known of every document to compare them: small in memory, the rest on disk."""

    ids: list[str]
    sources: list[str]
    lengths: array[int]
    digests: list[bytes]
    shingles: ShingleStore
    bands: BandStore


def measure(documents: Iterable[Document], scratch: Path) -> Measured:
    """Read the documents once, keeping ids, sources, lengths and digests in memory, shingles and bands in `scratch`.

    About 400 bytes of memory a document, whatever its length.
    """
    import xxhash

    from metier.corpus.near import BandStore, ShingleStore
    from metier.corpus.shingles import Shingler

    scratch.mkdir(parents=True, exist_ok=True)
    measured = Measured([], [], array("q"), [], ShingleStore(scratch / "shingles.bin"), BandStore(scratch / "bands"))
    shingle = Shingler()
    batch: list[Any] = []
    for document in documents:
        measured.ids.append(document.id)
        measured.sources.append(document.source)
        measured.lengths.append(len(document.text))
        measured.digests.append(xxhash.xxh3_128_digest(" ".join(document.text.split()).encode()))
        batch.append(shingle(document.text))
        measured.shingles.append(batch[-1])
        if len(batch) == _BATCH:
            measured.bands.append(batch)
            batch.clear()
    if batch:
        measured.bands.append(batch)
    measured.shingles.finish()
    measured.bands.finish()
    return measured


def duplicates(corpus: Measured, threshold: float, compilation: float | None) -> dict[int, Duplicate]:
    """Return what to leave out, by document number: exact copies first, then near ones, then compilations."""
    from metier.corpus.contained import compilations
    from metier.corpus.near import stand_ins, verified_pairs

    order = sorted(range(len(corpus.ids)), key=lambda number: (-corpus.lengths[number], corpus.ids[number]))
    priority = array("q", bytes(8 * len(order)))
    for rank, number in enumerate(order):
        priority[number] = rank
    dropped = _exact(corpus, order)
    pairs: list[Pair] = [
        pair
        for pair in verified_pairs(corpus.bands, corpus.shingles, threshold, priority)
        if pair.one not in dropped and pair.other not in dropped and corpus.shingles[pair.one].size
    ]
    for number, pair in stand_ins(pairs, priority).items():
        rival = pair.one + pair.other - number
        dropped[number] = _duplicate(corpus, number, NEAR, rival, pair.similarity)
    if compilation is not None:
        left = (number for number in range(len(corpus.ids)) if number not in dropped)
        for number, share in compilations(corpus.shingles, left, compilation).items():
            dropped[number] = _duplicate(corpus, number, COMPILATION, None, share)
    return dropped


def _exact(corpus: Measured, order: Iterable[int]) -> dict[int, Duplicate]:
    first: dict[bytes, int] = {}
    dropped = {}
    for number in order:
        kept = first.setdefault(corpus.digests[number], number)
        if kept != number:
            dropped[number] = _duplicate(corpus, number, EXACT, kept, 1.0)
    return dropped


def _duplicate(corpus: Measured, number: int, reason: str, rival: int | None, similarity: float) -> Duplicate:
    stands_in = corpus.ids[rival] if rival is not None else None
    return Duplicate(corpus.ids[number], corpus.sources[number], reason, stands_in, round(similarity, 4))


def _write_list(path: Path, rows: Iterable[Duplicate]) -> None:
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row._asdict(), ensure_ascii=False) + "\n")


def _advancing(documents: Iterable[Document], bar: Any) -> Iterator[Document]:
    for document in documents:
        yield document
        bar.advance()
