"""Which URLs are one and the same, and which are worth asking for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

from w3lib.url import canonicalize_url, safe_url_string

from metier.corpus.crawl.addresses import Guard
from metier.corpus.crawl.frontier import TOO_DEEP

MAX_CHARS = 2000
"""Longer URLs are not asked for: sessions and forms written into the address, or a server that feeds on itself."""

_MAX_SEGMENTS = 20
_MAX_REPEATS = 3  # of one path segment: /de/docs/de/docs/de/docs/ is a relative link that eats its tail
# Parameters that name the visitor or the advertisement, never the page.
_VISITOR = re.compile(
    r"^(?:utm_\w+|fbclid|gclid|dclid|msclkid|mc_[ce]id|_ga|igshid|phpsessid|jsessionid|aspsessionid\w*|sid|session_?id)=",
    re.IGNORECASE,
)
_SESSION_PATH = re.compile(r";jsessionid=[^/?#]*", re.IGNORECASE)
_NOT_PAGES = frozenset(
    re.findall(
        r"\w+",
        "7z apk avi bin bmp bz2 class css csv deb dll dmg doc docx eot epub exe flac gif gz ico ics iso jar jpeg jpg "
        "js json m4a m4v map mkv mov mp3 mp4 mpeg mpg msi odp ods odt ogg ogv otf png ppt pptx ps rar rpm rss so svg "
        "svgz swf tar tgz tif tiff ttf wasm wav webm webp wmv woff woff2 xls xlsx xml xz zip zst",
    )
)


def absolute(link: str, base: str, charset: str = "utf-8") -> str | None:
    """Return the address that a link on a page leads to, without fragment, or None where it leads to no page.

    `charset` is the page's: browsers write the query of a link in it.
    """
    link = link.strip()
    if not link or link[0] == "#" or re.match(r"(?:javascript|mailto|tel|data|about|blob|sms|file):", link, re.I):
        return None
    try:
        url = safe_url_string(urljoin(base, link), charset).partition("#")[0]
        parts = urlsplit(url)
        known = parts.port is None or parts.port > 0
    except (ValueError, UnicodeError, LookupError):
        return None
    return url if known and parts.scheme in ("http", "https", "ftp") and parts.hostname else None


def key_of(url: str) -> str:
    """Return what two addresses of one page share: order of the query, visitor's parameters and spelling aside."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port not in (None, {"http": 80, "https": 443}.get(parts.scheme)) else ""
    query = "&".join(item for item in parts.query.split("&") if item and not _VISITOR.match(item))
    path = _SESSION_PATH.sub("", parts.path) or "/"
    return canonicalize_url(SplitResult(parts.scheme, host + port, path, query, "").geturl())


def host_of(url: str) -> str:
    """Return the host of an address, with its port: what one server is to robots.txt."""
    return urlsplit(url).netloc.lower()


def within(host: str, domain: str) -> bool:
    """Say whether a host is a domain or below it."""
    return host == domain or host.endswith("." + domain)


class Scope(NamedTuple):
    """What a crawl may ask for.

    `domains` cover what is below them; `include` and `exclude` are patterns of whole URLs.
    """

    guard: Guard
    domains: Sequence[str]
    include: Sequence[str]
    exclude: Sequence[str]
    depth: int

    def site_reason(self, url: str) -> str | None:
        """Return why nothing is asked of a URL's server, or None."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in ("http", "https"):
            return "not http or https"
        if not any(within(host, domain) for domain in self.domains):
            return "outside the domains"
        if parts.username or parts.password:
            return "URL with a user name"
        return self.guard.host_reason(host)

    def reason(self, url: str, depth: int) -> str | None:
        """Return why a page, found `depth` links from a seed, is not asked for, or None if it is."""
        refused = self.site_reason(url)
        if refused is not None:
            return refused
        path = urlsplit(url).path
        suffix = re.search(r"\.([A-Za-z0-9]{1,5})$", path)
        if suffix and suffix[1].lower() in _NOT_PAGES:
            return f"not text (.{suffix[1].lower()})"
        if not _any(url, self.include) or _any(url, self.exclude):
            return "left out by include or exclude"
        return trap(url, path) or (TOO_DEEP if depth > self.depth else None)


def trap(url: str, path: str) -> str | None:
    """Return the reason if an address looks like one of endlessly many: too long, too deep, or repeating itself."""
    if len(url) > MAX_CHARS:
        return "URL trap (too long)"
    segments = [segment for segment in path.split("/") if segment]
    if len(segments) > _MAX_SEGMENTS:
        return "URL trap (too many folders)"
    if any(times > _MAX_REPEATS for times in Counter(segments).values()):
        return "URL trap (folders that repeat)"
    return None


def _any(url: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(url, pattern) for pattern in patterns)
