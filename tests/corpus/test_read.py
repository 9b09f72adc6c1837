"""The step `read`: folders of anything, faults, and going on after a kill."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metier.core import Host, LocalPath, Mistake, Workshop
from metier.core.types import Documents
from metier.corpus import Read
from metier.corpus.engine.pool import open_pool
from tests.corpus.readers import ALL
from tests.corpus.reading import docx, locked_pdf, paragraph, pdf, zipped

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"


def make(folder: Path, runs: Path, threads: int = 2, **fields: Any) -> Documents:
    host = replace(Host.here(), threads=threads)
    return Workshop(runs, host).make(Read(folder=LocalPath(folder), **fields))


def outputs(made: Documents) -> dict[str, bytes]:
    """Return everything that the step wrote, its record and events apart."""
    return {
        path.relative_to(made.folder).as_posix(): path.read_bytes()
        for path in sorted(made.folder.rglob("*"))
        if path.is_file() and path.name not in ("record.json", "events.jsonl")
    }


def unread(made: Documents) -> dict[str, str]:
    rows = [line.split("\t") for line in (made.folder / "unread.tsv").read_text().splitlines()]
    return {f"{source} {part}".strip(): reason for source, reason, part, _ in rows}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """A folder with one of each kind of trouble, and good files around it, read once."""
    base = tmp_path_factory.mktemp("faults")
    folder = base / "share"
    (folder / "code" / "src").mkdir(parents=True)
    (base / "outside.txt").write_text("outside")
    contents: dict[str, bytes] = {
        "a.txt": b"good\n", "z.md": b"# Last\n\ngood\n", "code/LICENSE": MIT.encode(), "code/src/x.c": b"int x;\n",
        "corrupt.pdf": b"%PDF-1.4\nnothing", "locked.pdf": locked_pdf(), "scan.pdf": pdf([]),
        "bomb.zip": zipped({"a.txt": b" a" * 40_000_000}), "laughs.docx": docx(paragraph("x"), "<!DOCTYPE a>"),
        "endless.txt": b"x" * 3_000_000, "cut.txt.gz": gzip.compress(b"text " * 9999)[:-20],
        "photo.txt": b"\x89PNG\r\n\x1a\n",
        "rows.jsonl": b'{"text": "one"}\n{broken\n{"text": "two"}\n', "nul.csv": b"text\none\nt\0wo\n" + b"more\n" * 50,
        "wide.txt": b"\xff\xfe" + ("words " * 50).encode("utf-16-le") + b"\x00\xd8\x20\x00", "empty.html": b"",
        "climb.zip": zipped({"../up.txt": "x", "ok.txt": "ok"}), "photo.jpg": b"\xff\xd8\xff", "my.abc": b"own",
        "hang.hangs": b"", "eat.eats": b"x", "crash.crashes": b"x",
    }  # fmt: skip
    contents["hang.hangs"] = b"x"
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    with (folder / "sparse.txt").open("wb") as out:
        out.truncate(300_000_000)
    os.mkfifo(folder / "pipe.txt")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    (folder / "out.txt").symlink_to(base / "outside.txt")
    (folder / "inside.txt").symlink_to("a.txt")
    (folder / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"named in Latin-1\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "config.txt").write_text("hidden")
    place = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(folder)  # a socket's path may not be long
    place.bind("talk.txt")
    os.chdir(here)
    readers = {".abc": ALL[".good"], **{name: ALL[name] for name in (".hangs", ".eats", ".crashes")}}
    return make(folder, base / "runs", threads=1, readers=readers, max_seconds=4.0, max_memory_gigabytes=0.7)


def test_each_bad_file_is_named_with_its_reason(faults: Documents) -> None:
    assert unread(faults) == {
        "corrupt.pdf": "unreadable PDF",
        "locked.pdf": "locked by a password",
        "scan.pdf": "PDF without text",
        "bomb.zip": "unpacks to more than the limit",
        "laughs.docx": "XML with a document type",
        "endless.txt": "too long without white space",
        "cut.txt.gz": "compressed file cut short",
        "photo.txt": "binary file",
        "rows.jsonl line 2": "no JSON",
        "nul.csv row 2": "NUL character in the row",
        "wide.txt": "invalid UTF-16",
        "empty.html": "empty file",
        "climb.zip ../up.txt": "path leaves the archive",
        "photo.jpg": "not a readable kind of file (.jpg)",
        "hang.hangs": "reading took too long",
        "eat.eats": "reading took too much memory",
        "crash.crashes": "reader crashed",
        "sparse.txt": "larger than the limit",
        "pipe.txt": "not a regular file",
        "talk.txt": "not a regular file",
        "loop": "broken link",
        "circle": "link to a folder",
        "out.txt": "link out of the folder",
    }


def test_everything_else_is_read_in_its_order(faults: Documents) -> None:
    assert [f"{row.source} {row.part}".strip() for row in faults.rows()] == [
        "a.txt", "caf?.txt", "climb.zip!/ok.txt", "inside.txt", "my.abc",
        *(f"nul.csv row {number}" for number in range(1, 53) if number != 2),
        "rows.jsonl line 1", "rows.jsonl line 3", "z.md", "code/LICENSE", "code/src/x.c",
    ]  # fmt: skip
    rows = {row.source: row for row in faults.rows()}
    assert rows["code/src/x.c"].license == rows["code/LICENSE"].license == "MIT" and rows["a.txt"].license is None
    assert rows["my.abc"].text == "my.abc: own"
    assert len({row.id for row in faults.rows()}) == len(list(faults.rows()))


def test_the_ledger_counts_every_file_and_every_part(faults: Documents) -> None:
    files, parts = faults.record.ledger.lines
    assert (files.unit, files.came, files.kept, files.made) == ("file", 30, 10, {"document": 61})
    assert files.dropped["not a regular file"] == 2 and sum(files.dropped.values()) == 20
    assert (parts.unit, parts.came, parts.kept) == ("part", 57, 54)
    assert parts.dropped == {"no JSON": 1, "NUL character in the row": 1, "path leaves the archive": 1}


def corpus(folder: Path, seed: int = 0) -> Path:
    """Write some megabytes of files of several kinds."""
    rng = random.Random(seed)
    folder.mkdir()

    def words(count: int) -> str:
        return " ".join(f"word{rng.randrange(10_000)}" for _ in range(count))

    for number in range(30):
        (folder / f"t{number:02d}.txt").write_text(words(rng.randrange(1, 2000)))
    lines = [json.dumps({"text": words(400)}) if at % 7 else "broken" for at in range(300)]
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 1))
    (folder / "all.zip").write_bytes(zipped({f"{number}.md": words(800) for number in range(40)}))
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4\n")
    return folder


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.core.tables.WEIGHT_PER_SHARD", 120_000)
    monkeypatch.setattr("metier.corpus.read.listing._LEAST_BYTES", 200_000)


@pytest.mark.usefixtures("small_shards")
def test_the_bytes_are_the_same_whoever_reads_and_however_often_he_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metier.corpus.read.journal import Entry, Journal

    folder = corpus(tmp_path / "in")
    whole = make(folder, tmp_path / "whole", threads=1)
    assert len(whole.shards) > 8
    assert outputs(make(folder, tmp_path / "three", threads=3)) == outputs(whole)

    added = Journal.add
    stops = [6]

    def stopping(self: Journal, entry: Entry) -> None:
        added(self, entry)
        stops[0] -= 1
        if not stops[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "add", stopping)
    attempts = 0
    while True:
        attempts += 1
        try:
            made = make(folder, tmp_path / "stopped", threads=attempts % 2 + 1)
            break
        except KeyboardInterrupt:
            stops[0] = 6
    assert attempts > 1 and outputs(made) == outputs(whole)
    assert made.record.ledger == whole.record.ledger and made.record.figures == whole.record.figures
    went_on = [event["shards"] for event in made.events("going on")]
    assert went_on == sorted(went_on) and went_on[0] > 0


@pytest.mark.slow
def test_a_pool_reads_the_same_bytes_as_threads_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a cluster does, on the pool of this machine.
    monkeypatch.setattr("metier.corpus.read.listing._LEAST_BYTES", 80_000)
    folder = corpus(tmp_path / "in")
    whole = make(folder, tmp_path / "whole", threads=1)
    host = replace(Host.here(), threads=2, cluster="pool")

    def local(host: Host, *arguments: Any, **more: Any) -> Any:
        return open_pool(replace(host, cluster=None), *arguments, **more)

    monkeypatch.setattr("metier.corpus.engine.pool.open_pool", local)
    made = Workshop(tmp_path / "pooled", host).make(Read(folder=LocalPath(folder)))
    assert outputs(made) == outputs(whole) and made.record.ledger == whole.record.ledger


# Reads a folder and kills itself at the given number of files opened or renamed in the workshop.
PROGRAM = """
import os, signal, sys
from dataclasses import replace
import metier.core.tables, metier.corpus.read.listing
metier.core.tables.WEIGHT_PER_SHARD = 120_000
metier.corpus.read.listing._LEAST_BYTES = 200_000
from metier.core import Host, LocalPath, Workshop
from metier.corpus import Read
left = int(sys.argv[3])
def count(event, arguments):
    global left
    if event in ("open", "os.rename") and str(arguments[0]).startswith(sys.argv[2]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
Workshop(sys.argv[2], replace(Host.here(), threads=2)).make(Read(folder=LocalPath(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("small_shards")
def test_a_step_killed_anywhere_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "in")
    whole = make(folder, tmp_path / "whole", threads=1)
    kills, done = 0, False
    while not done:
        command = [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path / "killed"), str(8 + 8 * kills)]
        code = subprocess.run(command, timeout=120).returncode
        assert code in (0, -signal.SIGKILL)
        done = code == 0
        kills += not done
    assert kills > 1
    assert outputs(make(folder, tmp_path / "killed")) == outputs(whole)


@pytest.mark.slow
def test_reading_processes_die_with_a_step_that_is_killed(tmp_path: Path) -> None:
    import psutil

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.hangs_in_c").write_bytes(b"x")
    fields = f"folder=LocalPath({str(tmp_path / 'in')!r}), readers={{'.hangs_in_c': {ALL['.hangs_in_c']!r}}}"
    code = (
        "from metier.core import *\nfrom metier.corpus import Read\n"
        f"Workshop({str(tmp_path / 'runs')!r}).make(Read({fields}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        children: list[psutil.Process] = []
        while not children and time.monotonic() < deadline:
            children = [child for child in psutil.Process(process.pid).children() if child.cpu_times().user > 0.1]
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert children
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_another_listing_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file of the same content, touched: it may have been another in between.
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.txt"
    path.write_text("one")
    make(tmp_path / "in", tmp_path / "runs")
    record = next((tmp_path / "runs").glob("read-*")) / "record.json"
    record.unlink()
    os.utime(path, (1, 1))
    made = make(tmp_path / "in", tmp_path / "runs")
    assert [row.text for row in made.rows()] == ["one"] and len(made.shards) == 1


# Root may read everything; without these two capabilities (see capabilities(7)) it is a user like others.
WITHOUT_POWERS = """
import ctypes, os, sys
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.slow
def test_what_may_not_be_read_has_its_reason_and_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "closed").mkdir(parents=True)
    for name in ("a.txt", "secret.txt", "closed/b.txt"):
        (folder / name).write_text("text")
    (folder / "secret.txt").chmod(0)
    (folder / "closed").chmod(0)
    code = (
        "import sys\nfrom pathlib import Path\nfrom metier.core import *\nfrom metier.corpus import Read\n"
        "try:\n    Path(sys.argv[1], 'secret.txt').read_text()\n    sys.exit('can read')\n"
        "except PermissionError:\n    pass\n"
        "print(Workshop(sys.argv[2]).make(Read(folder=LocalPath(sys.argv[1]))).folder)"
    )
    command = [sys.executable, "-c", WITHOUT_POWERS, "-c", code, str(folder), str(tmp_path / "runs")]
    told = subprocess.run(command, capture_output=True, text=True)
    (folder / "closed").chmod(0o700)
    if "can read" in told.stderr:
        pytest.skip("this user may read everything")
    assert told.returncode == 0, told.stderr
    assert unread(Documents(Path(told.stdout.strip()))) == {
        "secret.txt": "unreadable file (Permission denied)",
        "closed/": "unreadable folder (Permission denied)",
    }


def test_a_single_file_is_a_place_too(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "one", "l": "MIT"}\n{"body": "two"}\n')
    made = make(tmp_path / "a.jsonl", tmp_path / "runs", column="body", license_column="l", license="CC0-1.0")
    assert [(row.source, row.part, row.license) for row in made.rows()] == [
        ("a.jsonl", "line 1", "MIT"),
        ("a.jsonl", "line 2", "CC0-1.0"),
    ]


def test_patterns_choose_and_what_they_leave_out_is_counted(tmp_path: Path) -> None:
    (tmp_path / "in" / "b").mkdir(parents=True)
    for name in ("a.md", "b/c.md", "b/d.txt"):
        (tmp_path / "in" / name).write_text("text")
    made = make(tmp_path / "in", tmp_path / "runs", include=("*.md",), exclude=("b/*",))
    assert [row.source for row in made.rows()] == ["a.md"]
    assert made.record.ledger.lines[0].dropped == {"left out by include or exclude": 2}
    assert not unread(made)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"folder": "nowhere"}, "does not exist"),
        ({"folder": "empty"}, "holds no files"),
        ({"folder": "binary"}, "could be read"),
        ({"folder": "binary", "readers": {".bin": "no.such:thing"}}, "cannot be imported"),
    ],
)
def test_what_gives_nothing_is_a_mistake(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "a.bin").write_bytes(bytes(range(256)))
    fields["folder"] = LocalPath(tmp_path / fields["folder"])
    with pytest.raises(Mistake, match=message) as raised:
        Workshop(tmp_path / "runs").make(Read(**fields))
    assert raised.value.hint


def test_a_plan_knows_how_long_reading_takes(tmp_path: Path) -> None:
    corpus(tmp_path / "in")
    estimate = Read(folder=LocalPath(tmp_path / "in")).estimate(Host.here())
    assert estimate is not None and estimate.seconds and 1 <= estimate.seconds < 10
    assert Read(folder="s3://bucket/folder").estimate(Host.here()) is None


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_size_of_a_file(tmp_path: Path) -> None:
    # 600 MB in one table: the step and its reading processes together stay far below.
    (tmp_path / "in").mkdir()
    line = json.dumps({"text": " ".join(f"word{at}" for at in range(4000))}) + "\n"
    with (tmp_path / "in" / "big.jsonl").open("w") as out:
        for _ in range(600_000_000 // len(line)):
            out.write(line)
    code = (
        "import sys, threading, time, psutil\n"
        "from metier.core import *\nfrom metier.corpus import Read\n"
        "me, most = psutil.Process(), [0]\n"
        "def watch():\n"
        "    while True:\n"
        "        found = [me, *me.children(recursive=True)]\n"
        "        most[0] = max(most[0], sum(p.memory_info().rss for p in found if p.is_running()))\n"
        "        time.sleep(0.05)\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "Workshop(sys.argv[2]).make(Read(folder=LocalPath(sys.argv[1])))\n"
        "print(most[0])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "in", tmp_path / "runs"], capture_output=True, text=True, check=True
    )
    assert int(told.stdout.split()[-1]) < 500_000_000
