from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from metier.core import Host, Workshop
from metier.core.types import Document, Documents
from metier.corpus.documents import new_document
from metier.corpus.engine.pool import open_pool
from metier.corpus.split import Split, held_out_ids, overlaps, place, unit_of
from metier.corpus.table import Table
from tests.corpus.pages import documents, prose

IDS = st.sets(st.text("0123456789abcdef", min_size=16, max_size=16), min_size=1, max_size=80)


@given(IDS, IDS)
def test_adding_documents_moves_no_other(old: set[str], new: set[str]) -> None:
    def held(ids: set[str]) -> set[str]:
        return held_out_ids({id: place(id, 0) for id in ids}, share=0.3, at_least=1)

    both = held(old | new)
    fixed = {id for id in old if place(id, 0) < 0.3}
    assert both & old == fixed or not fixed


@given(IDS, st.integers(1, 30))
def test_at_least_so_many_are_held_out(ids: set[str], at_least: int) -> None:
    held = held_out_ids({id: place(id, 3) for id in ids}, share=0.01, at_least=at_least)
    assert len(held) >= min(at_least, len(ids))


def test_the_share_is_about_what_was_asked() -> None:
    places = {f"{number:016x}": place(f"{number:016x}", 0) for number in range(5000)}
    # 500 expected, standard deviation sqrt(5000 * .1 * .9) = 21
    assert 415 < len(held_out_ids(places, 0.1, 1)) < 585


def test_overlap_is_the_share_of_shingles_that_training_has(tmp_path: Path) -> None:
    rows = documents([prose(1), prose(2), prose(1) + "\n\n" + prose(3)])
    Documents.write(tmp_path, rows)
    held = frozenset([rows[0].id, rows[1].id])
    with open_pool(Host(cores=1, threads=1, memory_bytes=8 << 30)) as pool:
        shares = overlaps(pool, Documents(tmp_path).shards, held, tmp_path / "scratch", lambda: None)
    assert shares == {rows[0].id: 1.0, rows[1].id: 0.0}


def test_pages_of_one_file_are_held_out_together_and_rows_are_not() -> None:
    pages = [new_document("a.pdf", "x", part=f"page {n}") for n in (1, 2)]
    rows = [new_document("a.jsonl", "x", part=f"line {n}") for n in (1, 2)]
    members = [new_document("a.zip", "x", part=f"{n}.txt") for n in (1, 2)]
    inner = [new_document("a.zip", "x", part=f"b.pdf/page {n}") for n in (1, 2)]

    def units(documents: list[Document]) -> int:
        return len({unit_of(d.id, d.source, d.part) for d in documents})

    assert [units(some) for some in (pages, rows, members, inner)] == [1, 2, 2, 1]
    assert unit_of(pages[0].id, "a.pdf", "page 1") == new_document("a.pdf", "whole").id


def test_every_document_gets_a_split_and_the_ledger_says_how_many(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": prose(n)}) + "\n" for n in range(40)))
    shop = Workshop(tmp_path / "runs", Host(cores=1, threads=1, memory_bytes=8 << 30))
    made = shop.make(Split(corpus=Table(file=tmp_path / "t.jsonl"), held_out=0.2, at_least=2))
    counts = Counter(document.split for document in made.rows())
    assert counts == made.record.figures["documents"] and set(counts) == {"train", "held_out"}
