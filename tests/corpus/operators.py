"""Operators for the tests of the engine: a module that a worker imports quickly."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metier.core import Mistake
from metier.corpus.engine import noted, objected, with_texts

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Judge:
    """Upper-cases; leaves out what holds "drop"; dies, hangs, raises or is slow where the text says so."""

    marks: str = ""  # a folder in which each call leaves a file with its size

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        texts: list[str] = batch.column("text").to_pylist()
        for text in texts:
            obey(text)
        if self.marks:
            (Path(self.marks) / f"{time.time_ns()}-{os.getpid()}").write_text(str(len(texts)))
        made = with_texts(batch, [text.upper() for text in texts])
        made = noted(made, [{"letters": len(text)} if "count" in text else None for text in texts])
        return objected(made, ["says drop" if "drop" in text else None for text in texts])


def obey(text: str) -> None:
    if "CRASH" in text:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "HANG" in text:
        re.match(r"(a+)+b", "a" * 60)
    if "RAISE" in text:
        raise ValueError(f"cannot bear {text[:5]}")
    if "FULL" in text:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "GROW" in text:
        bytearray(1 << 40)
    if "SLEEP" in text:
        time.sleep(0.1)


@dataclass(frozen=True)
class AlwaysRaises:
    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        raise KeyError("settings")


@dataclass(frozen=True)
class LosesRows:
    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.slice(1)


@dataclass(frozen=True)
class WantsModel:
    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        raise Mistake("the model is not there", hint="fetch it")
