"""Run in a peer's environment: near.py LIBRARY TEXTS.parquet OUT finds near duplicates of texts that are in memory.

Word 5-grams, 128 hashes (datatrove: its 112) in bands of 8, one process. Prints CPU seconds, from texts to what is
called a duplicate, without imports and without reading the texts, and how many those are. None compares exactly.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

BANDS, ROWS, THRESHOLD = 16, 8, 0.8


def by_rensa(texts: list[str], out: Path) -> Callable[[], int]:
    """Return what finds duplicates: 5-grams by Python, which is all that rensa leaves to it, the rest in Rust."""
    from rensa import RMinHash, RMinHashLSH  # type: ignore[import-not-found,import-untyped,unused-ignore]

    def shingles(text: str) -> list[str]:
        words = text.lower().split()
        return [" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))]

    def run() -> int:
        digests = RMinHash.digest_matrix_from_token_sets(map(shingles, texts), num_perm=BANDS * ROWS, seed=1)
        index = RMinHashLSH(THRESHOLD, BANDS * ROWS, BANDS)
        return sum(index.insert_matrix_and_query_duplicate_flags(digests))

    return run


def by_datatrove(texts: list[str], out: Path) -> Callable[[], int]:
    """Return what finds duplicates: its four stages one after another, signatures in files as it wants them."""
    from datatrove.data import Document  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from datatrove.pipeline.dedup.minhash import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )

    config = MinhashConfig(n_grams=5)
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    signatures, pairs, remove = (str(out / name) for name in ("signatures", "pairs", "remove"))

    def run() -> int:
        MinhashDedupSignature(signatures, config).run(iter(documents))
        buckets = MinhashDedupBuckets(signatures, pairs, config=config)
        for rank in range(config.num_buckets):
            buckets.run(None, rank, config.num_buckets)
        MinhashDedupCluster(pairs, remove, config).run()
        return len(texts) - sum(1 for _ in MinhashDedupFilter(remove).run(iter(documents)))

    return run


def by_data_juicer(texts: list[str], out: Path) -> Callable[[], int]:
    """Return what finds duplicates: its operator, as a recipe would run it."""
    from data_juicer.core.data import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        NestedDataset,
    )
    from data_juicer.ops.deduplicator.document_minhash_deduplicator import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        DocumentMinhashDeduplicator,
    )

    dataset = NestedDataset.from_dict({"text": texts})
    operator = DocumentMinhashDeduplicator(
        window_size=5,
        num_permutations=BANDS * ROWS,
        jaccard_threshold=THRESHOLD,
        num_bands=BANDS,
        num_rows_per_band=ROWS,
        num_proc=1,
    )

    def run() -> int:
        return len(texts) - len(operator.run(dataset))

    return run


PEERS: dict[str, Callable[[list[str], Path], Callable[[], int]]] = {
    "rensa": by_rensa,
    "datatrove": by_datatrove,
    "data-juicer": by_data_juicer,
}


def cpu_seconds() -> float:
    """Return what this process and those it waited for have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main(library: str, source: str, out: str) -> dict[str, Any]:
    """Time one run."""
    texts = pq.read_table(source, columns=["text"]).column("text").to_pylist()
    run = PEERS[library](texts, Path(out))
    # What is loaded when it is first used (a word tokeniser, JIT code) is not the work that is timed.
    PEERS[library](texts[:3], Path(out) / "first")()
    start = cpu_seconds()
    found = run()
    return {"seconds": cpu_seconds() - start, "documents": len(texts), "duplicates": found}


if __name__ == "__main__":
    print("\n" + json.dumps(main(*sys.argv[1:4])), file=sys.__stdout__)
