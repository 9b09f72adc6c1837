"""What the crawling process is told: the step's fields as it needs them, and where to work."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

AHEAD = 2
"""URLs given out for one server at a time: one on its way, one ready."""


class Settings(NamedTuple):
    """One crawl. `scratch` holds the frontier, `archive` the WARC files, `previous` an earlier crawl's artifact.

    Sizes are in bytes, of payloads without encoding; `tries` is how often a URL is asked for at most.
    """

    scratch: Path
    archive: Path
    previous: Path | None
    seeds: tuple[str, ...]
    domains: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    depth: int
    max_pages: int
    max_total_bytes: int
    page_bytes: int
    page_seconds: float
    delay_seconds: float
    connections: int
    max_queries: int
    tries: int
    sitemap: bool
    obey_directives: bool
    media_types: tuple[str, ...]
    allow_private: tuple[str, ...]
    agent: str
    contact: str
    language: str | None

    @property
    def frontier(self) -> Path:
        """The file of the frontier."""
        return self.scratch / "frontier.sqlite"

    @property
    def log(self) -> Path:
        """The file that the crawling process logs warnings and errors to."""
        return self.scratch / "crawl.log"


class Told(NamedTuple):
    """How far the crawl is; sent a few times a second, so that silence means it hangs."""

    fetched: int
    refused: int
    waiting: int


class Ended(NamedTuple):
    """The crawl is over: for good, or by an error of the operating system that would meet every page."""

    errno: int | None = None
    text: str = ""
    path: str | None = None


def site_domains(seeds: tuple[str, ...]) -> tuple[str, ...]:
    """Return the domains that seeds stand for: their hosts, without a leading "www."."""
    hosts = [(urlsplit(seed).hostname or "").removeprefix("www.") for seed in seeds]
    return tuple(host for host in dict.fromkeys(hosts) if not any(host.endswith("." + other) for other in hosts))
