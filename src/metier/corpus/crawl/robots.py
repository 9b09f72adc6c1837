"""robots.txt, as RFC 9309 has it, and the delays that servers ask for."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Any, NamedTuple
from urllib.parse import urljoin

from protego import Protego
from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK

from metier.corpus.crawl.failures import TRANSIENT, Refused, reason_of
from metier.corpus.crawl.links import ROBOT
from metier.corpus.crawl.urls import absolute, host_of

MAX_DELAY_SECONDS = 300.0
"""A server that asks for more between two pages is not crawled, and one that says "later" is not waited for longer."""

_BYTES = 500 * 1024  # RFC 9309, 2.5: parse at least so much
_REDIRECTS = 5  # 2.3.1.2
_TRIES = 3


class Rules(NamedTuple):
    """What one server allows. `refused` is why nothing at all may be asked of it, or None."""

    parsed: Protego | None
    refused: str | None


class Robots:
    """A downloader middleware: fetches each server's robots.txt before its first page and holds to it.

    A robots.txt that is not there (4xx) allows all; one that cannot be had (5xx, no answer) forbids all.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._rules: dict[str, asyncio.Task[Rules]] = {}
        self._floors: dict[str, float] = {}
        crawler.signals.connect(self._hold_floor, signal=signals.response_downloaded)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Robots:
        """Return the middleware for a crawler."""
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        """Let a page through if its server's robots.txt does. Raises Refused."""
        if request.meta.get("robots"):
            return
        server = request.url.partition("://")[0] + "://" + host_of(request.url)
        if server not in self._rules:
            self._rules[server] = asyncio.ensure_future(self._learn(server))
        rules = await self._rules[server]
        if rules.refused is not None:
            raise Refused(rules.refused)
        if rules.parsed is not None and not rules.parsed.can_fetch(request.url, ROBOT):
            raise Refused("robots.txt")

    async def _learn(self, server: str) -> Rules:
        rules = await self._read(server)
        delay = _delay(rules.parsed) if rules.parsed is not None else 0.0
        if delay > MAX_DELAY_SECONDS:
            return Rules(None, "robots.txt asks for a longer delay than five minutes")
        if delay:
            self._slow_down(server, delay)
        sitemaps = [absolute(link, server) for link in rules.parsed.sitemaps] if rules.parsed is not None else []
        self._spider.found_robots(server, [url for url in sitemaps if url is not None])
        return rules

    async def _read(self, server: str) -> Rules:
        refused = ""
        for attempt in range(_TRIES):
            wait = pause(self._spider.wanted.delay_seconds, attempt)
            try:
                response = await self._fetch(f"{server}/robots.txt")
            except Exception as error:
                refused = reason_of(error, self._spider.guard, server)
                if refused not in TRANSIENT:
                    break
            else:
                if response is None or (400 <= response.status < 500 and response.status != 429):
                    return Rules(None, None)
                if response.status < 300:
                    return Rules(Protego.parse(response.body[:_BYTES].decode("utf-8-sig", "replace")), None)
                refused = f"robots.txt cannot be had (HTTP {response.status})"
                wait = retry_after(response) or wait
            hold(self._crawler, server, wait)
        return Rules(None, refused)

    async def _fetch(self, url: str) -> Response | None:
        """Return robots.txt, or None where it leads on and on."""
        for _ in range(_REDIRECTS + 1):
            meta = {"robots": True, "download_maxsize": 10 * _BYTES}
            response = await self._crawler.engine.download_async(Request(url, callback=NO_CALLBACK, meta=meta))
            location = header(response, "Location")
            if not (300 <= response.status < 400 and location):
                return response if response.status < 300 or response.status >= 400 else None
            leads_to = absolute(location, urljoin(url, "/"))
            if leads_to is None or not leads_to.startswith("http"):
                return None
            url = leads_to
        return None

    def _slow_down(self, server: str, delay: float) -> None:
        downloader = self._crawler.engine.downloader
        key = downloader.get_slot_key(Request(server))
        self._floors[key] = max(delay, self._floors.get(key, 0.0))
        # A slot that was idle for a minute is made anew, from these settings.
        start = max(self._floors[key], self._crawler.settings.getfloat("DOWNLOAD_DELAY"))
        downloader.per_slot_settings[key] = {"delay": start}
        if key in downloader.slots:
            downloader.slots[key].delay = max(downloader.slots[key].delay, delay)

    def _hold_floor(self, response: Response, request: Request) -> None:
        # AutoThrottle, which was told of the response before, knows only the delay of the whole crawl.
        key = request.meta.get("download_slot", "")
        slot = self._crawler.engine.downloader.slots.get(key)
        if slot is not None and key in self._floors:
            slot.delay = max(slot.delay, self._floors[key])

    @property
    def _spider(self) -> Any:
        return self._crawler.spider


def pause(delay_seconds: float, tries: int) -> float:
    """Return the seconds for which a server that failed is left alone: ten times its usual pause, then twenty, …"""
    return 10.0 * delay_seconds * 2.0**tries


def hold(crawler: Crawler, url: str, seconds: float) -> None:
    """Send nothing to a server for so many seconds, five minutes at most."""
    downloader = crawler.engine.downloader
    slot = downloader.slots.get(downloader.get_slot_key(Request(url)))
    if slot is not None:
        # The slot sends its next request `delay` seconds after `lastseen`.
        slot.lastseen = max(slot.lastseen, monotonic() + min(seconds, MAX_DELAY_SECONDS) - slot.delay)


def retry_after(response: Response) -> float | None:
    """Return the seconds that a Retry-After header asks to wait, or None."""
    value = (header(response, "Retry-After") or "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError):
        return None


def header(response: Response, name: str) -> str | None:
    """Return a header as text, or None."""
    value = response.headers.get(name)
    return value.decode("latin-1") if value is not None else None


def _delay(parsed: Protego) -> float:
    rate = parsed.request_rate(ROBOT)
    return max(parsed.crawl_delay(ROBOT) or 0.0, rate.seconds / rate.requests if rate and rate.requests else 0.0)
