"""Stores behind URLs: listed in a fixed order, read through the step, tried again where they do not answer."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metier.core import Failure, Mistake, Workshop
from metier.corpus import Read, Table
from metier.corpus.read import remote as module
from metier.corpus.read.remote import Remote
from tests.corpus.reading import zipped
from tests.corpus.test_rows import table


@pytest.fixture
def memory() -> Iterator[Any]:
    """A store in this process's memory: no other process can reach it."""
    import fsspec

    system = fsspec.filesystem("memory")
    members = {
        "a.txt": b"first", "b/LICENSE": b"SPDX-License-Identifier: MIT", "b/c.py": b"x = 1\n",
        "b/t.parquet": table("parquet"), "d.zip": zipped({"m.md": "# M"}), "e.png": b"\x89PNG", ".hidden.txt": b"no",
        "f.jsonl": b'{"text": "row"}\n' * 3,
    }  # fmt: skip
    for name, data in members.items():
        system.pipe_file(f"/bucket/docs/{name}", data)
    yield system
    system.rm("/bucket", recursive=True)


def test_a_store_is_read_like_a_folder(memory: Any, tmp_path: Path) -> None:
    made = Workshop(tmp_path / "runs").make(Read(folder="memory://bucket/docs"))
    assert [(row.source, row.part, row.license) for row in made.rows()] == [
        ("a.txt", "", None),
        ("d.zip!/m.md", "", None),
        ("f.jsonl", "line 1", None),
        ("f.jsonl", "line 2", None),
        ("f.jsonl", "line 3", None),
        ("b/LICENSE", "", "MIT"),
        ("b/c.py", "", "MIT"),
        ("b/t.parquet", "row 1", "MIT"),
        ("b/t.parquet", "row 3", "MIT"),
    ]
    assert made.record.ledger.lines[0].dropped == {"not a readable kind of file (.png)": 1}


@pytest.mark.slow
def test_a_url_may_name_one_file_and_a_local_folder(memory: Any, tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "runs")
    assert [row.text for row in shop.make(Table(file="memory://bucket/docs/f.jsonl", limit=2)).rows()] == ["row"] * 2
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("text")
    assert [row.source for row in shop.make(Read(folder=f"file://{tmp_path}/in")).rows()] == ["a.txt"]


@pytest.mark.slow
def test_a_label_reads_the_place_again(memory: Any, tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "runs")
    shop.make(Read(folder="memory://bucket/docs", include=("a.txt",)))
    memory.pipe_file("/bucket/docs/a.txt", b"changed")
    again = shop.make(Read(folder="memory://bucket/docs", include=("a.txt",)))
    assert next(again.rows()).text == "first"
    later = shop.make(Read(folder="memory://bucket/docs", include=("a.txt",), as_of="2026-11"))
    assert next(later.rows()).text == "changed"


@pytest.mark.parametrize(
    ("url", "message"),
    [("memory://bucket/nowhere", "does not exist"), ("nosuch://x/y", "cannot be opened")],
)
def test_a_url_that_leads_nowhere_is_a_mistake(memory: Any, tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(Mistake, match=message):
        Workshop(tmp_path / "runs").make(Read(folder=url))


def test_pages_of_the_web_are_not_fetched_by_reading() -> None:
    with pytest.raises(ValueError, match="crawl"):
        Read(folder="https://example.com/handbook")


class Flaky:
    """A file system whose connection breaks now and then."""

    def __init__(self, breaks: int, error: Exception) -> None:
        self.breaks, self.error, self.data = breaks, error, b"0123456789" * 1000

    def open(self, place: str, mode: str, block_size: int) -> io.BytesIO:
        self.breaks -= 1
        if self.breaks >= 0:
            raise self.error
        return io.BytesIO(self.data)


def flaky(breaks: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    remote = Remote("memory://bucket")
    remote.system = Flaky(breaks, error)
    return remote


def test_a_broken_connection_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = flaky(3, ConnectionError("reset"), monkeypatch).open("a.txt")
    stream.seek(5)
    assert stream.read(4) == b"5678"
    with pytest.raises(Failure, match="does not answer"):
        flaky(9, ConnectionError("reset"), monkeypatch).open("a.txt").read(4)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), PermissionError(13, "Access Denied")])
def test_what_is_gone_or_forbidden_is_not_tried_again(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = flaky(1, error, monkeypatch)
    with pytest.raises(type(error)):
        remote.open("a.txt").read(4)
    assert remote.open("a.txt").read(4) == b"0123"


@pytest.mark.slow
def test_a_store_that_fails_in_the_middle_ends_the_step_and_keeps_what_is_read(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("metier.corpus.read.listing._MOST_FILES", 1)
    opened = type(memory).open
    down = [True]

    def failing(self: Any, path: str, *arguments: Any, **more: Any) -> Any:
        if path.endswith("c.py") and down[0]:
            raise ConnectionError("reset by peer")
        return opened(self, path, *arguments, **more)

    monkeypatch.setattr(type(memory), "open", failing)
    shop = Workshop(tmp_path / "runs")
    step = Read(folder="memory://bucket/docs")
    with pytest.raises(Failure, match="does not answer"):
        shop.make(step)
    down[0] = False
    made = shop.make(step)
    assert len(list(made.rows())) == 9 and made.events("going on")
    assert json.loads((made.folder / "record.json").read_text())["attempts"] == 2
