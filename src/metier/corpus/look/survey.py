"""Counts of a corpus in one pass: sources, lengths, languages, kinds, licences, exact copies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from metier.core.types import Documents

BINS_A_DECADE = 4
"""Lengths are counted in bins of equal width on a logarithmic scale."""


class Share(NamedTuple):
    """Documents and characters of one source, language or kind."""

    documents: int
    characters: int


class Survey(NamedTuple):
    """What one pass over the documents found.

    by: column → value → share. lengths: bin → documents; bin n holds 10**(n/4) up to 10**((n+1)/4) characters.
    copies: documents whose digest another document before them has.
    """

    documents: int
    characters: int
    by: dict[str, dict[str, Share]]
    lengths: dict[int, int]
    median: int
    copies: int


_COLUMNS = ("source", "language", "media_type", "license", "channel", "split")


def survey(documents: Documents, advance: Callable[[int], None] = lambda _: None) -> Survey:
    """Read the documents once. Memory: 16 bytes a document, and the values there are."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    by: dict[str, dict[str, Counter[str]]] = {name: {"n": Counter(), "c": Counter()} for name in _COLUMNS}
    lengths, digests = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for shard in documents.shards:
        with pq.ParquetFile(shard) as file:
            names = [name for name in ("text", "digest", *_COLUMNS) if name in file.schema_arrow.names]
            for batch in file.iter_batches(2000, columns=names):
                sizes = pc.utf8_length(batch.column("text")).to_numpy(zero_copy_only=False).astype(np.int64)
                lengths.append(sizes)
                for name in names[2:]:
                    values = batch.column(name).to_pylist()
                    told = [group_of(value) if name == "source" else (value or "") for value in values]
                    by[name]["n"].update(told)
                    for value, size in zip(told, sizes.tolist(), strict=True):
                        by[name]["c"][value] += size
                known = [int(value[:16], 16) for value in batch.column("digest").to_pylist() if value]
                digests.append(np.array(known, np.uint64))
                advance(batch.num_rows)
    every, marks = np.concatenate(lengths), np.concatenate(digests)
    bins = Counter(math.floor(BINS_A_DECADE * math.log10(max(size, 1))) for size in every.tolist())
    shares = {
        name: {value: Share(count, found["c"][value]) for value, count in found["n"].most_common()}
        for name, found in by.items()
    }
    return Survey(
        documents=int(every.size),
        characters=int(every.sum()),
        by={name: found for name, found in shares.items() if set(found) - {""}},
        lengths=dict(sorted(bins.items())),
        median=int(np.median(every)) if every.size else 0,
        copies=int(marks.size - np.unique(marks).size),
    )


def group_of(source: str | None) -> str:
    """Return what a document's source belongs to: a site's host, the top folder of a path, or "(no folder)"."""
    text = source or ""
    if "://" in text:
        return urlsplit(text).netloc or text
    top, slash, _ = text.partition("/")
    return top if slash else "(no folder)"
