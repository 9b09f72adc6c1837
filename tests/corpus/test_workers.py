from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from metier.corpus.formats import Content, Unread
from metier.corpus.workers import CRASHED, TIMED_OUT, Limits, Readers

LIMITS = Limits(seconds=20, bytes=1_000_000, memory_bytes=4 << 30)


def texts(folder: Path, count: int) -> list[Path]:
    for number in range(count):
        (folder / f"{number:03d}.txt").write_text(f"text {number}")
    return sorted(folder.iterdir())


def test_results_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    paths = texts(tmp_path, 300)
    with Readers(2, LIMITS) as readers:
        read = list(readers.read(paths))
    assert [content.text for content in read if isinstance(content, Content)] == [f"text {n}" for n in range(300)]


def test_a_file_that_hangs_is_given_up_and_the_rest_is_read(tmp_path: Path) -> None:
    paths = texts(tmp_path, 4)
    pipe = tmp_path / "001a.txt"
    os.mkfifo(pipe)  # opening it blocks for ever
    paths.insert(2, pipe)
    with Readers(1, LIMITS._replace(seconds=1)) as readers:
        read = list(readers.read(paths))
    assert read[2] == TIMED_OUT
    assert [type(content) for content in read] == [Content, Content, Unread, Content, Content]


def test_files_behind_a_slow_one_are_all_read(tmp_path: Path) -> None:
    # The other worker runs as far ahead as it may; when the slow file is given up, nothing is in flight.
    paths = texts(tmp_path, 300)
    os.mkfifo(tmp_path / "pipe.txt")
    with Readers(2, LIMITS._replace(seconds=1)) as readers:
        list(readers.read(paths[:2]))  # started, so that the time limit is a second
        read = list(readers.read([tmp_path / "pipe.txt", *paths]))
    assert len(read) == 301 and read[0] == TIMED_OUT


def test_a_killed_worker_costs_one_file(tmp_path: Path) -> None:
    paths = texts(tmp_path, 6)
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    with Readers(1, LIMITS) as readers:
        stream = readers.read([paths[0], pipe, *paths[1:]])
        assert isinstance(next(stream), Content)
        time.sleep(0.2)
        os.kill(readers._workers[0]._process.pid, signal.SIGKILL)
        rest = list(stream)
    assert rest[0] == CRASHED and all(isinstance(content, Content) for content in rest[1:])


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_text("x" * 2000)
    with Readers(1, LIMITS._replace(bytes=1000)) as readers:
        assert list(readers.read([tmp_path / "big.txt", tmp_path / "gone.txt"])) == [
            Unread("larger than the limit"),
            Unread("unreadable file (No such file or directory)"),
        ]
