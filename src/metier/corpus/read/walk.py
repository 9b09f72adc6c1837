"""Walk through one file and all that is nested in it, and say what each part gives."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from importlib import import_module
from typing import NamedTuple

from metier.core.files import UNREADABLE_SUFFIXES
from metier.corpus.read.found import Bomb, Content, Unread, Unreadable, why_unread
from metier.corpus.read.kinds import CONTAINERS, Kind, recognise, suffix_of
from metier.corpus.read.sources import Options, Source

Cursor = tuple[int, ...]
"""Where in a file an item lies: its number in the file, then in the archive that it is in, and so on."""

_READERS = {
    "text": "text:read_text",
    "markdown": "text:read_text",
    "latex": "text:read_text",
    "code": "text:read_text",
    "html": "pages:read_html",
    "pdf": "pages:read_pdf",
    "docx": "docx:read_docx",
    "pptx": "pptx:read_pptx",
    "sheets": "sheets:read_sheets",
    "notebook": "notebook:read_notebook",
    "json": "rows:read_json",
    "jsonl": "rows:read_jsonl",
    "csv": "rows:read_csv",
    "tsv": "rows:read_csv",
    "parquet": "rows:read_parquet",
    "mail": "mail:read_mail",
    "mbox": "mail:read_mbox",
    "log": "logs:read_log",
    "warc": "web_archives:read_web_archive",
    "zip": "archives:read_zip",
    "tar": "archives:read_tar",
    **dict.fromkeys(("gz", "bz2", "xz", "zst"), "archives:read_compressed"),
    "own": "own:read_own",
}
_NESTING = CONTAINERS | {"warc", "mail", "mbox"}
LEFT_OUT = "left out by include or exclude"
"""The reason for what the step's patterns of names do not want."""


class Item(NamedTuple):
    """One finding: what a part of `source` gives, and where it lies."""

    cursor: Cursor
    source: str
    found: Content | Unread


class Course(NamedTuple):
    """How a walk goes.

    after: go on behind this item; what lies before it is passed over, and of archives not even unpacked. bad: nested
    sources that are not read again, () for the file itself, and why. at: told where the walk is before it goes on.
    """

    after: Cursor | None = None
    bad: Mapping[Cursor, str] = {}
    at: Callable[[Cursor], None] = lambda cursor: None


def walk(source: Source, options: Options, course: Course) -> Iterator[Item]:
    """Yield what is found in a file, in its order."""
    course.at(())
    if () in course.bad:
        yield Item((_LAST,), source.name, Unread(course.bad[()]))
        return
    try:
        yield from _within(source, options, course, course.after, ())
    except Bomb as bomb:
        # Counted over the whole file: none of it can be trusted further.
        yield Item((_LAST,), source.name, why_unread(bomb))


_LAST = 1 << 62


def _within(source: Source, options: Options, course: Course, after: Cursor | None, above: Cursor) -> Iterator[Item]:
    children = _children(source, options)
    number = -1
    while True:
        number += 1
        here = (*above, number)
        try:
            child = next(children, None)
        except (Bomb, MemoryError):
            raise
        except Exception as error:
            raise_if_disk_full(error)
            if after is None or after[0] < number:
                yield Item(here, source.name, _placed(why_unread(error), source))
            return
        except BaseException as error:
            # The parsers in Rust report a panic as no Exception.
            if type(error).__name__ != "PanicException":
                raise
            yield Item(here, source.name, Unread("reader failed (panic)", source.part, str(error)[:200]))
            return
        if child is None:
            return
        if after is not None and number < after[0]:
            continue
        below = after[1:] if after is not None and number == after[0] else None
        if below == ():
            continue
        if isinstance(child, Source) and here in course.bad:
            yield Item(here, child.name, Unread(course.bad[here], child.part))
        elif isinstance(child, Source):
            course.at(here)
            yield from _within(child, options, course, below, here)
            course.at(above)
        else:
            yield Item(here, source.name, _placed(child, source))


def _placed(found: Content | Unread, source: Source) -> Content | Unread:
    """Return a finding with the part that its source is, and the licence of its folder where it states none."""
    part = "/".join(filter(None, (source.part, found.part)))
    if isinstance(found, Content):
        return found._replace(part=part, license=found.license or source.license)
    return found._replace(part=part)


def _children(source: Source, options: Options) -> Iterator[Content | Unread | Source]:
    """Yield what a source holds. Raises whatever its reader does."""
    name = source.file_name
    own = options.readers.get("." + suffix_of(name))
    kind = Kind("own", own) if own is not None else recognise(name, source.head(), source.media_type)
    if source.depth and not _wanted(source, kind, options):
        yield Unread(LEFT_OUT)
        return
    if not source.head(1):
        raise Unreadable("empty file")
    if kind.reader == "foreign":
        raise Unreadable("binary file", kind.media_type)
    if source.depth and own is None and suffix_of(name) in UNREADABLE_SUFFIXES and not source.media_type:
        raise Unreadable(f"not a readable kind of file (.{suffix_of(name)})")
    if kind.reader in _NESTING and source.depth >= options.max_nesting:
        raise Unreadable("archives nested too deeply")
    yield from _reader(_READERS[kind.reader])(source, options, kind)


def _wanted(source: Source, kind: Kind, options: Options) -> bool:
    """Say whether the patterns let a nested source in. Archives are always looked into, unless they are excluded."""
    if source.chosen:
        return True
    plain = source.name.removesuffix(source.name.rpartition("/")[2]) + source.file_name
    names = {source.name, plain}
    included = kind.reader in CONTAINERS or any(matches(name, options.include) for name in names)
    return included and not any(matches(name, options.exclude) for name in names)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Say whether a path matches one of the patterns; * crosses folders."""
    return any(pattern == "*" or fnmatch(name, pattern) for pattern in patterns)


def _reader(place: str) -> Callable[[Source, Options, Kind], Iterator[Content | Unread | Source]]:
    module, _, name = place.partition(":")
    reader: Callable[[Source, Options, Kind], Iterator[Content | Unread | Source]] = getattr(
        import_module(f"metier.corpus.read.{module}"), name
    )
    return reader


def raise_if_disk_full(error: Exception) -> None:
    """Raise what says nothing about the file being read: a disk without room for what it unpacks to."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise error
