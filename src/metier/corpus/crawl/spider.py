"""The spider: fetches what the frontier gives out, keeps it in the archive, and tells the frontier what it found.

Runs in a process of its own (`python -m metier.corpus.crawl.spider SETTINGS FD`): Twisted's reactor cannot be started
twice, and a parser that crashes takes the spider only, which is then started again.
"""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from scrapy import Request, Spider, signals
from scrapy.core.scheduler import BaseScheduler
from scrapy.crawler import Crawler
from scrapy.exceptions import StopDownload
from scrapy.http import Headers, Response, TextResponse
from scrapy.utils.sitemap import Sitemap
from twisted.internet._resolver import GAIResolver
from twisted.python.failure import Failure

from metier.corpus.crawl.archive import Archive, payload_digest
from metier.corpus.crawl.failures import TOO_LARGE, TRANSIENT, reason_of
from metier.corpus.crawl.frontier import PAGE, SITEMAP, Capture, Found, Frontier, Given
from metier.corpus.crawl.links import Facts, facts_of, facts_of_headers
from metier.corpus.crawl.robots import header, hold, pause, retry_after
from metier.corpus.crawl.settings import AHEAD, Settings
from metier.corpus.crawl.urls import Scope, absolute, host_of, key_of
from metier.corpus.warc import content_type

_MAX_HOPS = 10
_MAX_SITEMAPS = 500
_TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 522, 524})
_DEAD = 30  # failures in a row after which a server is given up: with a pause of a second, a quarter of an hour
_HTML = ("text/html", "application/xhtml+xml")


class SiteSpider(Spider):
    """Downloads pages and settles them. All it remembers is in the frontier and the archive."""

    name = "metier"

    def __init__(self, settings: Settings, frontier: Frontier, archive: Archive, scope: Scope) -> None:
        super().__init__()
        self.wanted, self.frontier, self.archive, self.scope = settings, frontier, archive, scope
        self.guard = scope.guard
        self.fatal: BaseException | None = None
        self._in_a_row: Counter[str] = Counter()  # failures of a server since it last answered

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> SiteSpider:
        """Return a spider whose guard is in place, and that looks at the headers of a page before its body comes."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.guard_names, signal=signals.engine_started)
        crawler.signals.connect(spider.look_at_headers, signal=signals.headers_received)
        return spider

    def guard_names(self) -> None:
        """Put the guard between names and addresses, before the first request."""
        from twisted.internet import reactor

        reactor.installNameResolver(GAIResolver(reactor, getaddrinfo=self.guard.getaddrinfo))

    async def start(self) -> AsyncIterator[Any]:
        """Yield nothing: the frontier holds the seeds."""
        requests: tuple[Request, ...] = ()
        for request in requests:
            yield request

    @property
    def full(self) -> bool:
        """Whether the crawl has all the pages or bytes it may have, those on their way included."""
        pages = self.frontier.fetched + self.frontier.given
        return pages >= self.wanted.max_pages or self.frontier.bytes >= self.wanted.max_total_bytes

    def request(self, given: Given) -> Request:
        """Return the request for a URL that was given out, conditional if an earlier crawl has the page."""
        headers = {}
        earlier = self.frontier.earlier(given.key) if given.kind == PAGE else None
        if earlier is not None and earlier.url != given.url:
            earlier = None  # spelt otherwise now: its document would not be found again
        if earlier is not None and earlier.etag:
            headers["If-None-Match"] = earlier.etag
        if earlier is not None and earlier.modified:
            headers["If-Modified-Since"] = earlier.modified
        meta = {"given": given, "earlier": earlier}
        return Request(given.url, self.settle, headers=headers, meta=meta, errback=self.fail, dont_filter=True)

    def look_at_headers(self, headers: Headers, body_length: int, request: Request) -> None:
        """Stop a download whose body is not wanted. Raises StopDownload."""
        given: Given | None = request.meta.get("given")
        if given is not None and given.kind == PAGE:
            media_type = content_type((headers.get("Content-Type") or b"").decode("latin-1"))[0]
            if media_type and media_type not in self.wanted.media_types:
                request.meta["refused"] = f"not text ({media_type[:60]})"
                raise StopDownload(fail=True)

    def settle(self, response: Response) -> None:
        """Settle a page that was answered."""
        given: Given = response.meta["given"]
        try:
            self._settle(given, response)
        except (OSError, sqlite3.Error) as error:
            self.stop(error)
        except MemoryError:
            self.frontier.refuse(given, "took too much memory", response.status)
        except Exception as error:
            self.logger.exception("taking %s apart", given.url)
            self.frontier.refuse(given, f"page could not be taken apart ({type(error).__name__})", response.status)

    def fail(self, failure: Failure) -> None:
        """Settle a page that was not answered, or not wholly."""
        request: Request = failure.request  # type: ignore[attr-defined]
        given: Given = request.meta["given"]
        stopped = getattr(failure.value, "response", None)
        if stopped is not None and stopped.status >= 300:
            self.settle(stopped.replace(request=request))
            return
        error = failure.value or RuntimeError("no reason given")
        reason = request.meta.get("refused") or reason_of(error, self.guard, given.url)
        try:
            if reason in TRANSIENT:
                self._failed(given, reason)
            else:
                self.frontier.refuse(given, reason)
        except sqlite3.Error as full:
            self.stop(full)

    def found_robots(self, server: str, sitemaps: list[str]) -> None:
        """Add the sitemaps that a server's robots.txt names, or the usual one where it names none."""
        if self.wanted.sitemap:
            self.frontier.add(self._sitemaps(sitemaps or [f"{server}/sitemap.xml"]))

    def _settle(self, given: Given, response: Response) -> None:
        status = response.status
        if status in _TRY_AGAIN:
            self._failed(given, f"HTTP {status}", retry_after(response), status)
            return
        self._in_a_row.pop(given.host, None)
        if status == 304 and response.meta["earlier"] is not None:
            self._unchanged(given, response)
        elif 300 <= status < 400 and header(response, "Location"):
            self._redirected(given, response)
        elif status not in (200, 203):
            self.frontier.refuse(given, f"HTTP {status}", status)
        elif given.kind == SITEMAP:
            self._read_sitemap(given, response)
        else:
            self._keep(given, response)

    def _failed(self, given: Given, reason: str, wait: float | None = None, status: int | None = None) -> None:
        """Leave a server that failed alone for a while and try the page again, or give the page up, or the server."""
        self._in_a_row[given.host] += 1
        if self._in_a_row[given.host] >= _DEAD:
            self.frontier.refuse(given, reason, status)
            self.frontier.refuse_host(given.host, "server stopped answering")
            return
        hold(self.crawler, given.url, wait or pause(self.wanted.delay_seconds, given.tries))
        if given.tries < self.wanted.tries:
            self.frontier.again(given)
        else:
            self.frontier.refuse(given, reason, status)

    def _keep(self, given: Given, response: Response) -> None:
        media_type, charset = self._media_type(response)
        headers = {name.decode("latin-1").lower(): header(response, name.decode()) or "" for name in response.headers}
        if media_type in _HTML and isinstance(response, TextResponse):
            facts = facts_of(response.text, response.url, response.encoding, headers)
        else:
            facts = facts_of_headers(headers)
        refused = self._refusal(media_type, response, facts)
        found = list(self._found(facts.links, given))
        if refused is not None:
            self.frontier.refuse(given, refused, response.status, found)
            return
        digest = payload_digest(response.body)
        twin = self.frontier.same_bytes(digest)
        lines = _lines(response)
        if twin is None:
            stored = self.archive.page(given.url, response.status, lines, response.body)
        else:
            stored = self.archive.same_bytes(given.url, response.status, lines, digest, *twin[1:])
        capture = Capture(
            status=response.status,
            media_type=media_type,
            charset=charset,
            etag=header(response, "ETag"),
            modified=header(response, "Last-Modified"),
            fetched=stored.date,
            digest=digest,
            file=stored.file,
            start=stored.place.offset,
            length=stored.place.length,
            bytes=len(response.body),
            language=facts.language,
            license=facts.license,
            same_as=twin[0] if twin is not None else None,
        )
        self.frontier.settle(given, capture, found, facts.links)
        self.frontier.pass_over(facts.more_links)

    def _refusal(self, media_type: str, response: Response, facts: Facts) -> str | None:
        if self.wanted.obey_directives and facts.withheld is not None:
            return facts.withheld
        if not response.body.strip():
            return "empty page"
        return None if media_type in self.wanted.media_types else f"not text ({media_type[:60] or 'of no known type'})"

    def _media_type(self, response: Response) -> tuple[str, str | None]:
        said, charset = content_type(header(response, "Content-Type") or "")
        head = response.body[:1024].lstrip().lower()
        if head.startswith(b"%pdf-"):
            return "application/pdf", None
        if not said and (b"<html" in head or b"<!doctype html" in head):
            return "text/html", charset
        return said or "text/plain", charset

    def _unchanged(self, given: Given, response: Response) -> None:
        earlier = response.meta["earlier"]
        stored = self.archive.unchanged(given.url, _lines(response), earlier)
        targets = self.frontier.earlier_links(given.key)
        capture = Capture(
            status=304,
            media_type="",
            charset=None,
            etag=header(response, "ETag") or earlier.etag,
            modified=header(response, "Last-Modified") or earlier.modified,
            fetched=stored.date,
            digest=earlier.digest,
            file=stored.file,
            start=stored.place.offset,
            length=stored.place.length,
            unchanged=True,
        )
        self.frontier.settle(given, capture, list(self._found(targets, given)), targets)

    def _redirected(self, given: Given, response: Response) -> None:
        target = absolute(header(response, "Location") or "", response.url)
        if target is None or given.hops >= _MAX_HOPS:
            reason = "redirect without an end" if target else "redirect to nowhere"
            self.frontier.refuse(given, reason, response.status)
            return
        # The target is a URL of its own, with all the rules to pass; it is no deeper than what led to it.
        if given.kind == SITEMAP:
            found = list(self._sitemaps([target], given))
        else:
            found = [self._one(target, given.depth, given.hops + 1)]
        self.frontier.refuse(given, "redirect", response.status, found)

    def _read_sitemap(self, given: Given, response: Response) -> None:
        body = response.body
        if body[:2] == b"\x1f\x8b":
            body = zlib.decompressobj(47).decompress(body, self.wanted.page_bytes + 1)
            if len(body) > self.wanted.page_bytes:
                self.frontier.refuse(given, TOO_LARGE, response.status)
                return
        pages: list[str] = []
        more: list[str] = []
        try:
            sitemap = Sitemap(body)
            for entry in sitemap:
                url = absolute(entry.get("loc", ""), response.url)
                (more if sitemap.type == "sitemapindex" else pages).extend([url] if url else [])
        except (SyntaxError, StopIteration):  # lxml's XMLSyntaxError is a SyntaxError
            if not pages and not more:
                self.frontier.refuse(given, "unreadable sitemap", response.status)
                return
        found = [*self._sitemaps(more, given), *(self._one(url, 1, 0) for url in pages)]
        self.frontier.read(given, found)

    def _sitemaps(self, urls: list[str], given: Given | None = None) -> Iterator[Found]:
        hops = given.hops + 1 if given is not None else 0
        for number, url in enumerate(urls):
            endless = hops > _MAX_HOPS or number >= _MAX_SITEMAPS
            reason = self.scope.site_reason(url) or ("sitemaps without an end" if endless else None)
            yield Found("sitemap " + key_of(url), url, host_of(url), SITEMAP, 0, hops, reason)

    def _found(self, links: list[str], given: Given) -> Iterator[Found]:
        return (self._one(url, given.depth + 1, 0) for url in links)

    def _one(self, url: str, depth: int, hops: int) -> Found:
        return found_page(url, depth, hops, self.scope)

    def stop(self, error: BaseException) -> None:
        """End the crawl for a reason that the next page would meet as well, as a full disk."""
        self.fatal = self.fatal or error
        self._stopping = asyncio.ensure_future(self.crawler.stop_async())


class FrontierScheduler(BaseScheduler):
    """Hands scrapy's engine what the frontier gives out."""

    def __init__(self) -> None:
        self._spider: SiteSpider | None = None

    def open(self, spider: Spider) -> None:
        """Take the spider whose frontier this is."""
        assert isinstance(spider, SiteSpider)
        self._spider = spider

    def has_pending_requests(self) -> bool:
        """Say whether the crawl is to go on."""
        return self._spider is not None and self._spider.frontier.waiting > 0 and not self._spider.full

    def enqueue_request(self, request: Request) -> bool:
        """Turn every request down: only the frontier says what is fetched."""
        return False

    def next_request(self) -> Request | None:
        """Return the next request, or None while every server is busy or the crawl has what it may have."""
        if self._spider is None or self._spider.full:
            return None
        try:
            given = self._spider.frontier.take(AHEAD)
        except sqlite3.Error as error:
            self._spider.stop(error)
            return None
        return self._spider.request(given) if given is not None else None


def found_page(url: str, depth: int, hops: int, scope: Scope) -> Found:
    """Return a page's URL with what the scope says of it."""
    path, mark, _ = url.partition("?")
    reason = scope.reason(url, depth)
    return Found(key_of(url), url, host_of(url), PAGE, depth, hops, reason, path if mark and not reason else None)


def _lines(response: Response) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in response.headers.items()
        for value in values
    ]
