from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from metier.core import LocalPath, Mistake, Workshop
from metier.corpus import Table

ROWS = [{"text": "First text.", "name": "a"}, {"text": "", "name": "b"}, {"text": 'Zwei,\n"drei" 四', "name": "c"}]


def write(path: Path) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, ["text", "name"], dialect="excel-tab" if path.suffix == ".tsv" else "excel")
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_format_gives_the_same_documents(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}")
    made = Workshop(tmp_path / "runs").make(Table(file=LocalPath(path), title_column="name", license="CC0"))
    assert [(row.text, row.title, row.source) for row in made.rows()] == [
        ("First text.", "a", f"t{suffix}#1"),
        ('Zwei,\n"drei" 四', "c", f"t{suffix}#3"),
    ]
    line = made.record.ledger.lines[0]
    assert (line.came, line.kept, line.dropped) == (3, 2, {"no text in the row": 1})
    assert made.record.figures["license"] == "CC0"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.jsonl", '{"body": "x"}\n', "t.jsonl:1 has no 'text'"),
        ("t.jsonl", '{"text": "x"}\nnot json\n', "t.jsonl:2 is no JSON"),
        ("t.jsonl", "[1]\n", "t.jsonl:1 is no JSON object"),
        ("t.xlsx", "", "is no table"),
        ("t.parquet", "junk", "no readable Parquet"),
        ("t.jsonl", '{"text": ""}\n', "holds no text"),
    ],
)
def test_a_bad_table_is_a_mistake_that_names_the_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Mistake, match=message):
        Workshop(tmp_path / "runs").make(Table(file=LocalPath(tmp_path / name)))


def test_limit_reads_only_so_many_rows(tmp_path: Path) -> None:
    made = Workshop(tmp_path / "runs").make(Table(file=LocalPath(write(tmp_path / "t.jsonl")), limit=1))
    assert len(list(made.rows())) == 1
