"""Readers of the tests' own, each bad in its way. They run in reading processes."""

from __future__ import annotations

import ctypes
import os
import time

_HOARD: list[bytearray] = []


def good(data: bytes, name: str) -> str:
    return f"{name}: {data.decode()}"


def fails(data: bytes, name: str) -> str:
    raise KeyError("a parser's own fault")


def hangs(data: bytes, name: str) -> str:
    time.sleep(3600)
    return ""


def hangs_in_c(data: bytes, name: str) -> str:
    ctypes.pythonapi.pause()  # the lock of the interpreter is held, no signal gets through to Python
    return ""


def eats(data: bytes, name: str) -> str:
    hoard = []
    while True:
        hoard.append(bytes(50_000_000))  # of zeros that are never looked at: it takes no time


def hoards(data: bytes, name: str) -> str:
    _HOARD.append(bytearray(450_000_000))
    return name


def crashes(data: bytes, name: str) -> str:
    os.abort()


def dies_once(data: bytes, name: str) -> str:
    """Die as if somebody had killed the process, but only the first time; `data` is the path of a mark."""
    try:
        os.close(os.open(data.decode().strip(), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "read the second time"
    os.kill(os.getpid(), 9)
    return ""


def slow(data: bytes, name: str) -> str:
    time.sleep(0.05)
    return f"{name} " + data.decode()


ALL = {f".{name}": f"tests.corpus.readers:{name}" for name in (
    "good", "fails", "hangs", "hangs_in_c", "eats", "hoards", "crashes", "dies_once", "slow",
)}  # fmt: skip
