"""Content digests of local inputs, remembered by path, size and time so that ten million files are read once."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

from metier.core.errors import Mistake
from metier.core.files import files_below, sha256_file

_TABLE = "CREATE TABLE IF NOT EXISTS digest(path TEXT PRIMARY KEY, size INT, mtime INT, sha256 TEXT) WITHOUT ROWID"
_BATCH = 10_000  # digests written in one transaction: one each would wait for the disk at every file


class Digests:
    """Digest files and folders by content.

    Args:
        memory: an SQLite file that remembers digests by (path, size, mtime); None remembers nothing.

    A file whose size and modification time are unchanged is not read again, as in git's index.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._table: sqlite3.Connection | None = None
        self._new: list[tuple[str | bytes, int, int, str]] = []
        if memory is not None:
            self._table = sqlite3.connect(memory, timeout=60)
            self._table.execute(_TABLE)

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a file, or of a folder's names and contents. Raises Mistake where nothing is there."""
        if path.is_dir():
            digest = self._of_folder(path)
        elif path.is_file():
            digest = self._of_file(path)
        else:
            raise Mistake(f"{path} does not exist", hint="check the path; it is relative to the recipe's folder")
        self._remember()
        return digest

    def _of_folder(self, folder: Path) -> str:
        whole = hashlib.sha256()
        for path in files_below(folder):
            name = path.relative_to(folder).as_posix()
            try:
                content = self._of_file(path)
            except PermissionError:
                content = "unreadable"  # one file of many: whoever reads the folder says what becomes of it
            whole.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()

    def _of_file(self, path: Path) -> str:
        if self._table is None:
            return sha256_file(path)
        state = path.stat()
        name = str(path.absolute())
        where = name if _is_text(name) else os.fsencode(name)  # SQLite's text is UTF-8
        row = self._table.execute("SELECT size, mtime, sha256 FROM digest WHERE path = ?", (where,)).fetchone()
        if row is not None and row[:2] == (state.st_size, state.st_mtime_ns):
            return str(row[2])
        digest = sha256_file(path)
        self._new.append((where, state.st_size, state.st_mtime_ns, digest))
        if len(self._new) >= _BATCH:
            self._remember()
        return digest

    def _remember(self) -> None:
        if self._table is not None and self._new:
            with self._table:
                self._table.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?)", self._new)
            self._new.clear()


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
