"""The crawl, against servers on this machine."""

from __future__ import annotations

import gzip
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("scrapy")

from metier.core import Artifact, Mistake, Workshop
from metier.core.tables import read_rows
from metier.core.types import Documents
from metier.corpus.crawl import Crawl
from metier.corpus.crawl.archive import archive_file
from metier.corpus.warc import WarcPage, read_warc
from tests.corpus.given import HOST
from tests.corpus.sites import LOOPBACK, Answer, Page, Site, html, serving

ME = "tests@example.org"
CHINESE = "数据库的事务在提交之后才会写入日志文件，这是一个简单的说明。"


def crawl(folder: Path, site: Site, **fields: Any) -> Artifact:
    fields = {"delay_seconds": 0, "allow_private": LOOPBACK, "max_seconds": 5, **fields}
    return Workshop(folder, HOST).make(Crawl(seeds=(site.url + "/",), contact=ME, **fields))


def outcomes(made: Artifact, site: Site) -> dict[str, str]:
    return {row["url"].removeprefix(site.url): row["outcome"] for row in read_rows(made.folder / "urls")}


def texts(made: Artifact, site: Site) -> dict[str, str]:
    return {document.source.removeprefix(site.url): document.text for document in Documents(made.folder).rows()}


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte now and then, for ever as a client sees it: a slow-loris server."""
    begin(handler, "Content-Length", "100000")
    for _ in range(100):
        handler.wfile.write(b"x")
        time.sleep(0.1)


def pour(handler: BaseHTTPRequestHandler) -> None:
    begin(handler, "Transfer-Encoding", "chunked")
    for _ in range(500):
        handler.wfile.write(b"10000\r\n" + b"y" * 65536 + b"\r\n")


def promise_much(handler: BaseHTTPRequestHandler) -> None:
    begin(handler, "Content-Length", "100000000")
    handler.wfile.write(b"z" * 100_000)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    begin(handler, "Content-Length", "1000")
    handler.wfile.write(b"<html>short")
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def begin(handler: BaseHTTPRequestHandler, name: str, value: str) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header(name, value)
    handler.end_headers()


def once_only(answer: Answer, first: Answer) -> Callable[[BaseHTTPRequestHandler], Answer]:
    """Return a page that gives `first` at the first request and `answer` from then on."""
    turns = [first]
    return lambda handler: turns.pop() if turns else answer


FAULTS: dict[str, tuple[Page, str]] = {
    "/drip": (drip, "timed out"),
    "/pour": (pour, "larger than the limit"),
    "/promise": (promise_much, "larger than the limit"),
    "/short": (hang_up, "answer cut short"),
    "/bomb": (Answer(gzip.compress(bytes(30_000_000)), 200, {"Content-Encoding": "gzip"}), "larger than the limit"),
    "/torn": (Answer(b"\x1f\x8b\x08 no gzip", 200, {"Content-Encoding": "gzip"}), "damaged content encoding"),
    "/loop": (Answer(b"", 301, {"Location": "/pool"}), "redirect"),
    "/pool": (Answer(b"", 301, {"Location": "/loop"}), "redirect"),
    "/chain0": (Answer(b"", 302, {"Location": "/chain1"}), "redirect"),
    **{f"/chain{n}": (Answer(b"", 302, {"Location": f"/chain{n + 1}"}), "redirect") for n in range(1, 10)},
    "/chain10": (Answer(b"", 302, {"Location": "/chain11"}), "redirect without an end"),
    "/nowhere": (Answer(b"", 302, {"Location": "mailto:a@b"}), "redirect to nowhere"),
    "/lost": (Answer(b"", 404), "HTTP 404"),
    "/broken": (Answer(b"", 500), "HTTP 500"),
    "/tired": (once_only(html("Tired"), Answer(b"", 503, {"Retry-After": "0"})), "document"),
    "/picture": (Answer(b"\x89PNG", 200, {"Content-Type": "image/png"}), "not text (image/png)"),
    "/picture.jpg": (Answer(b""), "not text (.jpg)"),
    "/bytes": (Answer(bytes(range(256)) * 9), "binary file"),
    "/empty": (Answer(b" \n"), "empty page"),
    "/blank": (Answer(b"<html><script>1</script></html>"), "no text in it"),
    "/pdf": (Answer(b"%PDF-1.4 nothing", 200, {"Content-Type": "application/pdf"}), "unreadable PDF"),
    "/twin1": (html("Twin"), "document"),
    "/twin2": (html("Twin"), "same bytes as a page fetched before"),
    "/secret": (html("Secret"), "robots.txt"),
    "/shy": (html("Shy", head='<meta name="robots" content="noindex">'), "page asks not to be indexed"),
    "/mine": (Answer(b"<p>x", 200, {"TDM-Reservation": "1"}), "rights reserved for text and data mining"),
    "/a/b/a/b/a/b/a/b": (html("Trap"), "URL trap (folders that repeat)"),
    "/chinese": (
        Answer(f"<title>T</title><p>{CHINESE}".encode("gb18030"), 200, {"Content-Type": "text/html; charset=utf-8"}),
        "document",
    ),
    "/plain": (Answer(b"# no heading\n\tkept  as it is\n", 200, {"Content-Type": "text/plain"}), "document"),
}


def calendar(day: int) -> Page:
    return html(f"Day {day}", f"/day?d={day + 1}")


def test_every_fault_of_a_server_is_bounded_and_in_the_ledger(tmp_path: Path) -> None:
    pages: dict[str, Page] = {path: page for path, (page, _) in FAULTS.items()}
    links = [path for path in FAULTS if not (path.startswith("/chain") and path != "/chain0")]
    pages["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /secret\nSitemap: /map.xml.gz", 200)
    pages |= {f"/day?d={day}": calendar(day) for day in range(30)}
    entries = "<url><loc>/mapped</loc></url><url><loc>/lost</loc></url>"
    pages["/map.xml.gz"] = Answer(gzip.compress(f"<urlset>{entries}</urlset>".encode()), 200)
    pages["/mapped"] = html("Mapped")
    failing: dict[str, Page] = {f"/{n}": Answer(b"", 503) for n in range(40)}
    with serving(failing | {"/": html("Failing", *failing)}, "127.0.0.3") as other, serving(pages) as site:
        site.pages["/"] = html("Home", *links, "/day?d=0", "http://elsewhere.example/", other.url + "/")
        start = time.monotonic()
        fields = {"max_seconds": 1, "max_megabytes": 1, "tries": 2, "max_queries": 6, "depth": 12}
        made = crawl(tmp_path, site, domains=("127.0.0.1", "127.0.0.3"), **fields)
        assert time.monotonic() - start < 60
    given_up = Counter(outcomes(made, site)[other.url + path] for path in failing)
    assert given_up == {"HTTP 503": 40 - given_up["server stopped answering"], "server stopped answering": 24}
    assert len(other.log) <= 34  # robots.txt, the sitemap, the page, thirty failures, and one on its way by then
    found = outcomes(made, site)
    assert {path: found.get(path) for path in FAULTS} == {path: outcome for path, (_, outcome) in FAULTS.items()}
    assert found["http://elsewhere.example/"] == "outside the domains"
    assert found["/mapped"] == "document"
    assert sum(path.startswith("/day") for path in found) == 7  # six, and the one that was refused
    assert found["/day?d=6"] == "URL trap (too many queries of one path)"
    assert "/secret" not in site.asked() and "/picture.jpg" not in site.asked()
    assert {asked.headers["User-Agent"].partition(" ")[2] for asked in site.log} == {f"(+{ME})"}
    line, documents = made.record.ledger.lines
    assert line.came == len(found) == line.kept + sum(line.dropped.values())
    assert documents.came == line.kept and documents.made["document"] == sum(o == "document" for o in found.values())
    said = texts(made, site)
    assert said["/chinese"] == f"# T\n\n{CHINESE}" and said["/plain"] == "# no heading\n\tkept  as it is\n"


def test_nothing_private_is_reached_that_is_not_meant(tmp_path: Path) -> None:
    with serving({"/": html("Secrets")}) as house, serving({}, "127.0.0.2") as site:
        with pytest.raises(Mistake) as raised:
            crawl(tmp_path / "no", house, allow_private=(), tries=1)
        assert "private address" in (raised.value.found or "")
        port = house.url.rpartition(":")[2]
        spellings = ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"]
        links = [f"http://{host}:{port}/" for host in (*spellings, "localhost")]
        site.pages |= {
            "/": html("Home", *links, "/redirect", "/redirect2", "/fine"),
            "/fine": html("Fine"),
            "/redirect": Answer(b"", 302, {"Location": f"http://localhost:{port}/redirected"}),
            "/redirect2": Answer(b"", 302, {"Location": f"http://127.1:{port}/redirected"}),
            "/robots.txt": Answer(f"Sitemap: http://localhost:{port}/sitemap.xml".encode()),
        }
        # Only 127.0.0.2 is meant; the domains let all of them through, so that the guard alone stands in the way.
        domains = (*(host.strip("[]") for host in spellings), "localhost", "127.0.0.2")
        made = crawl(tmp_path / "yes", site, allow_private=("127.0.0.2/32",), domains=domains, tries=1)
        assert house.log == []
    found = outcomes(made, site)
    assert found["/fine"] == "document"
    assert {found[link] for link in links} == {"private address"}
    assert found[f"http://localhost:{port}/redirected"] == "private address"


@pytest.mark.slow
def test_a_refresh_fetches_what_changed_and_keeps_the_rest(tmp_path: Path) -> None:
    def tagged(answer: Answer, tag: str) -> Page:
        def page(handler: BaseHTTPRequestHandler) -> Answer:
            if handler.headers.get("If-None-Match") == tag:
                return Answer(b"", 304, {"Content-Type": "", "ETag": tag})
            return Answer(answer.body, 200, {"ETag": tag})

        return page

    pages = {
        "/robots.txt": Answer(b"User-agent: metier\nCrawl-delay: 0.4"),
        "/": tagged(html("Home", "/old", "/new"), '"home"'),
        "/old": tagged(html("Old", "/below"), '"old"'),
        "/new": tagged(html("New"), '"1"'),
        "/below": html("Below"),
    }
    with serving(pages) as site:
        first = Crawl(seeds=(site.url + "/",), contact=ME, delay_seconds=0, allow_private=LOOPBACK, sitemap=False)
        one = Workshop(tmp_path).make(first)
        before = texts(one, site)
        waits = [later.at - sooner.at for sooner, later in pairwise(site.log)]
        assert min(waits[1:]) > 0.35  # what robots.txt asks for, though the crawl itself would not wait
        site.log.clear()
        site.pages["/new"] = tagged(
            html("New", words="Something else is said here, and it has been said today."), '"2"'
        )
        two = Workshop(tmp_path).make(first.model_copy(update={"previous": first}))
    after = texts(two, site)
    assert {path for path in after if after[path] != before[path]} == {"/new"} and set(after) == set(before)
    asked = {asked.path: asked.headers.get("If-None-Match") for asked in site.log}
    assert asked == {"/robots.txt": None, "/": '"home"', "/old": '"old"', "/new": '"1"', "/below": None}
    rows = {row["url"].removeprefix(site.url): row for row in read_rows(two.folder / "urls")}
    assert {path: row["status"] for path, row in rows.items()} == {"/": 304, "/old": 304, "/new": 200, "/below": 200}
    assert rows["/old"]["etag"] == '"old"' and rows["/old"]["payload_digest"]
    archived = gzip.decompress(archive_file(two.folder / "warc", 0).read_bytes())
    assert archived.count(b"WARC-Type: revisit") == 2 and archived.count(b"WARC-Type: response") == 2


CRAWLING = """
import sys
from pathlib import Path
from metier.core import Workshop
from metier.corpus.crawl import Crawl
Workshop(Path(sys.argv[1])).make(
    Crawl(seeds=(sys.argv[2] + "/",), contact="me@example.org", delay_seconds=0, allow_private=("127.0.0.0/8",))
)
"""


def until(site: Site, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(site.log) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_a_crawl_that_is_killed_goes_on_without_a_page_lost_or_kept_twice(tmp_path: Path) -> None:
    pages: dict[str, Page] = {"/": html("Home", *(f"/{number}" for number in range(40)))}
    pages |= {f"/{number}": html(f"Page {number}", f"/{number + 40}") for number in range(40)}
    pages |= {f"/{number}": html(f"Page {number}") for number in range(40, 80)}
    with serving(pages) as site:
        run = [sys.executable, "-c", CRAWLING, str(tmp_path), site.url]
        all_of_it = subprocess.Popen(run, start_new_session=True)
        until(site, 25)
        for process in [*psutil.Process(all_of_it.pid).children(recursive=True), psutil.Process(all_of_it.pid)]:
            process.kill()
        all_of_it.wait()
        again = subprocess.Popen(run)
        until(site, len(site.log) + 25)
        crawling = psutil.Process(again.pid).children()[0]
        os.kill(crawling.pid, signal.SIGKILL)  # this time the crawling process alone: it is started anew
        assert again.wait(60) == 0
    (folder,) = tmp_path.glob("crawl-*")
    archived = [page.url for page in read_warc(archive_file(folder / "warc", 0)) if isinstance(page, WarcPage)]
    assert sorted(archived) == sorted(site.url + path for path in pages)
    assert len(set(texts(Documents(folder), site))) == 81
    assert max(site.asked().count(path) for path in pages) <= 3  # at worst once more for each kill
    assert len(Documents(folder).events("crawling process crashed")) == 1


@pytest.mark.slow
def test_a_crawl_ends_at_its_limits_and_says_what_it_left(tmp_path: Path) -> None:
    pages: dict[str, Page] = {"/": html("Home", *(f"/{number}" for number in range(10)))}
    pages |= {f"/{number}": html(f"Page {number}") for number in range(10)}
    with serving(pages) as site:
        made = crawl(tmp_path, site, max_pages=4, exclude=("*/3",), sitemap=False)
    assert made.record.ledger.lines[0].kept == 4
    assert made.record.ledger.lines[0].dropped == {"page limit of the crawl": 6, "left out by include or exclude": 1}
    assert len(site.asked()) == 5


@pytest.mark.slow
def test_a_full_disk_ends_the_crawl_with_a_word_and_keeps_what_was_fetched(tmp_path: Path) -> None:
    rng = random.Random(1)
    pages: dict[str, Page] = {"/": html("Home", *(f"/{number}" for number in range(8)))}
    pages |= {f"/{number}": html(f"Page {number}", words=rng.randbytes(60_000).hex()) for number in range(8)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(pages) as site:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # the crawling process inherits it
        try:
            with pytest.raises(Mistake) as raised:
                crawl(tmp_path, site, sitemap=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert raised.value.hint
        fetched = len(site.log)
        made = crawl(tmp_path, site, sitemap=False)
        assert len(texts(made, site)) == 9
        assert len(site.log) - fetched < 9  # it went on where it was


@pytest.mark.parametrize(
    "fields",
    [
        {"seeds": ()},
        {"seeds": ("example.org",)},
        {"seeds": ("file:///etc/passwd",)},
        {"contact": "nobody"},
        {"allow_private": ("10.0.0.0/99",)},
        {"media_types": ("image/png",)},
    ],
)
def test_a_crawl_that_makes_no_sense_is_not_begun(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Crawl(**{"seeds": ("https://example.org",), "contact": ME, **fields})
