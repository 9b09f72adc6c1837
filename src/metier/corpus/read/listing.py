"""The files to be read: found once, in one fixed order, and kept on disk, for there may be ten million of them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from metier.core.files import UNREADABLE_SUFFIXES
from metier.corpus.charset import Undecodable, decode
from metier.corpus.read.kinds import CONTAINERS, by_name, suffix_of
from metier.corpus.read.licences import MAX_BYTES, identify, is_license_file, together
from metier.corpus.read.walk import LEFT_OUT, matches

_TASKS = 64  # at least so many, for machines with many cores, but of no less than the floor
_LEAST_BYTES, _MOST_BYTES = 1_000_000, 64_000_000
_MOST_FILES = 2_000


class Listed(NamedTuple):
    """One file: its name relative to the place, its size, and what tells another version of it.

    `reason` is set where it is known without opening it that it is not read.
    """

    name: str
    size: int
    version: str = ""
    license: str | None = None
    reason: str | None = None


class Task(NamedTuple):
    """Neighbouring files, read one after another by one process; `offset` is where the first stands in the listing."""

    number: int
    offset: int
    files: int
    bytes: int


def list_local(root: Path, include: tuple[str, ...], exclude: tuple[str, ...]) -> Iterator[Listed]:
    """Yield the files below a folder, or the one file that `root` is. Hidden files and folders are not looked at.

    What is no regular file, a link that leads out of the folder or in a circle, a folder that may not be opened: each
    is listed with its reason.
    """
    if root.is_file():
        yield _local(root, root.name, None, ("*",), ())
        return
    yield from _below(root, root, "", None, include, exclude)


def _below(
    root: Path, folder: Path, prefix: str, license: str | None, include: tuple[str, ...], exclude: tuple[str, ...]
) -> Iterator[Listed]:
    try:
        with os.scandir(folder) as found:
            entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: os.fsencode(e.name))
    except OSError as error:
        yield Listed(prefix or "./", 0, reason=f"unreadable folder ({error.strerror})")
        return
    license = _license_of([Path(e.path) for e in entries if is_license_file(e.name)]) or license
    folders = []
    for entry in entries:
        name = prefix + entry.name
        if entry.is_symlink():
            yield _link(root, Path(entry.path), name, license, include, exclude)
        elif entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            yield _local(Path(entry.path), name, license, include, exclude)
    for name in folders:
        yield from _below(root, folder / name, f"{prefix}{name}/", license, include, exclude)


def _local(path: Path, name: str, license: str | None, include: tuple[str, ...], exclude: tuple[str, ...]) -> Listed:
    try:
        state = path.stat()
    except OSError as error:
        return Listed(name, 0, reason=f"unreadable file ({error.strerror})")
    if not stat.S_ISREG(state.st_mode):
        return Listed(name, 0, reason="not a regular file")
    return Listed(name, state.st_size, str(state.st_mtime_ns), license, objection(name, include, exclude))


def _link(
    root: Path, path: Path, name: str, license: str | None, include: tuple[str, ...], exclude: tuple[str, ...]
) -> Listed:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return Listed(name, 0, reason="broken link")
    if not target.is_relative_to(root.resolve()):
        return Listed(name, 0, reason="link out of the folder")
    if target.is_dir():
        return Listed(name, 0, reason="link to a folder")
    return _local(path, name, license, include, exclude)


def objection(name: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> str | None:
    """Return why a file is not read by its name alone, or None. Archives are looked into unless they are excluded."""
    kind = by_name(name.rpartition("/")[2])
    included = matches(name, include) or (kind is not None and kind.reader in CONTAINERS)
    if not included or matches(name, exclude):
        return LEFT_OUT
    suffix = suffix_of(name)
    return f"not a readable kind of file (.{suffix})" if suffix in UNREADABLE_SUFFIXES else None


def _license_of(paths: list[Path]) -> str | None:
    found = []
    for path in paths:
        with suppress(OSError, Undecodable):
            if path.is_file() and path.stat().st_size <= MAX_BYTES:
                known = identify(decode(path.read_bytes()))
                found += [known] if known is not None else []
    return together(found)


def write_listing(files: Iterable[Listed], path: Path) -> int:
    """Write a listing, whole or not at all, and return how many files it has."""
    temporary, count = path.with_name(f"{path.name}.tmp"), 0
    with temporary.open("wb") as out:
        for file in files:
            out.write(json.dumps(file, separators=(",", ":")).encode() + b"\n")
            count += 1
    temporary.replace(path)
    return count


def read_listing(stream: BinaryIO) -> Iterator[Listed]:
    """Yield the files of a listing from where the stream stands."""
    for line in stream:
        yield Listed(*json.loads(line))


def of_task(path: Path, task: Task) -> list[Listed]:
    """Return the files of a task."""
    with path.open("rb") as stream:
        stream.seek(task.offset)
        return list(islice(read_listing(stream), task.files))


def cut(path: Path, whole: bool = False) -> list[Task]:
    """Cut a listing into tasks. Where they end depends on the files alone, not on who reads them.

    Args:
        whole: all files are one task.
    """
    with path.open("rb") as stream:
        total = sum(file.size for file in read_listing(stream) if file.reason is None)
    size = max(_LEAST_BYTES, min(_MOST_BYTES, total // _TASKS))
    tasks: list[Task] = []
    start = end = files = heavy = 0
    with path.open("rb") as stream:
        for line in stream:
            file = Listed(*json.loads(line))
            weight = file.size if file.reason is None else 0
            if not whole and files and (heavy + weight > size or files == _MOST_FILES):
                tasks.append(Task(len(tasks), start, files, heavy))
                start, files, heavy = end, 0, 0
            end += len(line)
            files, heavy = files + 1, heavy + weight
    return [*tasks, Task(len(tasks), start, files, heavy)] if files else tasks
