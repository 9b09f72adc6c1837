"""Spelling noise: text whose words the rest of the corpus does not know."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.corpus.kernel.rules import TABLE_SIZE, known_forms, learn_forms
from metier.corpus.rules.rule_set import Objection, RuleSet
from metier.corpus.rules.seen import Needs, Seen

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_COLUMNS = ["text", "language", "media_type", "title"]


class Spelling(RuleSet):
    """Leave out scans full of misread letters and the like: most of their words stand in no other document.

    The corpus itself says which words there are: those that stand in several of its documents, each language apart.
    So names and terms of a trade are known, and a language is judged only where there are documents enough to judge by.
    A document of no stated language goes with the language whose stop words it has. Chinese and Japanese are not
    judged, and neither is source code.
    """

    rule: ClassVar[str] = "spelling"

    min_known_words: float = Field(0.7, gt=0, le=1, description="Share of words needed that other documents have too.")
    in_documents: int = Field(3, ge=2, le=255, description="Documents a word must stand in to be known.")
    min_documents: int = Field(200, ge=1, description="Documents of a language needed to judge by.")
    min_words: int = Field(50, ge=1, description="Words a document needs to be judged.")
    sample_bytes: int = Field(300_000_000, ge=1, description="Text to learn the words from, spread over the corpus.")

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield nothing: words are known only after `learned`."""
        return iter(())

    def learned(
        self, shards: Sequence[Path], folder: Path, advance: Callable[[int], None] = lambda documents: None
    ) -> KnownWords:
        """Learn the words of a corpus into a folder, or take what is there, and return the rule with them.

        Args:
            advance: called with the number of documents that were read.
        """
        import numpy as np

        folder.mkdir(exist_ok=True)
        table = folder / "words.npz"
        if not table.is_file():
            counts, languages = np.zeros(TABLE_SIZE, np.uint8), Counter[str]()
            for batch in _spread(shards, self.sample_bytes):
                seen = Seen(batch, self.needs(Needs()))
                groups, told = _groups(seen)
                learn_forms(seen.texts, groups, counts)
                languages.update(language for language in told if language is not None)
                advance(len(seen))
            unfinished = table.with_name(f".{table.name}")
            with unfinished.open("wb") as out:
                np.savez(
                    out, counts=counts, languages=sorted(languages), documents=[languages[k] for k in sorted(languages)]
                )
            unfinished.replace(table)
        return KnownWords(self, table)


@dataclass(frozen=True)
class KnownWords:
    """The rule with the words that a corpus knows, which each process reads once."""

    settings: Spelling
    table: Path

    def needs(self, needs: Needs) -> Needs:
        """Return `needs` as they are."""
        return needs

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield the one objection."""
        import numpy as np

        counts, languages = _read(self.table)
        groups, told = _groups(seen)
        judged = {code for code, documents in languages.items() if documents >= self.settings.min_documents}
        groups = np.where(np.array([language in judged for language in told], np.bool_), groups, -1)
        found = known_forms(seen.texts, groups, counts, self.settings.in_documents)
        few = found[:, 1] < self.settings.min_known_words * found[:, 0]
        yield Objection("spelling: unknown words", seen.written & few & (found[:, 0] >= self.settings.min_words))


def _groups(seen: Seen) -> tuple[NDArray[np.int64], list[str | None]]:
    """Return a number for each document's language, -1 where it is not judged, and the language."""
    import numpy as np

    told = [
        language if written and spaced else None
        for language, written, spaced in zip(
            seen.likely_languages, seen.written.tolist(), seen.spaced.tolist(), strict=True
        )
    ]
    return np.array([zlib.crc32(code.encode()) if code else -1 for code in told], np.int64), told


def _spread(shards: Sequence[Path], most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield row groups spread evenly over the shards, of about so many bytes of text in all."""
    import pyarrow.parquet as pq

    sizes = []
    for shard in shards:
        meta = pq.read_metadata(shard)
        text = next(at for at in range(meta.num_columns) if meta.schema.column(at).path == "text")
        sizes += [
            (shard, group, meta.row_group(group).column(text).total_uncompressed_size)
            for group in range(meta.num_row_groups)
        ]
    every = max(1, -(-sum(size for _, _, size in sizes) // most_bytes))
    for shard, group, _ in sizes[::every]:
        with pq.ParquetFile(shard) as file:
            yield from file.iter_batches(2000, row_groups=[group], columns=_COLUMNS)


@lru_cache(maxsize=2)
def _read(table: Path) -> tuple[NDArray[np.uint8], dict[str, int]]:
    import numpy as np

    with np.load(table) as stored:
        languages = zip(stored["languages"].tolist(), stored["documents"].tolist(), strict=True)
        return stored["counts"], dict(languages)
