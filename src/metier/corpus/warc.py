"""Web archives: read WARC 1.0 and 1.1, plain or gzipped, past any damage; write gzip-per-record WARC 1.1 (ISO 28500).

Own code on zlib rather than warcio or FastWARC: both stop at the first damaged record of a gzipped archive, and both
hand on a page that is cut short as if it were whole.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import sys
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, NamedTuple

from metier.corpus.warc_stream import Broken, Inflated, Raw, Reader

MAX_BYTES = 100_000_000
"""Pages larger than this are not read unless asked for."""

_HEADER_LINES = 500
_PAGES = frozenset({"response", "resource", "conversion"})  # a "conversion" is the text of Common Crawl's WET files
_REVISIT = "http://netpreserve.org/warc/1.1/revisit/"


class WarcPage(NamedTuple):
    """One archived page: `payload` is what the server meant, without transfer and content encoding.

    `date` is the record's, as in "2026-11-21T10:00:00Z"; `media_type` is without parameters, "" if none was said;
    `status` is None where the record is no HTTP response; `charset` is what the HTTP header claims.
    """

    url: str
    date: str
    media_type: str
    payload: bytes
    status: int | None
    charset: str | None = None


class Damaged(NamedTuple):
    """A stretch of an archive that gave no page: where it begins, in bytes, and why. `reason` is a ledger's key."""

    offset: int
    reason: str


class Place(NamedTuple):
    """Where a record lies in its file, in bytes."""

    offset: int
    length: int


def read_warc(source: BinaryIO | os.PathLike[str] | str, max_bytes: int = MAX_BYTES) -> Iterator[WarcPage | Damaged]:
    """Yield every page of an archive, in its order, and Damaged for what could not be read; then the rest goes on.

    Records that hold no page (requests, metadata, revisits) are passed over. Memory is bounded by `max_bytes`, whatever
    the archive says; a larger page is Damaged. The stream need not be seekable.
    """
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as stream:
            yield from read_warc(stream, max_bytes)
        return
    raw = Raw(source)
    yield from (_gzipped(raw, max_bytes) if raw.is_gzip() else _plain(raw, max_bytes))


def page_at(path: Path, place: Place) -> WarcPage | Damaged:
    """Return the page of one record of a gzip-per-record archive."""
    with path.open("rb") as stream:
        stream.seek(place.offset)
        data = stream.read(place.length)
    page = next(_gzipped(Raw.of(data), sys.maxsize), None)
    return (
        page if isinstance(page, WarcPage) else Damaged(place.offset, page.reason if page else "no page in WARC record")
    )


def _gzipped(raw: Raw, max_bytes: int) -> Iterator[WarcPage | Damaged]:
    """Yield the pages of a series of gzip members, each one record or (of a file gzipped whole) many."""
    lost = False  # within one stretch of damage, so that it is told of once
    while not raw.at_end():
        start = raw.offset
        reader = Reader(Inflated(raw).block)
        try:
            while (record := _record(reader, max_bytes, start)) is not None:
                lost = False
                if not isinstance(record, _NoPage):
                    yield record
        except (Broken, zlib.error, EOFError) as error:
            if not lost:
                lost = True
                yield Damaged(start, _told(error))
            raw.seek_member(start + 1)


def _plain(raw: Raw, max_bytes: int) -> Iterator[WarcPage | Damaged]:
    reader, lost = Reader(raw.block), False
    while True:
        reader.skip_line_ends()
        start = reader.offset
        try:
            record = _record(reader, max_bytes, start, checked=True)
        except (Broken, EOFError) as error:
            if not lost:
                lost = True
                yield Damaged(start, _told(error))
            reader.seek(b"WARC/1.")
            continue
        if record is None:
            return
        lost = False
        if not isinstance(record, _NoPage):
            yield record


class _NoPage(NamedTuple):
    """A record that is whole and holds no page."""


def _record(reader: Reader, max_bytes: int, start: int, checked: bool = False) -> WarcPage | Damaged | _NoPage | None:
    """Read one record whole, or None at the end. Raises Broken and EOFError, with the reader where to search on."""
    line = reader.line()
    if not line:
        return None
    if not line.startswith(b"WARC/1."):
        reader.push_back(line[1:])  # the next record may begin in it
        raise Broken("no WARC record")
    headers = _headers(reader)
    length = headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        raise Broken("WARC record without a length")
    size = int(length)
    page = headers.get("warc-type", "").lower() in _PAGES
    body = reader.take(size) if page and size <= max_bytes else None
    if body is None:
        reader.skip(size)
    closed = reader.peek(4) == b"\r\n\r\n"
    reader.skip_line_ends()
    # Of a gzip member, looking for its end checks its sum.
    if not reader.at_end() and not closed and reader.peek(7) != b"WARC/1.":
        # The length is wrong, or bytes were lost: what was taken for the body may hold the next record.
        if body is not None:
            reader.push_back(body)
        raise Broken("WARC record of another length than it says")
    if not page:
        return _NoPage()
    if body is None:
        return Damaged(start, "larger than the limit")
    if checked and not _as_digested(body, headers.get("warc-block-digest")):
        return Damaged(start, "WARC record does not match its digest")
    return _page(headers, body, max_bytes, start)


def _headers(reader: Reader) -> dict[str, str]:
    """Read header lines up to the empty one; names in lower case, the first of several kept."""
    headers: dict[str, str] = {}
    name = ""
    for _ in range(_HEADER_LINES):
        line = reader.line()
        if not line.endswith(b"\n"):
            raise EOFError
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            return headers
        if text[0] in " \t" and name:
            headers[name] += " " + text.strip()
            continue
        name, colon, value = text.partition(":")
        if not colon:
            raise Broken("WARC record with a damaged header")
        name = name.strip().lower()
        headers.setdefault(name, value.strip())
    raise Broken("WARC record with a damaged header")


def _page(headers: Mapping[str, str], body: bytes, max_bytes: int, start: int) -> WarcPage | Damaged | _NoPage:
    url = headers.get("warc-target-uri", "").strip("<>")
    date = headers.get("warc-date", "")
    kind = headers.get("content-type", "")
    if headers.get("warc-type", "").lower() != "response":
        media_type, charset = content_type(kind)
        return WarcPage(url, date, media_type, body, None, charset)
    if not kind.lower().startswith("application/http"):
        return _NoPage()  # a name look-up, an FTP transfer
    head, _, payload = body.partition(b"\r\n\r\n")
    status = head.split(None, 2)[1:2]
    if not head.startswith(b"HTTP/") or not status or not status[0][:3].isdigit():
        return Damaged(start, "damaged HTTP response")
    http: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        http.setdefault(name.strip().lower(), value.strip())
    try:
        if "chunked" in http.get("transfer-encoding", "").lower():
            payload = _dechunked(payload)
        payload = _decoded(payload, http.get("content-encoding", "").lower(), max_bytes)
    except Broken as error:
        return Damaged(start, str(error))
    media_type, charset = content_type(http.get("content-type", ""))
    return WarcPage(url, date, media_type, payload, int(status[0][:3]), charset)


def content_type(value: str) -> tuple[str, str | None]:
    """Return the media type and the charset of a Content-Type header, both in lower case."""
    media_type, _, parameters = value.partition(";")
    for parameter in parameters.split(";"):
        name, _, said = parameter.partition("=")
        if name.strip().lower() == "charset" and said.strip():
            return media_type.strip().lower(), said.strip().strip("\"'").lower()
    return media_type.strip().lower(), None


def _dechunked(payload: bytes) -> bytes:
    """Undo HTTP/1.1 chunks; many archives name them in the header and hold the payload without."""
    parts: list[bytes] = []
    at = 0
    while True:
        end = payload.find(b"\r\n", at, at + 100)
        size = payload[at:end].split(b";")[0].strip() if end >= 0 else b""
        try:
            count = int(size, 16)
        except ValueError:
            if not parts:
                return payload
            raise Broken("damaged HTTP response") from None
        if count == 0:
            return b"".join(parts)
        parts.append(payload[end + 2 : end + 2 + count])
        at = end + 4 + count


def _decoded(payload: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a content encoding, at most `max_bytes`: gzip in eleven bytes may hold a thousand times as much."""
    if encoding in ("", "identity") or not payload:
        return payload
    if encoding in ("gzip", "x-gzip", "deflate"):
        if encoding != "deflate" and not payload.startswith(b"\x1f\x8b"):
            return payload  # the archive keeps it decoded and forgot the header
        for bits in (47, -15):  # gzip or zlib by their head; some servers' "deflate" has none
            inflate = zlib.decompressobj(bits)
            try:
                found = inflate.decompress(payload, max_bytes + 1)
            except zlib.error:
                continue
            if len(found) > max_bytes:
                raise Broken("larger than the limit")
            return found
    raise Broken(f"content encoding that is damaged or not known ({encoding[:20]})")


def _as_digested(body: bytes, digest: str | None) -> bool:
    """Say whether a block is what its digest says; digests of other kinds than SHA-1 and SHA-256 prove nothing."""
    kind, _, value = (digest or "").partition(":")
    made = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha-256": hashlib.sha256}.get(kind.lower())
    if made is None:
        return True
    found = made(body, usedforsecurity=False).digest()
    return value.upper().rstrip("=") in (base64.b32encode(found).decode().rstrip("="), found.hex().upper())


def _told(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "WARC record cut short"
    return str(error) if isinstance(error, Broken) else "damaged gzip in WARC"


class WarcWriter:
    """Appends records to a gzip-per-record archive.

    Args:
        path: the file; what is there is kept, so that a crawl goes on where it stopped.
        about: what the first record of a new file says of the crawl, as in {"software": "...", "operator": "..."}.
    """

    def __init__(self, path: Path, about: Mapping[str, str]) -> None:
        self._out = path.open("ab")
        if self._out.tell() == 0:
            fields = "".join(f"{name}: {value}\r\n" for name, value in about.items())
            head = {"WARC-Filename": path.name, "Content-Type": "application/warc-fields"}
            self._append("warcinfo", "", head, fields.encode())

    @property
    def size(self) -> int:
        """Bytes written so far, to this file."""
        return self._out.tell()

    def response(self, url: str, date: str, status: int, headers: Sequence[tuple[str, str]], payload: bytes) -> Place:
        """Append one HTTP response, its payload decoded, and return where it lies."""
        head = {"Content-Type": "application/http; msgtype=response", "WARC-Payload-Digest": payload_digest(payload)}
        return self._append("response", date, {"WARC-Target-URI": url, **head}, _http(status, headers) + payload)

    def revisit(
        self, url: str, date: str, status: int, headers: Sequence[tuple[str, str]], profile: str, of: Mapping[str, str]
    ) -> Place:
        """Append that a page was found as it was: `profile` is "server-not-modified" or "identical-payload-digest".

        Args:
            of: what is known of the earlier capture: WARC-Refers-To-Target-URI, -Date, WARC-Payload-Digest.
        """
        head = {"Content-Type": "application/http; msgtype=response", "WARC-Profile": _REVISIT + profile, **of}
        return self._append("revisit", date, {"WARC-Target-URI": url, **head}, _http(status, headers))

    def close(self) -> None:
        """Close the file; what was appended is on its way to the disk from the moment it was."""
        self._out.close()

    def _append(self, kind: str, date: str, fields: Mapping[str, str], block: bytes) -> Place:
        head = {"WARC-Type": kind, "WARC-Record-ID": f"<{uuid.uuid4().urn}>", "WARC-Date": date or _now(), **fields}
        lines = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in head.items() if value)
        record = f"WARC/1.1\r\n{lines}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"
        offset = self._out.tell()
        data = gzip.compress(record, 6, mtime=0)
        self._out.write(data)
        self._out.flush()
        return Place(offset, len(data))


def payload_digest(payload: bytes) -> str:
    """Return a payload's digest as WARC writes it: "sha256:" and base 32."""
    return "sha256:" + base64.b32encode(hashlib.sha256(payload).digest()).decode()


def _http(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = "".join(f"{_one_line(name)}: {_one_line(value)}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode("utf-8", "replace")


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
