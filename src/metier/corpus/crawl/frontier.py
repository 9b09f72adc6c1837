"""The frontier: every URL a crawl has found and what became of it, in SQLite, right after any kill.

A page is fetched in three moves: it is given out, its record is appended to the archive, and one transaction settles
it, names its place in the archive and adds the links it holds. A kill before the last leaves the page to be fetched
again and the record to be cut off; after it, nothing is left to do.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

WAITING, GIVEN, FETCHED, REFUSED = range(4)
PAGE, SITEMAP = "page", "sitemap"
TOO_DEEP = "deeper than the limit"
CRASHED = "made the crawler crash or hang"
_CRASHES_ALONE = 2  # once may be chance: the system kills what it likes when memory runs out

_SCHEMA = """
CREATE TABLE IF NOT EXISTS urls (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, url TEXT NOT NULL, host TEXT NOT NULL, kind TEXT NOT NULL,
  depth INTEGER NOT NULL, hops INTEGER NOT NULL DEFAULT 0, found_on INTEGER, state INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0, reason TEXT, status INTEGER, media_type TEXT, charset TEXT, etag TEXT,
  modified TEXT, fetched TEXT, digest TEXT, file INTEGER, start INTEGER, length INTEGER, language TEXT, license TEXT,
  bytes INTEGER NOT NULL DEFAULT 0, unchanged INTEGER NOT NULL DEFAULT 0, same_as INTEGER, document TEXT,
  alone INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS by_state ON urls (state, host, depth, id);
CREATE INDEX IF NOT EXISTS by_digest ON urls (digest) WHERE digest IS NOT NULL;
CREATE TABLE IF NOT EXISTS links (page INTEGER NOT NULL, target TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_page ON links (page);
CREATE TABLE IF NOT EXISTS queries (path TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS earlier (
  key TEXT PRIMARY KEY, etag TEXT, modified TEXT, fetched TEXT, digest TEXT, url TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS earlier_links (key TEXT NOT NULL, target TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_key ON earlier_links (key);
CREATE TABLE IF NOT EXISTS told (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""


class Found(NamedTuple):
    """A URL that was come across. `reason` is why it is not asked for, or None; `path` counts queries of one page."""

    key: str
    url: str
    host: str
    kind: str
    depth: int
    hops: int = 0
    reason: str | None = None
    path: str | None = None


class Given(NamedTuple):
    """A URL given out to be fetched; `tries` counts this one too."""

    id: int
    key: str
    url: str
    host: str
    kind: str
    depth: int
    hops: int
    tries: int


class Capture(NamedTuple):
    """What was fetched and where in the archive it lies; `same_as` is a page that has the same bytes."""

    status: int
    media_type: str
    charset: str | None
    etag: str | None
    modified: str | None
    fetched: str
    digest: str | None
    file: int
    start: int
    length: int
    bytes: int = 0
    language: str | None = None
    license: str | None = None
    unchanged: bool = False
    same_as: int | None = None


class Earlier(NamedTuple):
    """What an earlier crawl knows of a page."""

    etag: str | None
    modified: str | None
    fetched: str
    digest: str
    url: str


class Frontier:
    """Opens or goes on with the frontier in a file.

    Args:
        most: URLs to remember; beyond it new ones are counted in `told("beyond")` and forgotten.
        max_queries: queries of one path that are asked for.
        crashed: whether the last process that worked on it crashed by itself. The pages it was fetching are then given
            out first, one at a time; a page at which it crashes alone for the second time is refused.
    """

    def __init__(self, path: Path, most: int = 0, max_queries: int = 0, crashed: bool = False) -> None:
        self._most, self._max_queries = most, max_queries
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing in WAL mode; a failing machine the last pages, which are then fetched again.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._suspects = self._put_back(crashed)
        self._busy: Counter[str] = Counter()
        self._recount()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Frontier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """URLs that are still to be asked for."""
        return self._waiting.total()

    @property
    def given(self) -> int:
        """URLs that are being fetched."""
        return self._busy.total()

    def add(self, found: Iterable[Found], page: int | None = None) -> None:
        """Add URLs found on a page, each once in the life of a crawl."""
        with self._transaction():
            self._add(found, page)

    def take(self, at_most: int) -> Given | None:
        """Give out the URL nearest to a seed of a host that has fewer than `at_most` out, or None if there is none.

        Hosts take turns, so that a large one keeps no small one waiting.
        """
        columns = "SELECT id, key, url, host, kind, depth, hops, tries + 1 FROM urls"
        row = None
        if self._suspects and self._busy:
            return None
        while self._suspects and row is None:
            query = f"{columns} WHERE id = ? AND state = ?"
            row = self._db.execute(query, (self._suspects.pop(), WAITING)).fetchone()
        if row is None:
            host = next((host for host in self._waiting if self._busy[host] < at_most), None)
            if host is None:
                return None
            order = "WHERE state = ? AND host = ? ORDER BY depth, id LIMIT 1"
            row = self._db.execute(f"{columns} {order}", (WAITING, host)).fetchone()
        given = Given(*row)
        host = given.host
        self._db.execute("UPDATE urls SET state = ?, tries = tries + 1 WHERE id = ?", (GIVEN, given.id))
        left = self._waiting.pop(host) - 1
        if left:
            self._waiting[host] = left  # at the end of the queue of hosts
        self._busy[host] += 1
        return given

    def settle(self, given: Given, capture: Capture, found: Iterable[Found] = (), targets: Sequence[str] = ()) -> None:
        """Settle a page as fetched, with the links it holds: `targets` are all, `found` what is to be added of them."""
        fields = ", ".join(f"{name} = ?" for name in Capture._fields)
        with self._transaction():
            self._db.execute(
                f"UPDATE urls SET state = ?, reason = NULL, {fields} WHERE id = ?", (FETCHED, *capture, given.id)
            )
            self._db.executemany("INSERT INTO links VALUES (?, ?)", ((given.id, target) for target in targets))
            self._add(found, given.id)
        self._back(given)
        self.fetched += given.kind == PAGE
        self.bytes += capture.bytes

    def read(self, given: Given, found: Iterable[Found]) -> None:
        """Settle a sitemap as read, with the URLs in it."""
        with self._transaction():
            self._db.execute("UPDATE urls SET state = ? WHERE id = ?", (FETCHED, given.id))
            self._add(found, given.id)
        self._back(given)

    def refuse(self, given: Given, reason: str, status: int | None = None, found: Iterable[Found] = ()) -> None:
        """Settle a URL as not fetched, for a reason; a redirect's target is `found`."""
        with self._transaction():
            self._db.execute(
                "UPDATE urls SET state = ?, reason = ?, status = ? WHERE id = ?", (REFUSED, reason, status, given.id)
            )
            self._add(found, given.id)
        self._back(given)
        self.refused += given.kind == PAGE

    def again(self, given: Given) -> None:
        """Put a URL back to be tried once more."""
        self._db.execute("UPDATE urls SET state = ? WHERE id = ?", (WAITING, given.id))
        self._back(given)
        self._waiting[given.host] += 1

    def refuse_waiting(self, reason: str) -> None:
        """Settle all that is still waiting as not fetched, for one reason."""
        self._db.execute("UPDATE urls SET state = ?, reason = ? WHERE state <= ?", (REFUSED, reason, GIVEN))
        self._waiting.clear()

    def refuse_host(self, host: str, reason: str) -> None:
        """Settle all that is still waiting of one server as not fetched, for one reason."""
        changed = self._db.execute(
            "UPDATE urls SET state = ?, reason = ? WHERE state = ? AND host = ?", (REFUSED, reason, WAITING, host)
        )
        self.refused += changed.rowcount
        self._waiting.pop(host, None)

    def pass_over(self, links: int) -> None:
        """Count links that are not remembered."""
        if links:
            add = "INSERT INTO told VALUES ('beyond', ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
            self._db.execute(add, (links,))

    def same_bytes(self, digest: str) -> tuple[int, str, str] | None:
        """Return id, URL and date of a page fetched before with this digest, or None."""
        return self._db.execute(  # type: ignore[no-any-return]
            "SELECT id, url, fetched FROM urls WHERE digest = ? AND same_as IS NULL AND state = ? LIMIT 1",
            (digest, FETCHED),
        ).fetchone()

    def earlier(self, key: str) -> Earlier | None:
        """Return what the earlier crawl knows of a page, or None."""
        row = self._db.execute(
            "SELECT etag, modified, fetched, digest, url FROM earlier WHERE key = ?", (key,)
        ).fetchone()
        return Earlier(*row) if row else None

    def earlier_links(self, key: str) -> list[str]:
        """Return the links that the earlier crawl found on a page."""
        return [target for (target,) in self._db.execute("SELECT target FROM earlier_links WHERE key = ?", (key,))]

    def learn(self, pages: Iterable[tuple[Any, ...]], links: Iterable[tuple[str, str]]) -> None:
        """Take in the earlier crawl's pages (key and the fields of Earlier) and links, once."""
        if self.told("earlier"):
            return
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO earlier VALUES (?, ?, ?, ?, ?, ?)", pages)
            self._db.executemany("INSERT INTO earlier_links VALUES (?, ?)", links)
            self.tell("earlier", "1")

    def ends(self) -> dict[int, int]:
        """Return, by number of archive file, where the last settled record in it ends."""
        return dict(self._db.execute("SELECT file, max(start + length) FROM urls WHERE file IS NOT NULL GROUP BY file"))

    def forget_beyond(self, file: int, size: int) -> None:
        """Put pages back whose record lies beyond the end of its file: a machine failed before it was on disk."""
        self._db.execute(
            "UPDATE urls SET state = ?, file = NULL, digest = NULL, same_as = NULL"
            " WHERE file = ? AND start + length > ?",
            (WAITING, file, size),
        )
        self._recount()

    def tell(self, name: str, value: str) -> None:
        """Remember something about the crawl."""
        self._db.execute("INSERT OR REPLACE INTO told VALUES (?, ?)", (name, value))

    def told(self, name: str) -> str | None:
        """Return what was remembered under a name."""
        row = self._db.execute("SELECT value FROM told WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def rows(self, where: str, *values: Any) -> Iterator[sqlite3.Row]:
        """Yield URLs as rows, in the order of their addresses; `where` is SQL over the columns of the schema."""
        cursor = self._db.cursor()
        cursor.row_factory = sqlite3.Row
        yield from cursor.execute(f"SELECT * FROM urls WHERE {where} ORDER BY url, id", values)

    def outcomes(self) -> Iterator[dict[str, Any]]:
        """Yield all that is known of each page's URL, in the order of their addresses; `found_on` is an address."""
        cursor = self._db.cursor()
        cursor.row_factory = sqlite3.Row
        query = """SELECT one.*, page.url AS found_on_url FROM urls AS one
            LEFT JOIN urls AS page ON page.id = one.found_on WHERE one.kind = ? ORDER BY one.url, one.id"""
        for row in cursor.execute(query, (PAGE,)):
            yield {**dict(row), "found_on": row["found_on_url"]}

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield every link that was found on a fetched page: the page's key and the target."""
        yield from self._db.execute("SELECT key, target FROM links JOIN urls ON urls.id = page ORDER BY page")

    def reasons(self) -> Counter[str]:
        """Return how many pages were not fetched, by reason."""
        query = "SELECT reason, count(*) FROM urls WHERE kind = ? AND state = ? GROUP BY reason"
        return Counter(dict(self._db.execute(query, (PAGE, REFUSED))))

    def sitemaps(self) -> int:
        """Return how many sitemaps were read."""
        return self._one("SELECT count(*) FROM urls WHERE kind = ? AND state = ?", SITEMAP, FETCHED)

    def documented(self, made: Iterable[tuple[str | None, str | None, int]]) -> None:
        """Remember of fetched pages the document they made, or the reason why none, and the id of the page."""
        with self._transaction():
            self._db.executemany("UPDATE urls SET document = ?, reason = ? WHERE id = ?", made)

    def _add(self, found: Iterable[Found], page: int | None) -> None:
        for one in found:
            if self._count >= self._most:
                self.pass_over(1)
                continue
            state, reason = (WAITING, None) if one.reason is None else (REFUSED, one.reason)
            added = self._db.execute(
                "INSERT INTO urls (key, url, host, kind, depth, hops, found_on, state, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                (one.key, one.url, one.host, one.kind, one.depth, one.hops, page, state, reason),
            )
            if added.rowcount == 0:
                if one.reason is None:
                    self._nearer(one, page)
                continue
            self._count += 1
            if state == WAITING and one.path is not None and self._queries(one.path) > self._max_queries:
                state = REFUSED
                self._db.execute(
                    "UPDATE urls SET state = ?, reason = ? WHERE id = ?",
                    (state, "URL trap (too many queries of one path)", added.lastrowid),
                )
            self._waiting.update([one.host] if state == WAITING else [])
            self.refused += state == REFUSED and one.kind == PAGE

    def _nearer(self, one: Found, page: int | None) -> None:
        """Take back that a URL is too deep, now that a shorter way to it was found."""
        taken = self._db.execute(
            "UPDATE urls SET state = ?, reason = NULL, depth = ?, found_on = ? WHERE key = ? AND reason = ?",
            (WAITING, one.depth, page, one.key, TOO_DEEP),
        )
        self._waiting.update([one.host] if taken.rowcount else [])
        self.refused -= taken.rowcount

    def _put_back(self, crashed: bool) -> set[int]:
        """Put back the pages that were being fetched when the last process ended; return those that made it crash."""
        interrupted = [id for (id,) in self._db.execute("SELECT id FROM urls WHERE state = ?", (GIVEN,))]
        if crashed and len(interrupted) == 1:
            self._db.execute("UPDATE urls SET alone = alone + 1 WHERE state = ?", (GIVEN,))
            refused = (REFUSED, CRASHED, GIVEN, _CRASHES_ALONE)
            self._db.execute("UPDATE urls SET state = ?, reason = ? WHERE state = ? AND alone >= ?", refused)
        # Being interrupted is no try.
        self._db.execute("UPDATE urls SET state = ?, tries = tries - 1 WHERE state = ?", (WAITING, GIVEN))
        waiting = "SELECT count(*) FROM urls WHERE id = ? AND state = ?"
        return {id for id in interrupted if crashed and self._one(waiting, id, WAITING)}

    def _recount(self) -> None:
        waiting = self._db.execute("SELECT host, count(*) FROM urls WHERE state = ? GROUP BY host", (WAITING,))
        self._waiting: Counter[str] = Counter(dict(waiting))
        self._count = self._one("SELECT count(*) FROM urls")
        self.fetched = self._one("SELECT count(*) FROM urls WHERE state = ? AND kind = ?", FETCHED, PAGE)
        self.refused = self._one("SELECT count(*) FROM urls WHERE state = ? AND kind = ?", REFUSED, PAGE)
        self.bytes = self._one("SELECT coalesce(sum(bytes), 0) FROM urls")

    def _queries(self, path: str) -> int:
        return self._one(
            "INSERT INTO queries VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count", path
        )

    def _back(self, given: Given) -> None:
        self._busy[given.host] -= 1
        if not self._busy[given.host]:
            del self._busy[given.host]

    def _one(self, query: str, *values: Any) -> int:
        return int(self._db.execute(query, values).fetchone()[0])

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """BEGIN … COMMIT around a block, ROLLBACK where it raises."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
