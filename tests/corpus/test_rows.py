"""Tables with a column of text."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.corpus.reading import read

ROWS: list[dict[str, Any]] = [
    {"text": "First text.", "name": "a", "lang": "en", "lic": "CC0-1.0"},
    {"text": "", "name": "b", "lang": None, "lic": None},
    {"text": 'Zwei,\n"drei" 四', "name": "c", "lang": "de", "lic": None},
]


def table(suffix: str) -> bytes:
    if suffix == "jsonl":
        return "\n".join(json.dumps(row) for row in ROWS).encode()
    if suffix == "json":
        return json.dumps(ROWS, indent=1).encode()
    if suffix == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(ROWS), out)
        return out.getvalue()
    import csv

    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROWS[0]), dialect="excel-tab" if suffix == "tsv" else "excel")
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_documents(suffix: str) -> None:
    found = read(f"t.{suffix}", table(suffix), title_column="name", language_column="lang", license_column="lic")
    first, last = found.contents
    assert (first.text, first.title, first.language, first.license) == ("First text.", "a", "en", "CC0-1.0")
    assert (last.text, last.title, last.language, last.license) == ('Zwei,\n"drei" 四', "c", "de", None)
    word = "line" if suffix == "jsonl" else "row"
    assert [content.part for content in found.contents] == [f"{word} 1", f"{word} 3"]
    assert found.reasons == {f"t.{suffix} {word} 2": "no text in the row"}


def test_a_broken_line_is_named_and_the_rest_is_read() -> None:
    lines = [b'{"text": "one"}', b"", b"{broken", b"[1]", b'{"text": 3}', b'{"text": "\xff"}', b'{"body": "x"}',
             b"[" * 100_000, b'{"text": "two"}']  # fmt: skip
    found = read("t.jsonl", b"\n".join(lines))
    assert found.texts == {"t.jsonl line 1": "one", "t.jsonl line 9": "two"}
    assert found.reasons == {
        "t.jsonl line 3": "no JSON",
        "t.jsonl line 4": "no JSON object",
        "t.jsonl line 5": "not text",
        "t.jsonl line 6": "invalid UTF-8",
        "t.jsonl line 7": "no column 'text' in the row",
        "t.jsonl line 8": "nested too deeply",
    }


def test_a_line_beyond_the_limit_is_left_out_alone() -> None:
    found = read("t.jsonl", b'{"text": "a"}\n{"text": "' + b"x" * 5000 + b'"}\n{"text": "b"}\n', max_bytes=1000)
    assert list(found.texts.values()) == ["a", "b"] and found.reasons == {"t.jsonl line 2": "larger than the limit"}


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_a_table_without_the_column_is_none_of_ours(suffix: str) -> None:
    found = read(f"t.{suffix}", table(suffix), column="body")
    assert found.reasons == {f"t.{suffix}": "table without the column 'body'"}


def test_json_that_is_no_table_is_text_as_it_stands() -> None:
    for data in (b'{"a":  [1,\n2]}\n', b'// comment\n{"a": 1}\n', b'{"a": 1}\n{"a": 2}\n', b"[" * 100_000):
        assert read("t.json", data).only.text.encode() == data
    assert read("t.json", b'{"text": "said", "x": 1}').only.text == "said"


def test_a_csv_row_with_a_nul_or_one_too_long_is_left_out_alone() -> None:
    data = b"id,text\n1,one\n2,t\0wo\n3," + b"x" * 5000 + b"\n4,four\n5\n" + b"6,six\n" * 20
    found = read("t.csv", data, max_bytes=1000)
    assert list(found.texts.values()) == ["one", "four"] + ["six"] * 20
    assert found.reasons == {
        "t.csv row 2": "NUL character in the row",
        "t.csv row 3": "larger than the limit",
        "t.csv row 5": "no column 'text' in the row",
    }


@pytest.mark.parametrize(
    ("text", "charset", "delimiter"),
    [
        ("Größe und Länge", "cp1252", ";"),
        ("数据库是按照数据结构来组织存储和管理数据的仓库", "gb18030", ","),
        ("Größe 四", "utf-16", "\t"),
        ("plain", "utf-8-sig", "|"),
    ],
)
def test_a_csv_file_may_be_in_another_charset_and_have_another_delimiter(
    text: str, charset: str, delimiter: str
) -> None:
    data = "\r\n".join([f"id{delimiter}text", f'1{delimiter}"{text}"', f"2{delimiter}{text}"]).encode(charset)
    assert list(read("t.csv", data).texts.values()) == [text, text]


def test_bytes_that_are_not_in_the_charset_of_the_beginning_end_the_table() -> None:
    data = b"id,text\n" + b"1,plain words\n" * 30000 + b"2,caf\xe9 \xff\xfe\n"
    found = read("t.csv", data)
    assert len(found.texts) == 30000 and list(found.reasons) == ["t.csv"]


def test_a_damaged_parquet_file_has_its_reason() -> None:
    data = table("parquet")
    assert list(read("t.parquet", data[:-20]).reasons.values()) == ["damaged Parquet file"]
    assert list(read("t.parquet", b"PAR1junk").reasons.values()) == ["damaged Parquet file"]


def test_a_table_in_an_archive_is_a_table() -> None:
    from tests.corpus.reading import zipped

    found = read("all.zip", zipped({"a/t.parquet": table("parquet")}))
    assert list(found.texts) == ["all.zip!/a/t.parquet row 1", "all.zip!/a/t.parquet row 3"]
