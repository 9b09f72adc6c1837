"""Data sets in the layout of the Hugging Face hub."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest

from metier.core import LocalPath, Mistake, Workshop
from metier.corpus import HubDataset
from metier.corpus.read.hub_layout import choose_files, front_matter, language_of, license_of
from tests.corpus.test_rows import table

CARD = """---
license: cc-by-sa-4.0
language: [de]
configs:
- config_name: small
  data_files:
  - split: train
    path: "data/small/train-*.parquet"
  - {split: test, path: [data/small/test.jsonl.gz]}
- config_name: large
  data_dir: data/large
  data_files: "**/*.jsonl"
---
# A data set
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "data" / "small").mkdir(parents=True)
    (folder / "data" / "large" / "x").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / ".gitattributes").write_text("*.parquet lfs")
    for number in range(2):
        (folder / "data" / "small" / f"train-{number}.parquet").write_bytes(table("parquet"))
    (folder / "data" / "small" / "test.jsonl.gz").write_bytes(gzip.compress(b'{"text": "test"}'))
    (folder / "data" / "large" / "x" / "a.jsonl").write_text('{"text": "large"}\n')
    return folder


def test_a_split_of_a_configuration_is_read(repository: Path, tmp_path: Path) -> None:
    made = Workshop(tmp_path / "runs").make(
        HubDataset(folder=LocalPath(repository), config="small", title_column="name")
    )
    assert [(row.source, row.part, row.title) for row in made.rows()] == [
        ("data/small/train-0.parquet", "row 1", "a"),
        ("data/small/train-0.parquet", "row 3", "c"),
        ("data/small/train-1.parquet", "row 1", "a"),
        ("data/small/train-1.parquet", "row 3", "c"),
    ]
    row = next(made.rows())
    assert (row.license, row.language) == ("CC-BY-SA-4.0", "de")
    files, rows = made.record.ledger.lines
    assert (files.came, rows.came, rows.dropped) == (2, 6, {"no text in the row": 2})
    assert made.record.figures["origin"]["licence"] == "CC-BY-SA-4.0"


def test_limit_reads_the_beginning_and_opens_no_other_file(repository: Path, tmp_path: Path) -> None:
    (repository / "data" / "small" / "train-1.parquet").write_bytes(b"damaged")
    made = Workshop(tmp_path / "runs").make(HubDataset(folder=LocalPath(repository), config="small", limit=3))
    assert len(list(made.rows())) == 2 and made.record.ledger.lines[0].came == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "an id or a folder"),
        ({"id": "a/b", "folder": "x"}, "an id or a folder"),
        ({"id": "a/b"}, "no pinned revision"),
        ({"id": "a/b", "revision": "main"}, "no pinned revision"),
    ],
)
def test_a_data_set_is_one_place_at_one_commit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Mistake, match=message):
        HubDataset(**fields)


NAMES = ["README.md", "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet",
         "data/validation-00000-of-00001.parquet", "latest/test/0.parquet"]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "config", "split", "files"),
    [
        (NAMES, None, "train", NAMES[1:3]),
        (NAMES, None, "validation", NAMES[3:4]),
        (NAMES, "latest", "test", NAMES[4:]),
        (["README.md", "part1.jsonl", "part2.jsonl.gz", "logo.png"], None, "train", ["part1.jsonl", "part2.jsonl.gz"]),
        (["trainer.csv", "dev.csv"], None, "validation", ["dev.csv"]),
    ],
)
def test_without_a_card_the_names_of_the_files_tell_the_split(
    names: list[str], config: str | None, split: str, files: list[str]
) -> None:
    assert choose_files(names, {}, config, split, "set") == files


def test_what_is_not_there_is_named_with_what_is() -> None:
    stated = front_matter(CARD)
    with pytest.raises(Mistake) as raised:
        choose_files(NAMES, stated, None, "train", "set")
    assert raised.value.found == "small, large"
    names = ["data/small/train-0.parquet", "data/small/test.jsonl.gz", "data/large/a/b.jsonl"]
    assert choose_files(names, stated, "small", "test", "set") == names[1:2]
    assert choose_files(names, stated, "large", "train", "set") == names[2:]
    with pytest.raises(Mistake) as raised:
        choose_files(NAMES, {}, None, "dev", "set")
    assert raised.value.found == "train, validation, test"


@pytest.mark.parametrize(
    ("stated", "license"),
    [
        ("mit", "MIT"),
        ("apache-2.0", "Apache-2.0"),
        ("odc-by", "ODC-By-1.0"),
        ("other", None),
        (["a", "b"], None),
        (None, None),
    ],
)
def test_the_card_states_the_licence_if_it_is_one(stated: Any, license: str | None) -> None:
    assert license_of({"license": stated}) == license
    assert language_of({"language": ["en", "de"]}) is None
    assert front_matter("---\n{broken\n---\n") == {} == front_matter("# no front matter")
    assert json.dumps(front_matter(CARD)["language"]) == '["de"]'


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The few answers of the hub that reading a data set needs; `files` are the repository's, `sent` counts bytes."""

    files: ClassVar[dict[str, bytes]] = {}
    sent: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        path, _, _ = self.path.partition("?")
        if path == f"/api/datasets/acme/docs/revision/{COMMIT}":
            self.answer({"id": "acme/docs", "sha": COMMIT, "siblings": []})
        elif path.startswith(f"/api/datasets/acme/docs/tree/{COMMIT}"):
            folder = path.partition(COMMIT)[2].strip("/")
            self.answer(self.listed(folder))
        elif path.startswith(f"/datasets/acme/docs/resolve/{COMMIT}/"):
            data = self.files[path.partition(f"{COMMIT}/")[2]]
            first, _, last = self.headers.get("Range", f"bytes=0-{len(data) - 1}")[6:].partition("-")
            chosen = data[int(first) : int(last or len(data) - 1) + 1]
            self.sent.append(len(chosen))
            self.send(206, chosen)
        else:
            self.send(404, b"{}")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        paths = parse_qs(self.rfile.read(length).decode()).get("paths", [])
        every = [one for folder in ("", "data") for one in self.listed(folder)]
        self.answer([one for one in every if one["path"] in paths])

    def listed(self, folder: str) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name, data in self.files.items():
            if name.startswith(f"{folder}/" if folder else ""):
                rest = name.removeprefix(f"{folder}/" if folder else "")
                here = f"{folder}/" if folder else ""
                if "/" in rest:
                    found[rest.split("/")[0]] = {
                        "type": "directory",
                        "path": here + rest.split("/")[0],
                        "oid": "0" * 40,
                    }
                else:
                    found[rest] = {"type": "file", "path": here + rest, "size": len(data), "oid": "1" * 40}
        return list(found.values())

    def answer(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode())

    def send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.mark.slow
def test_a_data_set_is_streamed_from_the_hub_and_no_more_than_is_read(tmp_path: Path) -> None:
    rows = b"".join(b'{"text": "row %d of many words %s"}\n' % (n, b"word " * 200) for n in range(40_000))
    Hub.files = {"README.md": b"---\nlicense: mit\n---\n", "data/train.jsonl": rows, "data/test.jsonl": b"{}"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = (
        "import sys\nfrom metier.core import *\nfrom metier.corpus import HubDataset\n"
        f"made = Workshop(sys.argv[1]).make(HubDataset(id='acme/docs', revision={COMMIT!r}, limit=500))\n"
        "rows = list(made.rows())\nprint(len(rows), rows[0].license, rows[0].source, rows[-1].part)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", code, str(tmp_path / "runs")]
    try:
        told = subprocess.run(command, capture_output=True, text=True, env=environment)
    finally:
        server.shutdown()
        server.server_close()
    assert told.stdout.split() == ["500", "MIT", "data/train.jsonl", "line", "500"], told.stderr
    assert sum(Hub.sent) < 0.5 * len(rows)
