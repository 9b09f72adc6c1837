"""What the engine runs: functions from a batch of documents to a batch of documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from metier.corpus.documents import text_digest

if TYPE_CHECKING:
    import pyarrow as pa

REASON = "reason"
"""A column an operator may add: why a document is left out, null where it stays. The engine takes it off again."""

NOTES = "notes"
"""A column an operator may add: counts worth keeping as a JSON object ({"email": 3}), or null. The engine sums them."""


class Operator(Protocol):
    """A pure function on batches, sent to workers by pickle: a frozen dataclass or model of settings.

    It returns the rows it was given, in their order, with changed columns, REASON and NOTES, and none besides. What it
    needs to load (a model, a gazetteer) it loads when it is first called in a process.
    """

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch as this operator leaves it."""
        ...


def objected(batch: pa.RecordBatch, reasons: Sequence[str | None]) -> pa.RecordBatch:
    """Return the batch with the reason why each document is left out, or None."""
    import pyarrow as pa

    return batch.append_column(REASON, pa.array(reasons, pa.string()))


def noted(batch: pa.RecordBatch, notes: Sequence[Mapping[str, int] | None]) -> pa.RecordBatch:
    """Return the batch with counts to be summed over the corpus."""
    import pyarrow as pa

    return batch.append_column(NOTES, pa.array([json.dumps(n) if n else None for n in notes], pa.string()))


def with_texts(batch: pa.RecordBatch, texts: Sequence[str]) -> pa.RecordBatch:
    """Return the batch with other texts and their digests."""
    import pyarrow as pa

    columns = {"text": pa.array(texts, pa.string()), "digest": pa.array(map(text_digest, texts), pa.string())}
    arrays = [columns.get(name, batch.column(name)) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
