"""Hold documents out: whole documents, chosen by their id, and none that training would give away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.core import Mistake, Step, Work
from metier.core.types import HELD_OUT, TRAIN, Document, Documents

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_SAMPLED = 40_000_000  # shingles of held-out documents in memory, 17 bytes each while they are compared


class Split(Step[Documents]):
    """Split documents into those to train on and those held out for the examination.

    A document's place is decided by a hash of its id: adding documents moves no other. A document of which training
    would give away `max_overlap` or more is not held out but trained on.
    """

    name: ClassVar[str] = "split"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents, without duplicates.")
    held_out: float = Field(0.1, gt=0.0, lt=1.0, description="Share of the documents to hold out.")
    at_least: int = Field(8, ge=1, description="Documents held out at the least, however small the share.")
    max_overlap: float = Field(
        0.3, gt=0.0, le=1.0, description="Share of a held-out document's word 5-grams that training may contain."
    )
    seed: int = Field(0, ge=0, description="Another seed holds out other documents.")

    def run(self, work: Work) -> None:
        """Write the documents with their split."""
        documents = work.made(self.corpus)
        total = documents.record.ledger.made("document")
        places = {document.id: place(document.id, self.seed) for document in documents.rows()}
        if len(places) < 2 * self.at_least:
            raise Mistake(
                f"{len(places)} documents are too few to hold {self.at_least} out",
                found="a split needs at least twice as many documents as it holds out",
                hint="add documents, or lower `at_least` of the step 'split'",
            )
        chosen = held_out_ids(places, self.held_out, self.at_least)
        with work.progress("checking held-out documents", total, "documents") as bar:
            shares = overlaps(documents.rows, chosen, bar.advance)
        given_away = {id for id, share in shares.items() if share >= self.max_overlap}
        rest = chosen - given_away
        if not rest:
            raise Mistake(
                "no document can be held out",
                found=f"of all {len(chosen)} chosen, {self.max_overlap:.0%} or more stands in the others too",
                hint="add documents of other kinds, or raise `max_overlap` of the step 'split'",
            )
        if len(rest) < self.at_least:
            work.warn(f"only {len(rest)} documents are held out: {len(given_away)} were too much like the others")
        made = Documents.write(work.folder, with_split(documents.rows(), rest))
        work.count("document", len(places), made, source="corpus", made={"document": made})
        alike = {"too much like training documents": len(given_away)} if given_away else {}
        work.count("held-out candidate", len(chosen), len(rest), alike)
        work.figure("documents", {TRAIN: made - len(rest), HELD_OUT: len(rest)})
        work.figure("held_out_overlap", round(sum(shares[id] for id in rest) / len(rest), 4))


def place(id: str, seed: int) -> float:
    """Return the fixed place of a document in 0..1; those below the share are held out."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{id}".encode()).digest()[:8], "big") / 2**64


def held_out_ids(places: Mapping[str, float], share: float, at_least: int) -> set[str]:
    """Return the ids whose place is below `share`, or the `at_least` lowest where those are more."""
    chosen = {id for id, at in places.items() if at < share}
    return chosen if len(chosen) >= at_least else set(sorted(places, key=lambda id: places[id])[:at_least])


def with_split(documents: Iterable[Document], held_out: set[str]) -> Iterator[Document]:
    """Yield the documents with their split filled in."""
    for document in documents:
        yield document._replace(split=HELD_OUT if document.id in held_out else TRAIN)


def overlaps(
    rows: Callable[[], Iterable[Document]], held_out: set[str], seen_one: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Return, by id, the share of each held-out document's shingles that stand in a document that is trained on.

    `rows` is called twice. Memory grows with the held-out documents only, and beyond 40 million shingles not even so:
    then a sample by hash stands for all (FracMinHash).
    """
    import numpy as np

    from metier.corpus.shingles import Shingler

    shingle = Shingler()
    sets = _sampled({document.id: shingle(document.text) for document in rows() if document.id in held_out})
    index = np.unique(np.concatenate(list(sets.values()))) if sets else np.zeros(0, np.uint64)
    trained = np.zeros(index.size, dtype=bool)
    for document in rows():
        seen_one()
        if index.size and document.id not in held_out:
            found = shingle(document.text)
            places = np.minimum(np.searchsorted(index, found), index.size - 1)
            trained[places[index[places] == found]] = True
    return {
        id: float(np.mean(trained[np.searchsorted(index, mine)])) if mine.size else 0.0 for id, mine in sets.items()
    }


def _sampled(sets: dict[str, NDArray[np.uint64]]) -> dict[str, NDArray[np.uint64]]:
    import numpy as np

    scale = -(-sum(mine.size for mine in sets.values()) // _MAX_SAMPLED)
    if scale <= 1:
        return sets
    limit = np.uint64((2**64 - 1) // scale)
    return {id: mine[: int(np.searchsorted(mine, limit, side="right"))] for id, mine in sets.items()}
