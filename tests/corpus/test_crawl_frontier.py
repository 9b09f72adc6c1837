from __future__ import annotations

from pathlib import Path

from metier.corpus.crawl.archive import Archive, archive_file, payload_digest
from metier.corpus.crawl.frontier import CRASHED, PAGE, Capture, Found, Frontier, Given
from metier.corpus.warc import Place, WarcPage, page_at, read_warc


def found(number: int, host: str = "a.org", depth: int = 0, reason: str | None = None) -> Found:
    url = f"http://{host}/{number}"
    return Found(url, url, host, PAGE, depth, 0, reason)


def opened(folder: Path, crashed: bool = False, most: int = 1000) -> Frontier:
    return Frontier(folder / "frontier.sqlite", most=most, max_queries=3, crashed=crashed)


def taken(frontier: Frontier, at_most: int = 100) -> Given:
    given = frontier.take(at_most)
    assert given is not None
    return given


def keep(archive: Archive, given: Given, body: bytes) -> Capture:
    stored = archive.page(given.url, 200, [("Content-Type", "text/plain")], body)
    digest = payload_digest(body)
    place = (stored.file, *stored.place)
    return Capture(200, "text/plain", None, '"e"', None, stored.date, digest, *place, bytes=len(body))


def pages(folder: Path) -> list[str]:
    return [page.url for page in read_warc(archive_file(folder / "warc", 0)) if isinstance(page, WarcPage)]


def test_a_url_is_known_once_however_often_it_is_found(tmp_path: Path) -> None:
    with opened(tmp_path) as frontier:
        frontier.add([found(1), found(1), found(2, reason="robots.txt")])
        frontier.add([found(1), found(2)])
        assert (frontier.waiting, frontier.refused) == (1, 1)


def test_the_nearest_page_comes_first_and_hosts_take_turns(tmp_path: Path) -> None:
    with opened(tmp_path) as frontier:
        frontier.add([found(1, depth=2), found(2, depth=1), found(3, "b.org", depth=9)])
        assert [taken(frontier, 1).url for _ in range(2)] == ["http://a.org/2", "http://b.org/3"]
        assert frontier.take(1) is None  # both hosts are busy
        assert taken(frontier, 2).url == "http://a.org/1"


def test_a_shorter_way_to_a_page_that_was_too_deep_is_taken(tmp_path: Path) -> None:
    with opened(tmp_path) as frontier:
        frontier.add([found(1, depth=9, reason="deeper than the limit"), found(2, depth=9, reason="robots.txt")])
        frontier.add([found(1, depth=2), found(2, depth=2)])
        assert (taken(frontier).depth, frontier.refused, frontier.waiting) == (2, 1, 0)


def test_queries_without_end_are_a_trap(tmp_path: Path) -> None:
    with opened(tmp_path) as frontier:
        frontier.add(found(day)._replace(path="http://a.org/calendar") for day in range(10))
        assert frontier.waiting == 3
        assert frontier.reasons() == {"URL trap (too many queries of one path)": 7}


def test_urls_beyond_what_is_remembered_are_counted(tmp_path: Path) -> None:
    with opened(tmp_path, most=5) as frontier:
        frontier.add(found(number) for number in range(12))
        assert (frontier.waiting, frontier.told("beyond")) == (5, "7")


def test_a_kill_between_archive_and_frontier_fetches_the_page_again_and_keeps_it_once(tmp_path: Path) -> None:
    with opened(tmp_path) as frontier:
        frontier.add(found(number) for number in range(3))
        archive = Archive(tmp_path / "warc", frontier, {"software": "test"})
        first = taken(frontier)
        frontier.settle(first, keep(archive, first, b"first"))
        keep(archive, taken(frontier), b"second")  # archived, and killed before it was settled
        with archive_file(tmp_path / "warc", 0).open("ab") as out:
            out.write(b"\x1f\x8b\x08 half a record")
    with opened(tmp_path) as frontier:
        archive = Archive(tmp_path / "warc", frontier, {"software": "test"})
        assert pages(tmp_path) == ["http://a.org/0"]
        while (given := frontier.take(100)) is not None:
            assert given.tries == 1  # having been interrupted is no try
            frontier.settle(given, keep(archive, given, given.url.encode()))
        assert sorted(pages(tmp_path)) == ["http://a.org/0", "http://a.org/1", "http://a.org/2"]
        assert (frontier.fetched, frontier.refused) == (3, 0)


def test_pages_that_a_failing_machine_did_not_write_are_fetched_again(tmp_path: Path) -> None:
    with opened(tmp_path) as frontier:
        frontier.add(found(number) for number in range(3))
        archive = Archive(tmp_path / "warc", frontier, {"software": "test"})
        while (given := frontier.take(100)) is not None:
            frontier.settle(given, keep(archive, given, given.url.encode()))
        file = archive_file(tmp_path / "warc", 0)
    with file.open("r+b") as out:
        out.truncate(file.stat().st_size - 10)
    with opened(tmp_path) as frontier:
        archive = Archive(tmp_path / "warc", frontier, {"software": "test"})
        assert (frontier.fetched, frontier.waiting) == (2, 1)
        given = taken(frontier)
        capture = keep(archive, given, b"again")
        frontier.settle(given, capture)
        page = page_at(file, Place(capture.start, capture.length))
        assert isinstance(page, WarcPage) and page.payload == b"again"
        assert len(pages(tmp_path)) == 3
    file.unlink()
    with opened(tmp_path) as frontier:
        Archive(tmp_path / "warc", frontier, {"software": "test"})
        assert (frontier.fetched, frontier.waiting) == (0, 3)


def test_of_pages_in_flight_at_a_crash_the_one_to_blame_is_found(tmp_path: Path) -> None:
    with opened(tmp_path) as frontier:
        frontier.add(found(number) for number in range(3))
        for _ in range(3):
            frontier.take(100)
    asked = []
    for _ in range(9):  # processes; page 1 crashes each
        with opened(tmp_path, crashed=True) as frontier:
            while (given := frontier.take(100)) is not None:
                asked.append(given.url)
                if given.url.endswith("/1"):
                    break
                frontier.refuse(given, "read")
            if given is None:
                break
    assert asked.count("http://a.org/1") == 2  # alone both times, and never again
    with opened(tmp_path) as frontier:
        assert frontier.reasons() == {CRASHED: 1, "read": 2}


def test_links_and_what_an_earlier_crawl_knew_are_remembered(tmp_path: Path) -> None:
    with opened(tmp_path) as frontier:
        earlier = [("k", '"e"', None, "2026-01-01T00:00:00Z", "sha256:X", "http://a.org/k")]
        frontier.learn(earlier, [("k", "http://a.org/x"), ("k", "http://a.org/y")])
        frontier.learn([("other", None, None, "", "", "")], [])  # once is enough: a killed crawl learnt it before
        assert frontier.earlier("other") is None and frontier.earlier("none") is None
        known = frontier.earlier("k")
        assert known is not None and known.etag == '"e"'
        assert frontier.earlier_links("k") == ["http://a.org/x", "http://a.org/y"]
        frontier.add([found(1)])
        archive = Archive(tmp_path / "warc", frontier, {"software": "test"})
        given = taken(frontier)
        capture = keep(archive, given, b"one")
        frontier.settle(given, capture, [found(2, depth=1)], ["http://a.org/2", "http://else.org/"])
        assert list(frontier.links()) == [("http://a.org/1", "http://a.org/2"), ("http://a.org/1", "http://else.org/")]
        assert capture.digest is not None and frontier.same_bytes(capture.digest) is not None
        assert frontier.bytes == 3
        rows = {row["url"]: row for row in frontier.outcomes()}
        assert rows["http://a.org/2"]["found_on"] == "http://a.org/1"
