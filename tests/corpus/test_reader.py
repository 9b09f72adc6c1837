"""Reading processes: what a bad file costs, and what it does not."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest

from metier.corpus.read.reader import Limits, Reader
from metier.corpus.read.sources import Options
from metier.corpus.read.wire import DOCUMENT, END, UNREAD, File, Row
from tests.corpus.readers import ALL
from tests.corpus.reading import zipped

LIMITS = Limits(seconds=20, memory_bytes=700 << 20)


def files(folder: Path, contents: dict[str, bytes]) -> list[File]:
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [File(at, name, str(folder / name), len(data)) for at, (name, data) in enumerate(contents.items())]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(Options(readers=ALL, max_bytes=1_000_000), LIMITS, tmp_path)
    yield made
    made.close()


def told(rows: Iterator[tuple[Row, memoryview]]) -> list[str]:
    """Return what came, in order: texts, reasons with their sources, and ends as numbers of files."""
    out = []
    for row, text in rows:
        if row.kind == DOCUMENT:
            out.append(str(text, "utf-8"))
        else:
            out.append(f"{row.source}: {row.reason}" if row.kind == UNREAD else f"end {row.file}")
    return out


def test_files_that_take_a_process_down_cost_themselves_alone(tmp_path: Path, reader: Reader) -> None:
    names = ["a.good", "b.crashes", "c.good", "d.eats", "f.fails", "h.dies_once", "i.good"]
    contents = {name: name[0].encode() for name in names}
    contents["h.dies_once"] = str(tmp_path / "mark").encode()
    assert told(reader.read(files(tmp_path, contents))) == [
        "a.good: a", "end 0", "b.crashes: reader crashed", "end 1", "c.good: c", "end 2",
        "d.eats: reading took too much memory", "end 3", "f.fails: reader failed (KeyError)", "end 4",
        "read the second time", "end 5", "i.good: i", "end 6",
    ]  # fmt: skip


def test_a_parser_that_hangs_is_given_up_even_in_c(tmp_path: Path, reader: Reader) -> None:
    listed = files(tmp_path, {"a.good": b"a", "b.hangs_in_c": b"b", "c.good": b"c"})
    assert told(reader.read(listed[:1])) == ["a.good: a", "end 0"]  # started: the limit is now a second
    reader._limits = Limits(0.4, 700 << 20)
    assert told(reader.read(listed)) == [
        "a.good: a", "end 0", "b.hangs_in_c: reading took too long", "end 1", "c.good: c", "end 2",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_member_of_an_archive_that_takes_it_down_costs_itself_alone(tmp_path: Path, reader: Reader) -> None:
    inner = zipped({"x.good": "x", "y.crashes": "y", "z.good": "z"})
    data = zipped({"a.good": "a", "b.crashes": "b", "inner.zip": inner, "c.eats": "c", "d.good": "d"})
    assert told(reader.read(files(tmp_path, {"o.zip": data}))) == [
        "a.good: a", "o.zip!/b.crashes: reader crashed", "x.good: x", "o.zip!/inner.zip!/y.crashes: reader crashed",
        "z.good: z", "o.zip!/c.eats: reading took too much memory", "d.good: d", "end 0",
    ]  # fmt: skip


@pytest.mark.slow
def test_an_archive_of_nothing_but_bad_files_is_given_up_in_the_end(
    tmp_path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.corpus.read.reader._MOST_LOSSES", 4)
    data = zipped({f"{number}.crashes": "x" for number in range(20)} | {"z.good": "z"})
    out = told(reader.read(files(tmp_path, {"o.zip": data, "p.good": b"p"})))
    assert out[-3:] == ["end 0", "p.good: p", "end 1"] and len(out) < 8


@pytest.mark.slow
def test_a_killed_process_costs_nothing(tmp_path: Path, reader: Reader) -> None:
    listed = files(tmp_path, {f"{number:02d}.slow": b"x" * number for number in range(40)})
    stream = reader.read(listed)
    next(stream)
    assert reader._process is not None
    os.kill(reader._process.pid, signal.SIGKILL)
    rows = list(stream)
    assert [row.kind for row, _ in rows].count(DOCUMENT) == 39 and UNREAD not in {row.kind for row, _ in rows}


def test_special_files_do_not_block(tmp_path: Path, reader: Reader) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    listed = [File(0, "pipe.txt", str(tmp_path / "pipe.txt"), 0), File(1, "gone.txt", str(tmp_path / "gone.txt"), 0)]
    assert told(reader.read(listed)) == [
        "pipe.txt: unreadable file (not a regular file)", "end 0",
        "gone.txt: unreadable file (No such file or directory)", "end 1",
    ]  # fmt: skip


def test_a_file_of_four_gigabytes_in_one_line_is_not_read(tmp_path: Path, reader: Reader) -> None:
    with (tmp_path / "big.txt").open("wb") as out:
        out.truncate(4 << 30)
    listed = [File(0, "big.txt", str(tmp_path / "big.txt"), 4 << 30)]
    assert told(reader.read(listed)) == ["big.txt: larger than the limit", "end 0"]


@pytest.mark.slow
def test_a_row_of_four_gigabytes_is_passed_over_and_the_next_is_read(tmp_path: Path) -> None:
    with (tmp_path / "big.jsonl").open("wb") as out:
        out.write(b'{"text": "first"}\n{"text": "')
        out.seek(4 << 30)
        out.write(b'"}\n{"text": "last"}\n')
    listed = [File(0, "big.jsonl", str(tmp_path / "big.jsonl"), None)]
    reader = Reader(Options(readers=ALL, max_bytes=1_000_000), LIMITS._replace(seconds=240), tmp_path)  # on a busy disk
    with closing(reader):
        assert told(reader.read(listed)) == ["first", "big.jsonl: larger than the limit", "last", "end 0"]


def test_reading_goes_on_behind_a_place(tmp_path: Path, reader: Reader) -> None:
    lines = "\n".join(f'{{"text": "{number}"}}' for number in range(1000)).encode()
    listed = files(tmp_path, {"t.jsonl": lines, "b.good": b"b"})
    rows = [(row, bytes(text)) for row, text in reader.read(listed)]
    for at in (0, 499, 999):
        assert [(row, bytes(text)) for row, text in reader.read(listed, rows[at][0].cursor)] == rows[at + 1 :]


@pytest.mark.slow
def test_a_process_that_holds_on_to_memory_makes_room_for_a_fresh_one(tmp_path: Path, reader: Reader) -> None:
    listed = files(tmp_path, {"a.good": b"a", "b.hoards": b"b", "c.good": b"c"})
    processes = []
    for row, _ in reader.read(listed):
        assert row.kind != UNREAD
        processes += [reader._process] if row.kind == END else []
    assert processes[0] is processes[1] is not processes[2]


def test_bytes_come_from_whoever_opens_the_file(tmp_path: Path) -> None:
    held = {"a.txt": b"text", "b.zip": zipped({"m.txt": "member"})}
    asked = []

    def opener(file: File) -> BinaryIO:
        asked.append(file.name)
        if file.name not in held:
            raise FileNotFoundError(2, "No such file or directory")
        return io.BytesIO(held[file.name])

    reader = Reader(Options(), LIMITS, tmp_path, opener)
    listed = [File(at, name, None, len(held.get(name, b""))) for at, name in enumerate([*held, "gone.txt"])]
    out = told(reader.read(listed))
    reader.close()
    assert out == [
        "text", "end 0", "member", "end 1", "gone.txt: unreadable file (No such file or directory)", "end 2",
    ]  # fmt: skip
    assert asked == [*held, "gone.txt"]


def test_what_utf8_cannot_write_is_replaced_wherever_it_stands(tmp_path: Path, reader: Reader) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in (b"caf\xe9.good", b"caf\xe9.fails"):
            info = tarfile.TarInfo(os.fsdecode(name))
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    reader._options = reader._options._replace(title_column="t", language_column="t", license_column="t")
    contents = {"a.tar": out.getvalue(), "b.jsonl": b'{"text": "x\\ud800", "t": "\\ud800"}'}
    for row, text in reader.read(files(tmp_path, contents)):
        assert str(text, "utf-8") in ("caf?.good: x", "x?", "")
        assert all(value.encode().decode() == value for value in row if isinstance(value, str))
