"""The archive of a crawl: WARC files of about a gigabyte, cut back on each start to what the frontier knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from metier.corpus.crawl.frontier import Earlier, Frontier
from metier.corpus.warc import Place, WarcWriter, payload_digest

FILE_BYTES = 1_000_000_000
"""A file is closed once it is larger: the usual size of a WARC file."""

# Of the transfer rather than of the page; the archive keeps payloads decoded and says so, as Common Crawl does.
_TRANSFER = frozenset({"transfer-encoding", "content-encoding", "content-length", "connection", "keep-alive"})


class Stored(NamedTuple):
    """Where a record lies: the number of the file and the place in it; `date` is the record's."""

    file: int
    place: Place
    date: str


class Archive:
    """Opens the folder with the files `crawl-00000.warc.gz`, … and cuts off what no settled page names.

    Args:
        about: what each file's first record says of the crawl.
    """

    def __init__(self, folder: Path, frontier: Frontier, about: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._about = folder, about
        ends = frontier.ends()
        for path in sorted(folder.glob("crawl-*.warc.gz")):
            number = int(path.name[6:11])
            end, size = ends.get(number, 0), path.stat().st_size
            if size < end:
                frontier.forget_beyond(number, size)
                end = frontier.ends().get(number, 0)
            with path.open("r+b") as file:
                file.truncate(end)
        for number in ends.keys() - {int(path.name[6:11]) for path in folder.glob("crawl-*.warc.gz")}:
            frontier.forget_beyond(number, 0)
        self._number = max(frontier.ends(), default=0)
        self._writer = WarcWriter(archive_file(folder, self._number), about)

    def page(self, url: str, status: int, headers: Sequence[tuple[str, str]], payload: bytes) -> Stored:
        """Append a page and return where it lies."""
        date = _now()
        place = self._next().response(url, date, status, _as_kept(headers, len(payload)), payload)
        return Stored(self._number, place, date)

    def same_bytes(
        self, url: str, status: int, headers: Sequence[tuple[str, str]], digest: str, of_url: str, of_date: str
    ) -> Stored:
        """Append that a page has the bytes of one that is in the archive."""
        return self._revisit(url, status, headers, "identical-payload-digest", digest, of_url, of_date)

    def unchanged(self, url: str, headers: Sequence[tuple[str, str]], earlier: Earlier) -> Stored:
        """Append that the server says a page is as it was at an earlier crawl."""
        return self._revisit(url, 304, headers, "server-not-modified", earlier.digest, earlier.url, earlier.fetched)

    @property
    def size(self) -> int:
        """Bytes of the file that is being written."""
        return self._writer.size

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _revisit(
        self, url: str, status: int, headers: Sequence[tuple[str, str]], profile: str, digest: str, of_url: str, of: str
    ) -> Stored:
        date = _now()
        refers = {
            "WARC-Refers-To-Target-URI": of_url,
            "WARC-Refers-To-Date": of,
            "WARC-Payload-Digest": digest,
        }
        return Stored(
            self._number, self._next().revisit(url, date, status, _as_kept(headers, 0), profile, refers), date
        )

    def _next(self) -> WarcWriter:
        if self._writer.size >= FILE_BYTES:
            self._writer.close()
            self._number += 1
            self._writer = WarcWriter(archive_file(self._folder, self._number), self._about)
        return self._writer


def archive_file(folder: Path, number: int) -> Path:
    """Return the path of the archive's file with a number."""
    return folder / f"crawl-{number:05d}.warc.gz"


def _as_kept(headers: Sequence[tuple[str, str]], length: int) -> list[tuple[str, str]]:
    kept = [(f"X-Crawler-{name}" if name.lower() in _TRANSFER else name, value) for name, value in headers]
    return [*kept, ("Content-Length", str(length))]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


__all__ = ["FILE_BYTES", "Archive", "Stored", "archive_file", "payload_digest"]
