"""What a model cost: parameters, tokens, seconds and memory of each training, and of each model's answers."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metier.core.artifact import Artifact
from metier.core.types import Model, Scores
from metier.evaluate.report.answers import Items
from metier.evaluate.report.flow import distinct_titles


class Trained(NamedTuple):
    """One training. What a step does not tell of itself is None; `memory` is the most bytes it held at a time."""

    title: str
    step: str
    parameters: int | None
    tokens: int | None
    seconds: float
    tokens_per_second: float | None
    memory: int | None
    memory_predicted: int | None


class Answered(NamedTuple):
    """The examination of one model. `tokens` are those it wrote; `seconds` are of the whole examination."""

    model: str
    how: str
    parameters: int | None
    answers: int
    tokens: int | None
    seconds: float
    memory: int | None

    @property
    def tokens_each(self) -> float | None:
        """Mean tokens of an answer."""
        return self.tokens / self.answers if self.tokens is not None and self.answers else None


def trained(models: Sequence[Model]) -> list[Trained]:
    """Return what each training cost, as its record tells."""
    titles = distinct_titles([model.record for model in models])
    found = []
    for model in models:
        record, told = model.record, model.record.figures
        found.append(
            Trained(
                titles[record.key],
                record.step,
                parameters(model.model_folder),
                _whole(told.get("tokens")),
                record.seconds,
                told.get("tokens_per_second"),
                _whole(told.get("peak_memory_bytes")),
                _whole(told.get("predicted_memory_bytes")),
            )
        )
    return found


def answered(scores: Mapping[str, Scores], items: Mapping[str, Items], how: Mapping[str, str]) -> list[Answered]:
    """Return what each examination cost. `how` says how a model was asked, by label."""
    found = []
    for label, examination in scores.items():
        rows = [row for by_id in items[label].values() for row in by_id.values() if row.get("answer") is not None]
        written = [int(row["tokens"]) for row in rows if row.get("tokens") is not None]
        model = examined(examination)
        record = examination.record
        found.append(
            Answered(
                label,
                how.get(label, ""),
                parameters(model) if model is not None else None,
                len(written) or len(rows),
                sum(written) if written else None,
                record.seconds,
                _whole(record.figures.get("peak_memory_bytes")),
            )
        )
    return found


def examined(scores: Artifact) -> Path | None:
    """Return the folder of the model that was examined, None where it is not in the same workshop any more."""
    for key in scores.record.inputs.get("model", []):
        for folder in scores.folder.parent.glob(f"*-{key[:16]}"):
            return Model(folder).model_folder
    return None


def parameters(folder: Path) -> int | None:
    """Return the number of parameters in the safetensors files of a model folder, None where there are none.

    Only the headers are read: eight bytes of length, then JSON with each tensor's shape (safetensors, format).
    Tensors that share their weights are saved once, and so counted once.
    """
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header: dict[str, Any] = json.loads(file.read(length))
            total += sum(math.prod(told["shape"]) for name, told in header.items() if name != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            return None  # the page does without; who loads the model is told what is wrong with it
    return total or None


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None
