"""What a worker of a cluster does: one task, once it is sure to be where it should be."""

from __future__ import annotations

import faulthandler
import importlib.metadata
import os
import pickle
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Mistake
from metier.corpus.engine.answers import Answer, imported, what_happened

_LIBRARIES = ("metier", "pyarrow")  # other versions may write other bytes
_function: tuple[bytes, Any] = (b"", None)


class Site(NamedTuple):
    """What a worker must find: versions, a file of the step, the folder where it runs, and where it imports from."""

    versions: dict[str, str]
    token: Path
    folder: Path
    path: list[str]

    @classmethod
    def here(cls, token: Path) -> Site:
        """Describe this process."""
        return cls(_versions(), token, Path.cwd(), [entry for entry in sys.path if Path(entry).is_absolute()])


class Errand(NamedTuple):
    """A task with all that is needed to do it.

    `limits` are the seconds that it may take as the first task of a worker and as a later one, or None; `words` is a
    file for the traceback of one that takes too long.
    """

    site: Site
    function: bytes
    task: bytes
    limits: tuple[float, float] | None
    words: Path


def run(errand: Errand) -> bytes:
    """Do the task and return the pickled Answer. The process ends if it takes longer than its limit."""
    try:
        _check(errand.site)
        with suppress(OSError):
            os.chdir(errand.site.folder)  # relative paths mean there what they mean here
        fresh = _function[0] != errand.function
        function = _imported_once(errand.function, errand.site.path)
        with _bounded(errand.limits and errand.limits[0 if fresh else 1], errand.words):
            answer = Answer("done", function(imported(errand.task)))
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except BaseException as error:
        return pickle.dumps(what_happened(error), pickle.HIGHEST_PROTOCOL)


def _check(site: Site) -> None:
    if not site.token.is_file():
        raise Mistake(
            f"{platform.node()} does not see {site.token.parent.parent}",
            found="no such folder there, or another one of that name",
            hint="put the workshop on storage that all machines of the cluster mount at the same path",
        )
    here = _versions()
    if here != site.versions:
        differ = [
            f"{name} {here[name]} there, {site.versions[name]} here"
            for name in here
            if here[name] != site.versions[name]
        ]
        raise Mistake(
            f"{platform.node()} has other versions than this machine",
            found="; ".join(differ),
            hint="install the same environment on every machine of the cluster",
        )


def _versions() -> dict[str, str]:
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


def _imported_once(source: bytes, path: list[str]) -> Any:
    """Return the function, the same object for all tasks of a map that this process does: it may hold a model."""
    global _function
    if _function[0] != source:
        sys.path += [entry for entry in path if entry not in sys.path]
        _function = (source, imported(source))
    return _function[1]


@contextmanager
def _bounded(seconds: float | None, words: Path) -> Iterator[None]:
    if seconds is None:
        yield
        return
    with words.open("wb") as out:
        # Its thread needs no interpreter: it ends a call inside C code that never lets go of it.
        faulthandler.dump_traceback_later(seconds, exit=True, file=out)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    words.unlink()
