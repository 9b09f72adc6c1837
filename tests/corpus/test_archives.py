"""Archives: what is in them, and what no archive may do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from metier.corpus.warc import WarcWriter
from tests.corpus.reading import locked_zip, pdf, read, zipped

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"


def tarred(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    import pyarrow as pa

    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return bytes(out.getvalue())


def linked(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_compressed_file_is_the_file_that_is_in_it(suffix: str) -> None:
    found = read(f"notes.md.{suffix}", PACKERS[suffix](b"# Locks\r\n\r\nText.\n"))
    assert found.only.text == "# Locks\r\n\r\nText.\n" and found.only.title == "Locks"
    assert found.items[0].source == f"notes.md.{suffix}"


@pytest.mark.parametrize("suffix", PACKERS)
def test_parts_put_one_after_another_are_one_file(suffix: str) -> None:
    pack = PACKERS[suffix]
    assert read(f"a.txt.{suffix}", pack(b"one ") + pack(b"two")).only.text == "one two"


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_cut_short_gives_its_rows_and_the_reason(suffix: str) -> None:
    rows = b"".join(b'{"text": "row %d %s"}\n' % (n, bytes(str(hash(n * n)), "ascii")) for n in range(5000))
    packed = PACKERS[suffix](rows)
    found = read(f"a.jsonl.{suffix}", packed[: len(packed) * 2 // 3])
    assert found.reasons[f"a.jsonl.{suffix}"] == "compressed file cut short"
    whole = read(f"a.txt.{suffix}", packed[: len(packed) // 2])
    assert not whole.contents and "compressed file cut short" in whole.reasons.values()


def test_members_keep_their_paths_and_take_the_licence_of_their_folder() -> None:
    members: dict[str, bytes | str] = {
        "p/LICENSE": MIT,
        "p/src/a.py": "x = 1\n",
        "q/b.py": "y = 2\n",
        "p/.git/config": "hidden\n",
        "__MACOSX/p/._a": "hidden\n",
    }
    found = read("code.zip", zipped(members))
    licenses = {item.source: getattr(item.found, "license", None) for item in found.items}
    assert licenses == {"code.zip!/p/LICENSE": "MIT", "code.zip!/p/src/a.py": "MIT", "code.zip!/q/b.py": None}
    tar = read("code.tar.gz", gzip.compress(tarred({name: str(data).encode() for name, data in members.items()})))
    assert [(item.source, getattr(item.found, "license", None)) for item in tar.items] == [
        ("code.tar.gz!/p/LICENSE", None),
        ("code.tar.gz!/p/src/a.py", "MIT"),
        ("code.tar.gz!/q/b.py", None),
    ]


def test_archives_in_archives_are_read_to_a_limit() -> None:
    inner = zipped({"deep.txt": "found"})
    nested = tarred({"a/inner.zip": inner, "plain.txt": b"text"})
    found = read("all.tgz", gzip.compress(nested))
    assert found.texts == {"all.tgz!/a/inner.zip!/deep.txt": "found", "all.tgz!/plain.txt": "text"}
    shallow = read("all.tgz", gzip.compress(nested), max_nesting=2)
    assert shallow.reasons == {"all.tgz!/a/inner.zip": "archives nested too deeply"} and len(shallow.texts) == 1


def test_a_mail_is_no_way_around_the_limit_of_nesting() -> None:
    from email.message import EmailMessage

    mail = EmailMessage()
    for depth in range(8):
        outer = EmailMessage()
        outer["Subject"] = f"level {depth}"
        outer.set_content("text")
        if depth:
            outer.add_attachment(mail)
        mail = outer
    found = read("a.eml", mail.as_bytes())
    assert len(found.contents) == 4 and list(found.reasons.values()) == ["archives nested too deeply"]


@pytest.mark.parametrize("name", ["../../etc/cron.d/job.txt", "/etc/passwd.txt", "a/../../b.txt", "C:/x.txt"])
def test_a_path_that_leaves_the_archive_is_refused(name: str) -> None:
    for archive in (zipped({name: "x", "ok.txt": "fine"}), tarred({name: b"x", "ok.txt": b"fine"})):
        found = read("a.zip", archive)
        assert list(found.reasons.values()) == ["path leaves the archive"] and list(found.texts.values()) == ["fine"]


def test_links_and_devices_are_refused() -> None:
    device = tarfile.TarInfo("null.txt")
    device.type = tarfile.CHRTYPE
    members: dict[str, bytes | tarfile.TarInfo] = {
        "l": linked("passwd.txt", "/etc/passwd"),
        "h": linked("hard.txt", "/etc/passwd", tarfile.LNKTYPE),
        "d": device,
        "ok.txt": b"fine",
    }
    found = read("a.tar", tarred(members))
    assert found.texts == {"a.tar!/ok.txt": "fine"}
    assert sorted(found.reasons.values()) == ["link in an archive", "link in an archive", "not a regular file"]
    info = zipfile.ZipInfo("passwd.txt")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert list(read("a.zip", out.getvalue()).reasons.values()) == ["link in an archive"]


def bomb_of_bombs() -> bytes:
    layer = zipped({"0.txt": b"\0" * 400_000})
    return zipped({f"{number}.zip": layer for number in range(16)})


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt.gz", gzip.compress(b"a " * 800_000, 9)),
        ("a.zip", zipped({"a.txt": b"a " * 800_000})),
        ("a.zip", bomb_of_bombs()),
        ("a.tar.bz2", bz2.compress(tarred({f"{n}.txt": b"a " * 100_000 for n in range(9)}))),
    ],
)
def test_a_bomb_is_given_up_whatever_its_shape(name: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.corpus.read.sources._FREE_BYTES", 1_000_000)
    found = read(name, data, max_bytes=1 << 40)
    assert "unpacks to more than the limit" in found.reasons.values()
    assert sum(len(text) for text in found.texts.values()) < 1_000_000 + 200 * len(data)


def test_what_an_archive_may_unpack_to_is_settable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.corpus.read.sources._FREE_BYTES", 1000)
    packed = gzip.compress(b"a b " * 1_000_000)
    assert read("a.txt.gz", packed, max_ratio=1.0).reasons
    assert read("a.txt.gz", packed, max_ratio=2000.0).only.text.startswith("a b a b")
    assert read("a.txt.gz", gzip.compress(b"x y " * 1000), max_unpacked_bytes=1000).reasons


def test_too_many_entries_are_refused() -> None:
    members: dict[str, bytes | str] = {f"{number}.txt": "x" for number in range(30)}
    assert list(read("a.zip", zipped(members), max_members=20).reasons.values()) == ["archive with too many entries"]
    tar = tarred(dict.fromkeys(members, b"x"))
    found = read("a.tar", tar, max_members=20)
    assert len(found.texts) == 20 and found.reasons == {"a.tar": "archive with too many entries"}


def test_a_locked_member_is_named_and_the_rest_is_read() -> None:
    assert list(read("a.zip", locked_zip("secret.txt", b"x")).reasons.values()) == ["locked by a password"]


def test_a_damaged_archive_gives_what_comes_before_the_damage() -> None:
    tar = bytearray(tarred({"a.txt": b"first", "b.txt": b"second", "c.txt": b"third"}))
    tar[1024 + 100] ^= 0xFF  # in the header of the second
    found = read("a.tar", bytes(tar))
    assert found.texts == {"a.tar!/a.txt": "first"} and found.reasons == {"a.tar": "damaged archive"}
    cut = read("a.tar", tarred({"a.txt": b"first", "b.txt": b"s" * 9000})[:3000])
    assert cut.texts == {"a.tar!/a.txt": "first"} and "compressed file cut short" in cut.reasons.values()
    broken = bytearray(zipped({"a.txt": b"first " * 50, "b.txt": b"second"}, compression=zipfile.ZIP_STORED))
    broken[broken.index(b"first") + 2] ^= 1
    found = read("a.zip", bytes(broken))
    assert found.texts == {"a.zip!/b.txt": "second"} and found.reasons == {"a.zip!/a.txt": "damaged archive"}


def test_a_name_that_is_there_twice_is_numbered() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.txt", "one")
        archive.writestr("a.txt", "two")
    assert read("z.zip", out.getvalue()).texts == {"z.zip!/a.txt": "one", "z.zip!/a.txt (2)": "two"}


def test_names_in_the_charset_of_a_chinese_machine_are_read() -> None:
    plain = zipped({"12345678901234567890.txt": "x"})
    name = "关于数据的说明文件.txt".encode("gb18030")
    assert len(name) == 22
    data = plain.replace(b"12345678901234567890.t", name[:22]).replace(b"xt\0", b"xt\0")
    found = read("z.zip", data)
    assert [item.source for item in found.items] == ["z.zip!/关于数据的说明文件.txtxt"]


def test_patterns_hold_inside_archives() -> None:
    data = zipped({"a/x.md": "# A", "b/y.txt": "B", "b/z.bin": b"\0"})
    found = read("a.zip", data, include=("*.md", "*.txt"), exclude=("*!/b/*",))
    assert list(found.texts) == ["a.zip!/a/x.md"]
    assert set(found.reasons.values()) == {"left out by include or exclude"}
    assert read("logs/a.log.gz", gzip.compress(b"INFO x\n"), include=("*.log",)).only.text == "INFO x\n"


def test_reading_goes_on_behind_any_item_and_gives_the_rest() -> None:
    inner = zipped({"r.jsonl": '{"text": "1"}\n{"text": "2"}\nbad\n{"text": "3"}\n', "s.txt": "s"})
    data = zipped({"a.txt": "a", "i.zip": inner, "b.txt": "b"})
    whole = read("o.zip", data).items
    assert len(whole) == 7
    for at, item in enumerate(whole):
        assert read("o.zip", data, after=item.cursor).items == whole[at + 1 :]
    # Behind a member that was given up: all of it is passed over.
    assert read("o.zip", data, after=(1,)).items == whole[-1:]


def test_a_web_archive_gives_its_pages_under_their_urls(tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc.gz"
    writer = WarcWriter(path, {"software": "test"})
    html = [("Content-Type", "text/html; charset=gb18030")]
    for url, status, headers, payload in (
        ("https://a.example/x.php?y=1", 200, html, "<title>页</title><p>数据库</p>".encode("gb18030")),
        ("https://a.example/gone", 404, html, b"<p>not here</p>"),
        ("https://a.example/m.pdf", 200, [("Content-Type", "application/octet-stream")], pdf(["A line."])),
        ("https://a.example/logo", 200, [("Content-Type", "image/png")], b"\x89PNG\r\n\x1a\n"),
    ):
        writer.response(url, "2026-11-21T10:00:00Z", status, headers, payload)
    writer.close()
    found = read("crawl.warc.gz", path.read_bytes(), include=("*.warc.gz",))
    day = "2026-11-21T10:00:00Z"
    assert found.texts == {
        f"https://a.example/x.php?y=1 {day}": "# 页\n\n数据库",
        f"https://a.example/m.pdf {day}": "A line.",
    }
    assert found.reasons == {
        f"crawl.warc.gz {day}": "HTTP status 404",
        f"https://a.example/logo {day}": "binary file",
    }
