"""The crawling process: scrapy, set up around the spider (`python -m metier.corpus.crawl.program FD`)."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from scrapy import signals
from scrapy.crawler import CrawlerProcess
from twisted.internet.task import LoopingCall

from metier.corpus.crawl.addresses import Guard
from metier.corpus.crawl.archive import Archive
from metier.corpus.crawl.frontier import Frontier
from metier.corpus.crawl.settings import AHEAD, Ended, Settings, Told
from metier.corpus.crawl.spider import SiteSpider, found_page
from metier.corpus.crawl.urls import Scope, absolute

FRONTIER_TIMES = 100
"""So many times the pages a crawl may have are remembered as URLs; what more a site offers is counted only."""

_TELL_SECONDS = 0.25
_LOCK_SECONDS = 60.0
_MEMORY_BYTES = 6 << 30


def main(descriptor: int) -> None:
    """Crawl as the parent says on the connection, and tell it how far; end when it is gone."""
    connection: Connection = Connection(descriptor)
    settings, crashed = connection.recv()
    threading.Thread(target=_die_with_parent, args=(connection,), daemon=True).start()
    _bound_memory()
    try:
        with (settings.scratch / "lock").open("w") as lock:
            _lock(lock.fileno())
            ended = _crawl(settings, crashed, connection)
    except (OSError, sqlite3.Error) as error:
        ended = _ended_by(error)
    connection.send(ended)


def _crawl(settings: Settings, crashed: bool, connection: Connection) -> Ended:
    guard = Guard(settings.allow_private)
    guard.watch_sockets()
    scope = Scope(guard, settings.domains, settings.include, settings.exclude, settings.depth)
    most = FRONTIER_TIMES * settings.max_pages + 10_000
    with Frontier(settings.frontier, most, settings.max_queries, crashed) as frontier:
        if settings.previous is not None:
            frontier.learn(_earlier_pages(settings.previous), _earlier_links(settings.previous))
        frontier.add(found_page(url, 0, 0, scope) for seed in settings.seeds if (url := absolute(seed, seed)))
        about = {"software": settings.agent, "operator": settings.contact, "robots": "obey", "format": "WARC File 1.1"}
        archive = Archive(settings.archive, frontier, about)
        process = CrawlerProcess(_scrapy_settings(settings), install_root_handler=False)
        crawler = process.create_crawler(SiteSpider)

        def start_telling() -> None:
            # Made here and not before: a LoopingCall brings in Twisted's default reactor where none is there yet.
            tell = LoopingCall(lambda: connection.send(Told(frontier.fetched, frontier.refused, frontier.waiting)))
            tell.start(_TELL_SECONDS)

        crawler.signals.connect(start_telling, signals.engine_started, weak=False)
        process.crawl(crawler, settings, frontier, archive, scope)
        process.start(install_signal_handlers=False)
        archive.close()
        spider = crawler.spider
        if isinstance(spider, SiteSpider) and spider.fatal is not None:
            return _ended_by(spider.fatal)
        if not isinstance(spider, SiteSpider) or (frontier.waiting and not spider.full) or frontier.given:
            raise RuntimeError("the crawl ended before its work was done")
        pages = frontier.fetched >= settings.max_pages
        frontier.refuse_waiting("page limit of the crawl" if pages else "size limit of the crawl")
        connection.send(Told(frontier.fetched, frontier.refused, 0))
    return Ended()


def _scrapy_settings(settings: Settings) -> dict[str, Any]:
    logging.basicConfig(filename=settings.log, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("scrapy").setLevel(logging.WARNING)
    return {
        "SCHEDULER": "metier.corpus.crawl.spider.FrontierScheduler",
        "DOWNLOAD_HANDLERS": dict.fromkeys(("data", "file", "ftp", "s3")),
        "DOWNLOADER_MIDDLEWARES": {"metier.corpus.crawl.robots.Robots": 100},
        "USER_AGENT": settings.agent,
        "DEFAULT_REQUEST_HEADERS": {
            "Accept": ", ".join(settings.media_types) + ", */*;q=0.1",
            "Accept-Language": f"{settings.language}, *;q=0.5" if settings.language else "*",
            "Accept-Encoding": "gzip, deflate",
        },
        # Politeness: one request at a time and a pause, longer where the server is slow; never shorter by chance.
        "DOWNLOAD_DELAY": settings.delay_seconds,
        "DOWNLOAD_DELAY_JITTER": 0.0,
        "CONCURRENT_REQUESTS": settings.connections * AHEAD,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
        "AUTOTHROTTLE_ENABLED": True,
        "AUTOTHROTTLE_START_DELAY": settings.delay_seconds,
        # Limits of one page, also when unpacked; the time covers the whole body, however slowly it drips.
        "DOWNLOAD_MAXSIZE": settings.page_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_TIMEOUT": settings.page_seconds,
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        # The frontier and the spider do these themselves, so that each lands in the ledger and survives a kill.
        "REDIRECT_ENABLED": False,
        "METAREFRESH_ENABLED": False,
        "RETRY_ENABLED": False,
        "HTTPERROR_ALLOW_ALL": True,
        "URLLENGTH_LIMIT": 0,
        # A proxy would resolve names out of the guard's sight; cookies would tie pages to one visitor.
        "HTTPPROXY_ENABLED": False,
        "COOKIES_ENABLED": False,
        "REFERER_ENABLED": False,
        # Nothing listens, nothing is remotely controlled.
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "MEMUSAGE_ENABLED": False,
        "LOGSTATS_INTERVAL": 0,
        "LOG_LEVEL": "WARNING",
        "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
    }


def _earlier_pages(folder: Path) -> Iterator[tuple[Any, ...]]:
    from metier.core.tables import read_rows

    names = ["key", "etag", "last_modified", "fetched", "payload_digest", "url"]
    for row in read_rows(folder / "urls", names):
        if row["payload_digest"] and (row["etag"] or row["last_modified"]):
            yield tuple(row[name] for name in names)


def _earlier_links(folder: Path) -> Iterator[tuple[str, str]]:
    from metier.core.tables import read_rows

    for row in read_rows(folder / "links"):
        yield row["page"], row["target"]


def _lock(descriptor: int) -> None:
    """Wait for a crawling process that an earlier attempt left and that is about to notice."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _die_with_parent(connection: Connection) -> None:
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _bound_memory() -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = _MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(_MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _ended_by(error: BaseException) -> Ended:
    if isinstance(error, OSError):
        return Ended(error.errno, error.strerror or str(error), str(error.filename) if error.filename else None)
    return Ended(errno.ENOSPC if "full" in str(error) else errno.EIO, str(error))


if __name__ == "__main__":
    main(int(sys.argv[1]))
