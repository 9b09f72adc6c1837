"""Functions for the tests of the pool: a module that a worker imports quickly."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

from metier.core import Mistake

GIB = 1 << 30


def square(number: int) -> int:
    return number * number


def pid(_: int) -> int:
    return os.getpid()


def meet(_: int, folder: Path) -> int:
    """Return this process's id when another process has come here too."""
    (folder / str(os.getpid())).touch()
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    return os.getpid()


def crash_on(number: int, poison: int) -> int:
    if number == poison:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def crash_the_first_time(number: int, folder: Path) -> int:
    try:
        (folder / str(number)).touch(exist_ok=False)
    except FileExistsError:
        return number
    os._exit(1)


def hang_on(number: int, poison: int) -> int:
    if number == poison:
        re.match(r"(a+)+b", "a" * 60)  # inside C code that never lets go of the interpreter
    return number


def grow(gibibytes: int) -> int:
    return len(bytearray(gibibytes * GIB)) // GIB


def divide(number: int) -> float:
    return 1 / number


def object_to(number: int) -> int:
    raise Mistake("no such model", found=str(number), hint="name another")


def write_to_full_disk(_: int) -> None:
    raise OSError(28, "No space left on device", "shard")
