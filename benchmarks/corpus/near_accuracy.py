"""What near-deduplication finds of the planted copies, and whether what it drops is near: the step's own search.

Recall: of the planted pairs whose exact Jaccard similarity (plain Python sets, `material`) reaches a bound, the share
of which not both are kept at that threshold. Precision: of a thousand documents called near duplicates, the share whose
similarity with their stand-in, worked out by plain Python again, reaches the threshold. The pairs are those of the set
"report"; bands, margins and bounds were chosen on "tune", whose edits have another seed.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from benchmarks.corpus import material
from benchmarks.corpus.material import Planted
from benchmarks.record import Row, save
from metier.core import Host
from metier.corpus.dedup.scratch import Settings
from metier.corpus.dedup.step import Verdicts, find
from metier.corpus.engine.pool import open_pool

BARS = {0.9: "≥ 0.995", 0.8: "≥ 0.98"}
_CHECKED = 1000


class Corpus(NamedTuple):
    """The planted set: its shards, texts by number, and numbers by id."""

    shards: list[Path]
    texts: list[str]
    numbers: dict[str, int]


def corpus() -> Corpus:
    """Read the set that is reported on."""
    shards = sorted(material.documents("report").glob("part-*.parquet"))
    tables = [pq.read_table(shard, columns=["id", "text"]) for shard in shards]
    ids = [id for table in tables for id in table.column("id").to_pylist()]
    texts = [text for table in tables for text in table.column("text").to_pylist()]
    return Corpus(shards, texts, {id: number for number, id in enumerate(ids)})


def verdicts(shards: Sequence[Path], settings: Settings) -> tuple[Verdicts, float]:
    """Return what the step would leave out, compilations apart, and the seconds that took."""
    with tempfile.TemporaryDirectory() as scratch, open_pool(Host.here()) as pool:
        start = time.monotonic()
        found = find(list(shards), Path(scratch), settings, "longest", None, pool)
        return found, time.monotonic() - start


def recall(given: Corpus, found: Verdicts, pairs: Sequence[Planted]) -> float:
    """Return the share of pairs of which at least one is left out."""
    gone = found.reason > 0
    return float(np.mean([gone[given.numbers[pair.one]] or gone[given.numbers[pair.other]] for pair in pairs]))


def precision(given: Corpus, found: Verdicts, threshold: float) -> float:
    """Return the share of near duplicates that are as near to their stand-in as they must be."""
    near = np.flatnonzero(found.reason == 2).tolist()
    some = random.Random(0).sample(near, min(_CHECKED, len(near)))
    right = [
        material.similarity(given.texts[number], given.texts[int(found.stands_in[number])]) >= threshold - 1e-9
        for number in some
    ]
    return float(np.mean(right))


def rows(given: Corpus, pairs: Sequence[Planted], threshold: float) -> list[Row]:
    """Return the figures of one threshold."""
    found, seconds = verdicts(given.shards, Settings(threshold, 5, "minhash", 6, True))
    kinds = {
        "": [pair for pair in pairs if pair.jaccard >= threshold],
        ", Chinese": [pair for pair in pairs if pair.jaccard >= threshold and _chinese(given, pair)],
    }
    made = []
    for kind, wanted in kinds.items():
        share = recall(given, found, wanted)
        what = f"{len(wanted):,} planted pairs among {len(given.texts):,} documents"
        name = f"near-dedup recall at J ≥ {threshold}{kind}"
        made.append(Row(name, None, round(share, 5), None, None, "", what, seconds, BARS[threshold]))
    share = precision(given, found, threshold)
    what = f"{_CHECKED:,} of {int((found.reason == 2).sum()):,} documents left out"
    made.append(
        Row(f"near-dedup precision at J ≥ {threshold}", None, round(share, 5), None, None, "", what, seconds, "1.0")
    )
    return made


def by_simhash(given: Corpus, pairs: Sequence[Planted], bits: int) -> Row:
    """Return the recall of SimHash at 0.9, its proposals verified."""
    found, seconds = verdicts(given.shards, Settings(0.9, 5, "simhash", bits, True))
    wanted = [pair for pair in pairs if pair.jaccard >= 0.9]
    share = recall(given, found, wanted)
    what = f"{len(wanted):,} planted pairs among {len(given.texts):,} documents"
    name = f"near-dedup recall at J ≥ 0.9, method simhash, hamming {bits}"
    return Row(name, None, round(share, 5), None, None, "", what, seconds)


def _chinese(given: Corpus, pair: Planted) -> bool:
    text = given.texts[given.numbers[pair.one]]
    return sum("\u4e00" <= character <= "\u9fff" for character in text) > 0.2 * len(text)


def main() -> None:
    """Measure and save."""
    given, pairs = corpus(), material.planted("report")
    for threshold in (0.9, 0.8):
        save("corpus", rows(given, pairs, threshold))
    save("corpus", [by_simhash(given, pairs, bits) for bits in (3, 6)])


if __name__ == "__main__":
    main()
