from __future__ import annotations

import gzip
import io
import random
import zlib
from pathlib import Path
from typing import BinaryIO

import pytest

from metier.corpus.warc import Damaged, WarcPage, WarcWriter, page_at, payload_digest, read_warc

BODIES = [bytes(random.Random(number).choices(b"abcdefgh <p>\n", k=3000)) for number in range(10)]


def record(number: int, body: bytes, *, http: str = "", warc: str = "", kind: str = "response") -> bytes:
    """Return one plain WARC record as another program would write it."""
    block = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\n{http}\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://example.org/{number}\r\n{warc}"
        f"WARC-Date: 2026-01-01T00:00:00Z\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


PLAIN = [record(number, body) for number, body in enumerate(BODIES)]
GZIPPED = [gzip.compress(one, mtime=0) for one in PLAIN]


def numbers(archive: bytes | BinaryIO, **options: int) -> list[int | str]:
    """Return the numbers of the pages that came out whole, and the reasons of those that did not, in order."""
    found: list[int | str] = []
    for page in read_warc(io.BytesIO(archive) if isinstance(archive, bytes) else archive, **options):
        if isinstance(page, Damaged):
            found.append(page.reason)
        else:
            number = int(page.url.rpartition("/")[2])
            assert page.payload == BODIES[number]
            found.append(number)
    return found


class Pipe(io.RawIOBase):
    """A stream that gives a few bytes at a time and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 777) if size > 0 else 777)


@pytest.mark.parametrize("archive", [b"".join(GZIPPED), b"".join(PLAIN), gzip.compress(b"".join(PLAIN))])
def test_every_page_is_read_whichever_way_the_archive_is_packed(archive: bytes) -> None:
    assert numbers(archive) == list(range(10))
    assert numbers(Pipe(archive)) == list(range(10))  # type: ignore[arg-type]


def flipped(data: bytes, *places: int) -> bytes:
    whole = bytearray(data)
    for place in places:
        whole[place] ^= 0xFF
    return bytes(whole)


@pytest.mark.parametrize(
    ("four", "reason"),
    [
        (flipped(GZIPPED[4], 200, 500), "damaged gzip in WARC"),
        (flipped(GZIPPED[4], -6), "damaged gzip in WARC"),  # the sum is wrong, the text may be right
        (GZIPPED[4][:700], "damaged gzip in WARC"),
        (b"garbage" * 50, "damaged gzip in WARC"),
        (gzip.compress(b"no record at all", mtime=0), "no WARC record"),
        (gzip.compress(PLAIN[4].replace(b"Length: 3", b"Length: x", 1)), "WARC record without a length"),
        (gzip.compress(PLAIN[4][:900], mtime=0), "WARC record cut short"),
        (gzip.compress(PLAIN[4].replace(b"HTTP/1.1 200", b"SMTP/1.1 xxx")), "damaged HTTP response"),
    ],
)
def test_a_damaged_record_is_told_of_once_and_the_rest_is_read(four: bytes, reason: str) -> None:
    archive = b"".join([*GZIPPED[:4], four, *GZIPPED[5:]])
    assert numbers(archive) == [0, 1, 2, 3, reason, 5, 6, 7, 8, 9]
    assert numbers(Pipe(archive)) == [0, 1, 2, 3, reason, 5, 6, 7, 8, 9]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "four",
    [
        PLAIN[4].replace(b"Content-Length: 3", b"Content-Length: 9", 1),  # swallows what follows, unless it is put back
        PLAIN[4][:900],
        b"garbage " * 99,
    ],
)
def test_damage_in_a_plain_archive_costs_one_record(four: bytes) -> None:
    found = numbers(b"".join([*PLAIN[:4], four, *PLAIN[5:]]))
    assert [one for one in found if isinstance(one, int)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert len(found) == 10


def test_a_page_cut_off_at_the_end_is_not_taken_for_a_whole_one() -> None:
    assert numbers(b"".join(GZIPPED)[:-500])[-2:] == [8, "WARC record cut short"]
    assert numbers(b"".join(PLAIN)[:-500])[-2:] == [8, "WARC record cut short"]


def test_a_plain_record_that_is_not_what_its_digest_says_is_damaged() -> None:
    good = PLAIN[1]
    block = good.split(b"\r\n\r\n", 1)[1][:-4]
    digest = payload_digest(block)
    told = record(1, BODIES[1], warc=f"WARC-Block-Digest: {digest}\r\n")
    assert numbers(told) == [1]
    assert numbers(flipped(told, -50)) == ["WARC record does not match its digest"]


@pytest.mark.parametrize("size", [0, 1, 2**20 + 7])
def test_a_page_over_the_limit_is_passed_over_and_never_unpacked(size: int) -> None:
    large = gzip.compress(record(5, b"\0" * 15_000_000))  # a bomb: 15 KB on disk
    assert numbers(b"".join([GZIPPED[0], large, GZIPPED[1]]), max_bytes=4000 + size) == [0, "larger than the limit", 1]


def test_transfer_and_content_encodings_are_undone() -> None:
    body = BODIES[3]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 999]), body[at : at + 999]) for at in range(0, 3000, 999))
    deflated = zlib.compressobj(wbits=-15)
    raw = deflated.compress(body) + deflated.flush()
    records = [
        record(3, chunks + b"0\r\n\r\n", http="Transfer-Encoding: chunked\r\n"),
        record(3, body, http="Transfer-Encoding: chunked\r\n"),  # an archive that undid it and kept the header
        record(3, gzip.compress(body, mtime=0), http="Content-Encoding: gzip\r\n"),
        record(3, body, http="Content-Encoding: gzip\r\n"),
        record(3, zlib.compress(body), http="Content-Encoding: deflate\r\n"),
        record(3, raw, http="Content-Encoding: deflate\r\n"),
    ]
    assert numbers(b"".join(records)) == [3] * 6
    bomb = record(3, gzip.compress(b"\0" * 9_000_000, mtime=0), http="Content-Encoding: gzip\r\n")
    assert numbers(bomb, max_bytes=1_000_000) == ["larger than the limit"]
    odd = record(3, body, http="Content-Encoding: zip\r\n")
    assert numbers(odd) == ["content encoding that is damaged or not known (zip)"]


def test_records_that_hold_no_page_are_passed_over() -> None:
    others = [record(0, b"", kind=kind) for kind in ("request", "metadata", "revisit", "warcinfo")]
    assert numbers(b"".join([*others, PLAIN[2]])) == [2]


def test_what_is_written_is_read_back_with_all_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "one.warc.gz"
    writer = WarcWriter(path, {"software": "a test"})
    headers = [("Content-Type", "Text/HTML; Charset=GB2312"), ("X-Odd", "two\r\nlines")]
    one = writer.response("http://example.org/ä", "2026-11-21T10:00:00Z", 203, headers, b"payload")
    writer.close()
    writer = WarcWriter(path, {"software": "a test"})  # goes on behind what is there
    seen = {"WARC-Refers-To-Date": "2026-11-21T10:00:00Z", "WARC-Payload-Digest": payload_digest(b"payload")}
    writer.revisit("http://example.org/ä", "2026-11-22T10:00:00Z", 304, [], "server-not-modified", seen)
    two = writer.response("http://example.org/b", "2026-11-22T10:00:01Z", 200, [], b"")
    assert writer.size == path.stat().st_size == two.offset + two.length
    writer.close()
    page = WarcPage("http://example.org/ä", "2026-11-21T10:00:00Z", "text/html", b"payload", 203, "gb2312")
    assert page_at(path, one) == page
    assert list(read_warc(path)) == [page, WarcPage("http://example.org/b", "2026-11-22T10:00:01Z", "", b"", 200)]
    assert gzip.decompress(path.read_bytes()).count(b"WARC/1.1\r\n") == 4
    assert page_at(path, two._replace(offset=two.offset + 1)) == Damaged(two.offset + 1, "damaged gzip in WARC")


@pytest.mark.parametrize("gzipped", [True, False])
def test_no_damage_makes_the_reader_fail_or_a_page_of_a_gzipped_archive_wrong(gzipped: bool) -> None:
    whole = b"".join(GZIPPED if gzipped else PLAIN)
    rng = random.Random(7)
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            change = rng.randrange(4)
            if change == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif change == 1:
                del data[at : at + rng.randrange(2000)]
            elif change == 2:
                data[at:at] = rng.randbytes(rng.randrange(500))
            else:
                data[at:at] = data[rng.randrange(len(data)) :][: rng.randrange(3000)]
        pages = list(read_warc(io.BytesIO(bytes(data)), max_bytes=10_000))
        good = sum(isinstance(page, WarcPage) and page.payload in BODIES for page in pages)
        assert good >= 2
        if gzipped:
            assert all(isinstance(page, Damaged) or page.payload in BODIES for page in pages)
