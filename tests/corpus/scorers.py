"""Scorers for the tests: a module that a worker imports quickly."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metier.core import Mistake
from metier.corpus.scores import Scored

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Length:
    """Scores a text by its length, and does to texts with certain words what they say."""

    def __call__(self, batch: pa.RecordBatch) -> list[Scored]:
        texts = batch.column("text").to_pylist()
        for text in texts:
            if "crash" in text:
                os.kill(os.getpid(), signal.SIGKILL)
            if "raise" in text:
                raise ValueError("no score for this")
            if "mistake" in text:
                raise Mistake("there is no model")
        return [Scored(float(len(text)), {"said": text} if "tell" in text else None) for text in texts]
