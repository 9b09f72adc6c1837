"""Documents that say the same in other words."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metier.core import Host, Workshop
from metier.corpus.dedup.meaning import SAME, Compare, DedupMeaning
from metier.corpus.order import by_model
from metier.corpus.order.neighbours import SCALE, VectorTask, of_length
from metier.corpus.table import Table

# What each text means, as an angle in degrees: cos 10° = 0.985, cos 20° = 0.940.
ANGLES = {
    "pay in two weeks": 0.0,
    "pay within fourteen days": 10.0,
    "pay at the latest in 14 days": 20.0,
    "no smoking": 90.0,
}


def embed(_work: Any, _folder: Path, tasks: Sequence[VectorTask], _tokens: int) -> None:
    import pyarrow.parquet as pq

    for task in tasks:
        texts = pq.read_table(task.shard).column("text").to_pylist()
        angles = [math.radians(ANGLES[text]) for text in texts]
        np.save(task.stem.with_suffix(".dense.npy"), of_length(np.array([[math.cos(a), math.sin(a)] for a in angles])))


def run(
    folder: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch, **fields: Any
) -> tuple[list[str], list[dict[str, Any]]]:
    monkeypatch.setattr(by_model, "embeddings", embed)
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "encoder").mkdir(exist_ok=True)
    shop = Workshop(folder / "runs", Host(cores=1, threads=1, memory_bytes=8 << 30))
    step = DedupMeaning(corpus=Table(file=folder / "texts.jsonl"), embedder=folder / "encoder", **fields)
    made = shop.make(step)
    listed = [json.loads(line) for line in (made.folder / "duplicates.jsonl").read_text().splitlines()]
    assert made.record.ledger.lines[0].dropped == ({SAME: len(listed)} if listed else {})
    return [document.text for document in made.rows()], listed


def test_the_longest_stays_and_each_left_out_is_near_what_stands_in_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0° and 20° are not near each other: the first stays, although both are near the middle one.
    left, listed = run(tmp_path, list(ANGLES), monkeypatch, threshold=0.95)
    assert left == ["pay in two weeks", "pay at the latest in 14 days", "no smoking"]
    assert [row["similarity"] for row in listed] == [pytest.approx(math.cos(math.radians(10)), abs=1e-3)]


def test_a_lower_threshold_leaves_out_more_and_one_that_nothing_reaches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    assert run(tmp_path / "a", list(ANGLES), monkeypatch, threshold=0.93)[0] == [
        "pay at the latest in 14 days",
        "no smoking",
    ]
    (tmp_path / "b").mkdir()
    assert run(tmp_path / "b", list(ANGLES), monkeypatch, threshold=0.99) == (list(ANGLES), [])


def test_all_pairs_of_a_cell_are_compared_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import metier.corpus.dedup.meaning as module

    vectors = of_length(np.random.default_rng(0).normal(size=(50, 8)))
    np.save(tmp_path / "a.dense.npy", vectors[:20])
    np.save(tmp_path / "b.dense.npy", vectors[20:])
    monkeypatch.setattr(module, "_AT_A_TIME", 7)
    found = Compare((str(tmp_path / "a"), str(tmp_path / "b")), 0.6)(np.arange(50))
    cosines = vectors.astype(float) @ vectors.T.astype(float) / SCALE**2
    wanted = {(a, b) for a in range(50) for b in range(a + 1, 50) if cosines[a, b] >= 0.6 - 2 / SCALE}
    pairs = list(zip(found.one.tolist(), found.other.tolist(), strict=True))
    assert set(pairs) == wanted and len(pairs) == len(wanted) > 10


def test_an_encoder_of_ones_own_is_read(tmp_path: Path) -> None:
    from metier.core import Mistake

    (tmp_path / "texts.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "encoder").mkdir()
    shop = Workshop(tmp_path / "runs", Host(cores=1, threads=1, memory_bytes=8 << 30))
    with pytest.raises(Mistake, match="cannot be loaded as an encoder"):
        shop.make(DedupMeaning(corpus=Table(file=tmp_path / "texts.jsonl"), embedder=tmp_path / "encoder"))
