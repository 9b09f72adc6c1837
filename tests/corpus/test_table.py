"""The step `table`, and the rows of small tables."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from metier.core import LocalPath, Mistake, Workshop
from metier.corpus import Table
from metier.corpus.table import rows

LINES = b'{"text": "First.", "name": "a"}\n{broken\n\n{"text": "Last.", "name": "c"}\n{"text": "More."}\n'


def test_a_row_is_a_document_and_a_broken_one_stands_in_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(LINES))
    made = Workshop(tmp_path / "runs").make(Table(file=LocalPath(path), title_column="name", license="CC0-1.0"))
    assert [(row.text, row.title, row.source, row.part, row.license) for row in made.rows()] == [
        ("First.", "a", "t.jsonl.gz", "line 1", "CC0-1.0"),
        ("Last.", "c", "t.jsonl.gz", "line 4", "CC0-1.0"),
        ("More.", "", "t.jsonl.gz", "line 5", "CC0-1.0"),
    ]
    line = made.record.ledger.lines[0]
    assert (line.unit, line.came, line.kept, line.dropped) == ("row", 4, 3, {"no JSON": 1})
    assert made.record.figures["license"] == "CC0-1.0"
    assert (made.folder / "unread.tsv").read_text().startswith("t.jsonl.gz\tno JSON\tline 2\t")


def test_limit_reads_only_so_many_rows(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(LINES)
    made = Workshop(tmp_path / "runs").make(Table(file=LocalPath(tmp_path / "t.jsonl"), limit=2))
    assert [row.text for row in made.rows()] == ["First."]
    assert made.record.ledger.lines[0].came == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.jsonl", '{"body": "x"}\n', "holds no text"),
        ("t.xlsx", "", "is no table"),
        ("t.parquet", "junk", "holds no text"),
    ],
)
def test_a_table_that_gives_nothing_is_a_mistake(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Mistake, match=message) as raised:
        Workshop(tmp_path / "runs").make(Table(file=LocalPath(tmp_path / name)))
    assert raised.value.found


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.jsonl", '{"text": "x"}\nnot json\n', "t.jsonl:2 is no JSON"),
        ("t.jsonl", "[1]\n", "t.jsonl:1 is no JSON object"),
        ("t.xlsx", "", "is no table"),
        ("t.parquet", "junk", "no readable Parquet"),
    ],
)
def test_rows_written_by_hand_let_nothing_pass(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Mistake, match=message):
        list(rows(tmp_path / name))


def test_rows_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\nx,1\n")
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "x", "label": "1"}))
    assert list(rows(tmp_path / "t.csv")) == list(rows(tmp_path / "t.jsonl")) == [{"text": "x", "label": "1"}]
