"""A small web site on this machine for the tests of the crawl, and a log of what was asked of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

LOOPBACK = ("127.0.0.0/8",)
WORDS = "The cache keeps a page until the journal is written and the transaction ends with a commit."


class Answer(NamedTuple):
    """What the server says to one request."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    """One request that came."""

    path: str
    headers: dict[str, str]
    at: float


Page = Answer | Callable[[BaseHTTPRequestHandler], Answer | None]


class Site:
    """Pages by path; what is not there is 404. A callable may write to the socket by itself and return None."""

    def __init__(self, pages: Mapping[str, Page], host: str) -> None:
        self.pages, self.log = dict(pages), list[Asked]()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                site.log.append(Asked(self.path, dict(self.headers.items()), time.monotonic()))
                page = site.pages.get(self.path, Answer(b"not here", 404))
                answer = page(self) if callable(page) else page
                if answer is not None:
                    self.send_response(answer.status)
                    for name, value in ({"Content-Type": "text/html; charset=utf-8"} | dict(answer.headers)).items():
                        if value:
                            self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # the crawler hangs up on what it does not want

        self._server = Server((host, 0), Handler)
        self.url = f"http://{host}:{self._server.server_port}"

    def asked(self) -> list[str]:
        """Return the paths asked for, in order."""
        return [asked.path for asked in self.log]

    def serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def html(title: str, *links: str, words: str = WORDS, head: str = "") -> Answer:
    """Return a page with links."""
    anchors = " ".join(f'<p>See <a href="{link}">more of {title}</a>.</p>' for link in links)
    text = f"<h1>{title}</h1><p>{words} {title}.</p>{anchors}"
    return Answer(f"<html lang=en><head><title>{title}</title>{head}</head><body>{text}</body></html>".encode())


@contextmanager
def serving(pages: Mapping[str, Page], host: str = "127.0.0.1") -> Iterator[Site]:
    """Serve pages for the length of a `with` block."""
    site = Site(pages, host)
    site.serve()
    try:
        yield site
    finally:
        site.stop()
