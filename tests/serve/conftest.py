"""One tiny model served for all tests of the room."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from metier.core import Host


class Live(NamedTuple):
    """A running server."""

    url: str
    name: str


def running(path: Path, **options: object) -> Iterator[Live]:
    """Serve `path` in a thread; stop it afterwards and wait until it has stopped."""
    from metier.serve.run import serve

    stop, ready = threading.Event(), threading.Event()
    told: list[Live] = []
    failed: list[BaseException] = []

    def tell(url: str, name: str) -> None:
        told.append(Live(url, name))
        ready.set()

    def run() -> None:
        try:
            serve(
                path,
                Host(cores=1, threads=1, memory_bytes=1 << 30),
                port=0,
                ready=tell,
                stop=stop,
                **options,  # type: ignore[arg-type]
            )
        except BaseException as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(60)
    if failed:
        raise failed[0]
    yield told[0]
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def live(tiny_gguf: Path) -> Iterator[Live]:
    """The tiny model, served with room for four requests side by side."""
    yield from running(tiny_gguf, context_tokens=512)
