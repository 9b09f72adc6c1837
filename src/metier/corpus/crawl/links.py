"""What a page says beside its text: where it links to, its language and licence, and what crawlers may do with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser

from metier.corpus.crawl.urls import absolute

MAX_LINKS = 10_000
"""Of one page more are not followed: it is a dump, or a server that makes up links."""

ROBOT = "metier"
"""The name under which robots.txt and robots meta tags may speak to this crawler."""

_REFRESH = re.compile(r"^\s*\d+\s*[;,]\s*url\s*=\s*[\"']?([^\"'>]+)", re.IGNORECASE)
_LANGUAGE = re.compile(r"^([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]+)*$")
NO_INDEX = "page asks not to be indexed"
RESERVED = "rights reserved for text and data mining"


class Facts(NamedTuple):
    """What a page says of itself.

    `links` are absolute, and `more_links` is how many it has beyond MAX_LINKS; `withheld` is why it makes no document.
    """

    links: list[str]
    language: str | None
    license: str | None
    withheld: str | None
    more_links: int = 0


def facts_of(html: str, url: str, charset: str, headers: Mapping[str, str]) -> Facts:
    """Return the facts of a web page; `headers` are the response's, names in lower case."""
    tree = LexborHTMLParser(html)
    base = tree.css_first("base[href]")
    home = (absolute(base.attributes.get("href") or "", url) if base is not None else None) or url
    metas = {
        (node.attributes.get("name") or "").strip().lower(): (node.attributes.get("content") or "").strip().lower()
        for node in tree.css("meta[name][content]")
    }
    words = directives(metas, headers)
    links = [] if "nofollow" in words else list(dict.fromkeys(_links(tree, home, charset)))
    root = tree.css_first("html")
    language = _LANGUAGE.match((root.attributes.get("lang") or "").strip()) if root is not None else None
    license = tree.css_first("link[rel~=license][href],a[rel~=license][href]")
    return Facts(
        links[:MAX_LINKS],
        language[1].lower() if language else None,
        absolute(license.attributes.get("href") or "", home) if license is not None else None,
        withheld(words),
        max(0, len(links) - MAX_LINKS),
    )


def facts_of_headers(headers: Mapping[str, str]) -> Facts:
    """Return the facts of a text or PDF, which only its headers can tell."""
    return Facts([], None, None, withheld(directives({}, headers)))


def directives(metas: Mapping[str, str], headers: Mapping[str, str]) -> set[str]:
    """Return the words of robots meta tags and headers that speak to all robots or to this one.

    `tdm-reservation` is the W3C's TDM Reservation Protocol, one way to reserve rights under Article 4 of the EU's
    Directive 2019/790.
    """
    said = [metas.get("robots", ""), metas.get(ROBOT, "")]
    for part in headers.get("x-robots-tag", "").lower().split(","):
        agent, colon, rest = part.partition(":")
        if not colon or agent.strip() == ROBOT:
            said.append(rest if colon else part)
    words = {word.strip() for text in said for word in text.split(",")}
    if "none" in words:
        words |= {"noindex", "nofollow"}
    if "1" in (metas.get("tdm-reservation"), headers.get("tdm-reservation", "").strip()):
        words.add("tdm-reservation")
    return words


def withheld(words: set[str]) -> str | None:
    """Return why a page with these directives makes no document, or None."""
    if "noindex" in words:
        return NO_INDEX
    return RESERVED if "tdm-reservation" in words else None


def _links(tree: LexborHTMLParser, home: str, charset: str) -> Iterator[str]:
    for node in tree.css("a[href],area[href],frame[src],iframe[src],link[rel~=canonical][href],link[rel~=next][href]"):
        attributes = node.attributes
        if "nofollow" in (attributes.get("rel") or "").lower().split():
            continue
        url = absolute(attributes.get("href") or attributes.get("src") or "", home, charset)
        if url is not None:
            yield url
    for node in tree.css("meta[http-equiv][content]"):
        found = _REFRESH.match(node.attributes.get("content") or "")
        if found and (node.attributes.get("http-equiv") or "").lower() == "refresh":
            url = absolute(found[1], home, charset)
            if url is not None:
                yield url
