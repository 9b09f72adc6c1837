"""Crawl web sites into an archive, and the archive into documents."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from metier.core import Estimate, Failure, Host, Mistake, Step, Work
from metier.core.errors import from_os_error
from metier.core.progress import Bar
from metier.core.types import Documents
from metier.corpus.crawl.addresses import PRIVATE
from metier.corpus.crawl.settings import Ended, Settings, Told, site_domains

_READABLE = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown", "application/pdf")
_HANG_SECONDS = 180.0  # the crawling process speaks four times a second
_START_SECONDS = 1800.0  # it may have an earlier crawl of millions of pages to take in
_CRASHES = 3


class Crawl(Step[Documents]):
    """Crawl web sites politely into WARC files, and make a document of each page.

    robots.txt is always obeyed, one request at a time goes to a server, and private addresses are never reached unless
    `allow_private` names their network. A crawl that was stopped, however, goes on where it was. `warc/` holds what
    was fetched, `urls/` what became of every URL that was found, `links/` who links to whom.
    """

    name: ClassVar[str] = "crawl"
    extras: ClassVar[tuple[str, ...]] = ("corpus", "crawl")

    seeds: tuple[str, ...] = Field(description="URLs to begin with.")
    contact: str = Field(description="A mail address or URL where the owner of a site can reach you; sent along.")
    domains: tuple[str, ...] = Field((), description="Domains to stay in, with all below them; those of the seeds.")
    depth: int = Field(10, ge=0, description="Links from a seed to a page, at most.")
    max_pages: int = Field(10_000, ge=1, description="Pages to fetch, at most.")
    max_megabytes: float = Field(20.0, gt=0, description="Larger pages are passed over.")
    max_total_megabytes: float = Field(10_000.0, gt=0, description="The crawl ends when it has fetched so much.")
    delay_seconds: float = Field(1.0, ge=0, description="Pause between two requests to a server, at least.")
    max_seconds: float = Field(60.0, gt=0, description="Time limit for fetching one page.")
    connections: int = Field(16, ge=1, description="Servers that are asked at the same time.")
    include: tuple[str, ...] = Field(("*",), description="Patterns of URLs to fetch; * crosses slashes.")
    exclude: tuple[str, ...] = Field((), description="Patterns of URLs not to fetch.")
    sitemap: bool = Field(True, description="Also look for pages in the sites' sitemaps.")
    media_types: tuple[str, ...] = Field(_READABLE, description="Kinds of pages to fetch.")
    obey_directives: bool = Field(
        True, description="Make no document of a page that says noindex or reserves text and data mining (TDMRep)."
    )
    max_queries: int = Field(500, ge=1, description="Pages that differ in their query (?a=b) only, at most.")
    tries: int = Field(3, ge=1, description="How often a page is asked for whose server fails.")
    allow_private: tuple[str, ...] = Field(
        (), description="Networks in your house that may be crawled, as in 10.20.0.0/16; none of them else."
    )
    language: str | None = Field(None, description="Language to ask for, and of the documents; else what pages say.")
    previous: Step[Documents] | None = Field(
        None, description="An earlier crawl: pages that have not changed since are not fetched again."
    )
    edition: str = Field("", description="Any text, as a date: another one makes the crawl anew.")

    @field_validator("seeds")
    @classmethod
    def _web_addresses(cls, seeds: tuple[str, ...]) -> tuple[str, ...]:
        for seed in seeds:
            if urlsplit(seed).scheme not in ("http", "https") or not urlsplit(seed).hostname:
                raise ValueError(f"a URL begins with https:// or http://, and '{seed}' does not")
        if not seeds:
            raise ValueError("at least one URL is needed")
        return seeds

    @field_validator("contact")
    @classmethod
    def _reachable(cls, contact: str) -> str:
        if not re.fullmatch(r"[^\s@]+@[^\s@]+\.[^\s@]+|https?://\S+", contact):
            raise ValueError(f"a mail address or URL is wanted, and '{contact}' is none")
        return contact

    @field_validator("allow_private")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)  # its ValueError says what is wrong
        return networks

    @field_validator("media_types")
    @classmethod
    def _kinds(cls, media_types: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [kind for kind in media_types if kind not in _READABLE]
        if unknown:
            raise ValueError(f"{unknown[0]} cannot be read; {', '.join(_READABLE)} can")
        return media_types

    def run(self, work: Work) -> None:
        """Crawl, or go on crawling, in a process of its own; then write the documents."""
        from metier.corpus.crawl.frontier import Frontier
        from metier.corpus.crawl.pages import write_documents, write_urls

        previous = work.made(self.previous) if self.previous is not None else None
        if previous is not None and not (previous.folder / "urls").is_dir():
            raise Mistake("`previous` is no crawl", found=f"{previous.folder.name} holds no urls/", hint="name a crawl")
        settings = self._settings(work, previous)
        settings.scratch.mkdir(exist_ok=True)
        crawl(settings, work)
        with Frontier(settings.frontier) as frontier:
            reasons, fetched = frontier.reasons(), frontier.fetched
            if fetched == 0:
                shutil.rmtree(settings.scratch)  # the next attempt asks again
                raise Mistake("no page could be fetched", found=_told(reasons), hint=_hint(reasons))
            dropped = write_documents(work, frontier, settings.archive, previous, self.language)
            write_urls(work.folder, frontier)
            beyond = int(frontier.told("beyond") or 0)
            work.figure("sitemaps", frontier.sitemaps())
            work.figure("megabytes", round(frontier.bytes / 1e6, 1))
        made = fetched - dropped.total()
        if made == 0:
            raise Mistake("no page gave a document", found=_told(dropped), hint="`urls/` lists every page")
        if beyond:
            work.warn(
                f"{beyond} more links were not even remembered: the site makes up addresses, or raise `max_pages`"
            )
        work.count("URL", fetched + reasons.total(), fetched, reasons, made={"page": fetched})
        work.count("page", fetched, made, dropped, made={"document": made})

    def estimate(self, host: Host) -> Estimate | None:
        """Return the longest that the pauses will take, if the site has as many pages as the crawl may fetch."""
        servers = min(len(self.domains or site_domains(self.seeds)), self.connections)
        return Estimate(seconds=self.max_pages * max(self.delay_seconds, 0.1) / servers)

    def _settings(self, work: Work, previous: Documents | None) -> Settings:
        from metier import __version__

        return Settings(
            scratch=work.folder / ".scratch-crawl",
            archive=work.folder / "warc",
            previous=previous.folder if previous is not None else None,
            seeds=self.seeds,
            domains=tuple(domain.lower() for domain in self.domains) or site_domains(self.seeds),
            include=self.include,
            exclude=self.exclude,
            depth=self.depth,
            max_pages=self.max_pages,
            max_total_bytes=int(self.max_total_megabytes * 1e6),
            page_bytes=int(self.max_megabytes * 1e6),
            page_seconds=self.max_seconds,
            delay_seconds=self.delay_seconds,
            connections=self.connections,
            max_queries=self.max_queries,
            tries=self.tries,
            sitemap=self.sitemap,
            obey_directives=self.obey_directives,
            media_types=self.media_types,
            allow_private=self.allow_private,
            agent=f"metier/{__version__} (+{self.contact})",
            contact=self.contact,
            language=self.language,
        )


def crawl(settings: Settings, work: Work) -> None:
    """Run the crawling process until the crawl is over, starting it again when it crashes or hangs.

    Raises:
        Failure: it crashed three times without getting anywhere. Mistake: the disk is full, or the like.
    """
    crashes, far = 0, -1
    with work.progress("crawling", None, "pages") as bar:
        while True:
            ended, told = _attempt(settings, crashes > 0, bar)
            if ended is not None and ended.errno is not None:
                problem = from_os_error(OSError(ended.errno, ended.text, ended.path), "crawling")
                raise problem or Failure("the crawl had to stop", found=ended.text, hint="what was fetched is kept")
            if ended is not None:
                return
            crashes = crashes + 1 if told.fetched + told.refused <= far else 1
            far = told.fetched + told.refused
            work.event("crawling process crashed", fetched=told.fetched)
            if crashes > _CRASHES:
                lines = settings.log.read_text(errors="replace").strip().splitlines() if settings.log.is_file() else []
                raise Failure(
                    "the crawling process crashes again and again",
                    found=lines[-1] if lines else None,
                    hint=f"its log is {settings.log}; what was fetched is kept",
                )


def _attempt(settings: Settings, crashed: bool, bar: Bar) -> tuple[Ended | None, Told]:
    """Run the crawling process once; None if it crashed or hung, and how far it was when it last spoke."""
    ours, theirs = Pipe()
    with settings.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "metier.corpus.crawl.program", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # An interrupt is for this process; the other ends when the connection does.
            start_new_session=True,
        )
    theirs.close()
    told = Told(0, 0, 0)
    try:
        ours.send((settings, crashed))
        for heard in _hear(ours):
            if isinstance(heard, Ended):
                return heard, told
            if told == Told(0, 0, 0):
                bar.resume_at(heard.fetched)
            else:
                bar.advance(heard.fetched - told.fetched, refused=heard.refused, waiting=heard.waiting)
            told = heard
    except (EOFError, OSError):
        pass
    finally:
        ours.close()
        process.kill()
        process.wait()
    return None, told


def _hear(connection: Connection) -> Iterator[Told | Ended]:
    seconds = _START_SECONDS
    while connection.poll(seconds):
        yield connection.recv()
        seconds = _HANG_SECONDS


def _hint(reasons: Counter[str]) -> str:
    if PRIVATE in reasons:
        return "to crawl a network of your own, name it: allow_private: [10.20.0.0/16]"
    return "look at the seeds and domains of the crawl, and at this machine's way to the network"


def _told(reasons: Counter[str]) -> str:
    return "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(4)) or "nothing"
