"""What likelihoods are measured on: SmolLM2-135M-Instruct, and questions and texts from SQLite's manual."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any, Literal

from benchmarks.corpus import material
from benchmarks.peers import NotInstalled, ask, peer
from metier.core import Host, Workshop
from metier.core.engine import EngineChat
from metier.core.tables import read_rows
from metier.core.types import Document
from metier.evaluate.multiple_choice import Item, items
from metier.models.packaged import PackagedGguf

Precision = Literal["bfloat16", "float32"]

CORE = 1
_SCRIPT = Path(__file__).parent / "peer_scripts" / "lm_eval_hf.py"


def model_folder() -> Path:
    """Return the model's folder; it is unpacked once, for all rooms."""
    return Workshop(material.FOLDER / "pipeline" / "model").make(PackagedGguf()).model_folder.absolute()


def engine(precision: Precision) -> EngineChat:
    """Return the engine on one core."""
    os.sched_setaffinity(0, {CORE} & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    host = dataclasses.replace(Host.here(), cores=1, threads=1, gpus=())
    return EngineChat(model_folder(), host, precision)


def documents() -> list[Document]:
    """Return the pages of SQLite's manual."""
    rows = (Document(**row) for row in read_rows(material.documents(None)))
    return [row for row in rows if "sqlite3-doc" in row.source]


def questions(count: int) -> list[Item]:
    """Return multiple-choice questions as the step `exam` makes them."""
    return random.Random(1).sample(items(documents(), random.Random(0)), count)


def theirs(requests: list[list[str]], precision: Precision, *window: int) -> dict[str, Any] | NotInstalled:
    """Return lm-eval's own answers to `requests` and the CPU seconds that they took, or why it is not there."""
    python = peer("lm-eval")
    if isinstance(python, NotInstalled):
        return python
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.json"
        path.write_text(json.dumps(requests))
        told: dict[str, Any] = ask(
            python, _SCRIPT, model_folder(), path, precision, *map(str, window), cores=(CORE,), seconds=600
        )
    return told
