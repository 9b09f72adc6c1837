"""What a reading process and the step say to each other, over a connection.

JSON and bytes, never pickles: a parser that a hostile file has taken over can send what it likes, and can do no more
with it than a file can. A message is a length, a JSON text of that length, and bytes.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

_LENGTH = struct.Struct("!I")

DOCUMENT, UNREAD, END = "document", "unread", "end"
"""Kinds of item: a document, a part that could not be read, and the end of a file."""


class File(NamedTuple):
    """A file to be read: its number in the task, its source's name, and where its bytes are.

    `path` is None for one that only the step can open; the process then asks for its bytes.
    """

    number: int
    name: str
    path: str | None
    size: int | None
    license: str | None = None


class Row(NamedTuple):
    """One finding, as it travels. The fields of a document are None for other kinds, and `reason` for documents."""

    file: int
    cursor: list[int]
    kind: str
    source: str = ""
    part: str = ""
    id: str | None = None
    title: str | None = None
    language: str | None = None
    media_type: str | None = None
    license: str | None = None
    digest: str | None = None
    size: int = 0
    reason: str | None = None
    detail: str | None = None


class Message(NamedTuple):
    """What came: its kind, its fields, and the bytes with it."""

    kind: str
    fields: dict[str, Any]
    data: memoryview


def send(connection: Connection, kind: str, data: Iterable[bytes] = (), **fields: Any) -> None:
    """Send one message."""
    head = json.dumps([kind, fields], separators=(",", ":")).encode()
    connection.send_bytes(b"".join((_LENGTH.pack(len(head)), head, *data)))


def receive(connection: Connection, most_bytes: int | None = None) -> Message:
    """Wait for one message.

    Raises:
        EOFError: the other side is gone.
        OSError: the message is larger than `most_bytes`.
        ValueError: it is no message.
    """
    whole = memoryview(connection.recv_bytes(most_bytes))
    try:
        (length,) = _LENGTH.unpack_from(whole)
        kind, fields = json.loads(bytes(whole[_LENGTH.size : _LENGTH.size + length]))
    except (struct.error, TypeError, RecursionError) as error:
        raise ValueError("no message") from error
    return Message(str(kind), fields, whole[_LENGTH.size + length :])


class Slot:
    """A page of memory in which a reading process notes what it is reading: it is still there when the process is not.

    Args:
        descriptor: of the memory, inherited by the process; None makes new memory.
    """

    _HEAD = struct.Struct("=qq")  # the file, and how many numbers its place has; they follow
    _BYTES = 4096

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = os.memfd_create("place") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, self._BYTES)
        self._memory = mmap.mmap(self.descriptor, self._BYTES)

    def set(self, file: int, cursor: tuple[int, ...]) -> None:
        """Note a place."""
        struct.pack_into(f"=qq{len(cursor)}q", self._memory, 0, file + 1, len(cursor), *cursor)

    def get(self) -> tuple[int, tuple[int, ...]] | None:
        """Return the place that was noted last, or None."""
        file, length = self._HEAD.unpack_from(self._memory)
        if not file or not 0 <= length < 100:
            return None
        return file - 1, struct.unpack_from(f"={length}q", self._memory, self._HEAD.size)

    def clear(self) -> None:
        """Forget the place."""
        self._HEAD.pack_into(self._memory, 0, 0, 0)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        os.close(self.descriptor)
