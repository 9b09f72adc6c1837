from __future__ import annotations

import pytest

pytest.importorskip("scrapy")

from metier.corpus.crawl.addresses import Guard
from metier.corpus.crawl.links import NO_INDEX, RESERVED, Facts, facts_of, facts_of_headers
from metier.corpus.crawl.pages import page_text
from metier.corpus.crawl.settings import site_domains
from metier.corpus.crawl.urls import Scope, absolute, key_of

SCOPE = Scope(Guard(), ("example.org",), ("*",), ("*/print/*",), depth=3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://Example.org", "http://example.org/"),
        ("http://example.org:80/a", "http://example.org/a"),
        ("https://example.org:443/a", "https://example.org./a"),
        ("http://example.org/a?b=1&a=2", "http://example.org/a?a=2&b=1"),
        ("http://example.org/a?utm_source=x&fbclid=y", "http://example.org/a"),
        ("http://example.org/a;jsessionid=0F?PHPSESSID=1", "http://example.org/a"),
        ("http://example.org/%7euser", "http://example.org/~user"),
        ("http://example.org/a?", "http://example.org/a"),
    ],
)
def test_two_spellings_of_one_address_are_one(one: str, other: str) -> None:
    assert key_of(one) == key_of(other)


def test_addresses_of_different_pages_stay_apart() -> None:
    urls = ["http://example.org/a", "http://example.org/A", "http://example.org/a/", "http://example.org/a?page=2",
            "https://example.org/a", "http://example.org:8080/a", "http://[2001:db8::1]/a"]  # fmt: skip
    assert len({key_of(url) for url in urls}) == len(urls)


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("../b#top", "http://example.org/b"),
        ("//cdn.example.org/x", "http://cdn.example.org/x"),
        (" /with space ", "http://example.org/with%20space"),
        ("?q=ä", "http://example.org/a/?q=%E4"),  # as browsers do: the query in the page's charset
        ("#top", None), ("mailto:a@b.c", None), ("javascript:void(0)", None), ("data:text/html,x", None),
        ("http://[broken", None), ("http://example.org:99999/", None), ("", None), ("gopher://x/", None),
    ],
)  # fmt: skip
def test_links_lead_to_addresses(link: str, found: str | None) -> None:
    assert absolute(link, "http://example.org/a/", "latin-1") == found


@pytest.mark.parametrize(
    ("url", "depth", "reason"),
    [
        ("http://example.org/a", 3, None),
        ("http://www.example.org/a", 0, None),
        ("http://example.org/a.pdf", 0, None),
        ("http://example.org/a", 4, "deeper than the limit"),
        ("http://badexample.org/", 0, "outside the domains"),
        ("http://example.org.evil.net/", 0, "outside the domains"),
        ("http://example.org@evil.net/", 0, "outside the domains"),
        ("http://user:pw@example.org/", 0, "URL with a user name"),
        ("ftp://example.org/a", 0, "not http or https"),
        ("http://example.org/a.PNG", 0, "not text (.png)"),
        ("http://example.org/print/a", 0, "left out by include or exclude"),
        ("http://example.org/" + "a" * 2000, 0, "URL trap (too long)"),
        ("http://example.org/a/b" * 1 + "/a/b" * 3, 0, "URL trap (folders that repeat)"),
        ("http://example.org/" + "/".join(map(str, range(21))), 0, "URL trap (too many folders)"),
    ],
)
def test_the_scope_says_why_a_url_is_not_asked_for(url: str, depth: int, reason: str | None) -> None:
    assert SCOPE.reason(url, depth) == reason


def test_an_address_as_a_host_is_refused_though_its_domain_is_named() -> None:
    scope = SCOPE._replace(domains=("127.0.0.1", "2130706433"))
    assert scope.reason("http://127.0.0.1/", 0) == "private address"
    assert scope.reason("http://2130706433/", 0) == "private address"
    assert scope._replace(guard=Guard(("127.0.0.0/8",))).reason("http://2130706433/", 0) is None


def test_the_seeds_domains_are_their_hosts() -> None:
    assert site_domains(("https://www.a.org/x", "http://docs.a.org/", "https://b.org:8080/")) == ("a.org", "b.org")


def facts(head: str, body: str, **headers: str) -> Facts:
    html = f"<html lang='de-AT'><head>{head}</head><body>{body}</body></html>"
    return facts_of(html, "http://example.org/d/p", "utf-8", {name.replace("_", "-"): v for name, v in headers.items()})


def test_a_page_tells_its_links_language_and_licence() -> None:
    body = """<a href="a">1</a><a href="a#x">again</a><area href="/b"><iframe src="c"></iframe><a rel=nofollow href=no>
    </a><a rel="license" href="https://creativecommons.org/licenses/by/4.0/">CC</a><a href="mailto:x@y">m</a>"""
    head = '<base href="/base/"><link rel="canonical" href="canon"><meta http-equiv=refresh content="0; url=next">'
    found = facts(head, body)
    assert set(found.links) == {
        "http://example.org/base/a", "http://example.org/b", "http://example.org/base/c",
        "http://example.org/base/canon", "http://example.org/base/next",
        "https://creativecommons.org/licenses/by/4.0/",
    }  # fmt: skip
    assert found.language == "de" and found.license == "https://creativecommons.org/licenses/by/4.0/"
    assert found.withheld is None


def test_a_page_may_ask_not_to_be_taken() -> None:
    link = '<a href="a">1</a>'
    assert facts('<meta name="ROBOTS" content="NoIndex, Follow">', link).withheld == NO_INDEX
    assert facts('<meta name="robots" content="none">', link) == Facts([], "de", None, NO_INDEX)
    assert facts('<meta name="metier" content="nofollow">', link).links == []
    assert facts('<meta name="googlebot" content="noindex">', link).withheld is None
    assert facts('<meta name="tdm-reservation" content="1">', link).withheld == RESERVED
    assert facts("", link, x_robots_tag="otherbot: noindex").withheld is None
    assert facts("", link, x_robots_tag="noindex").withheld == NO_INDEX
    assert facts_of_headers({"tdm-reservation": "1"}).withheld == RESERVED


CHINESE = "数据库的事务在提交之后才会写入日志文件，这是一个简单的说明。"


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        (CHINESE.encode(), "iso-8859-1", CHINESE),  # bytes that are UTF-8 are UTF-8
        (CHINESE.encode("gb18030"), "gb2312", CHINESE),
        (CHINESE.encode("gb18030"), "utf-8", CHINESE),  # claimed wrongly, found by a checked guess
        ("Größe".encode("latin-1"), "iso-8859-1", "Größe"),
        ("Привет, мир".encode("koi8-r"), "koi8-r", "Привет, мир"),
        (CHINESE.encode("gb18030"), "no-such-charset", CHINESE),
    ],
)
def test_the_charset_that_a_server_claims_is_believed_where_the_bytes_bear_it_out(
    data: bytes, charset: str, text: str
) -> None:
    assert page_text(data, charset) == text
