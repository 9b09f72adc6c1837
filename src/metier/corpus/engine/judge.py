"""Run an operator on one batch so that a document it cannot bear costs that document and no other."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from metier.core import Failure, Problem
from metier.core.errors import from_os_error
from metier.corpus.engine.operators import NOTES, REASON, Operator

if TYPE_CHECKING:
    import pyarrow as pa

CRASHED = "operator crashed"
TOO_LONG = "took too long"
NO_MEMORY = "took too much memory"

Guard = Callable[[int | None, "pa.RecordBatch"], AbstractContextManager[None]]
"""Opened around each call of an operator, with the row of the batch it is called on alone, or None, and its input."""


class Care(IntEnum):
    """How a batch is gone through: at once, after each document was tried alone, or only one document at a time."""

    WHOLE = 0
    TRIED = 1
    SINGLY = 2


class Objection(NamedTuple):
    """A document on which the operator raised, with the traceback."""

    id: str
    reason: str
    detail: str


class Judged(NamedTuple):
    """All documents of a batch with REASON and NOTES, those left out last; and those on which the operator raised."""

    batch: pa.RecordBatch
    objections: list[Objection]


def judged(operator: Operator, batch: pa.RecordBatch, guard: Guard, care: Care, left_out: Mapping[int, str]) -> Judged:
    """Run the operator on a batch.

    Where it raises, each document is tried alone, and the batch is done again without those it raises on: so what comes
    of the others does not depend on how the culprits were found.

    Args:
        left_out: rows not to be shown to the operator, and why.

    Raises:
        Problem: what the operator raised as one, or that it does not return the rows it was given.
    """
    reasons, objections = dict(left_out), list[Objection]()
    if care is Care.WHOLE:
        found = _whole(operator, batch, guard, reasons)
        if found is not None:
            return Judged(found, [])
    singly = []
    for row in range(batch.num_rows):
        if row in left_out:
            continue
        alone = batch.slice(row, 1)
        try:
            singly.append(_called(operator, alone, guard, row))
        except Exception as error:
            _raise_unless_of_the_document(error)
            reasons[row] = NO_MEMORY if isinstance(error, MemoryError) else f"operator failed ({type(error).__name__})"
            objections.append(Objection(alone.column("id")[0].as_py(), reasons[row], traceback.format_exc()))
    found = _whole(operator, batch, guard, reasons) if care < Care.SINGLY else None
    return Judged(found or _stacked([*singly, _refused(batch, reasons)]), objections)


def _raise_unless_of_the_document(error: Exception) -> None:
    """Raise what is no fault of a document: a problem for the user, or a disk that is full or not to be written."""
    if isinstance(error, Problem):
        raise error
    problem = from_os_error(error, "writing") if isinstance(error, OSError) else None
    if problem is not None:
        raise problem from error


def _whole(
    operator: Operator, batch: pa.RecordBatch, guard: Guard, reasons: Mapping[int, str]
) -> pa.RecordBatch | None:
    """Return the batch as the operator leaves it, the rows of `reasons` apart; None where it raises."""
    import pyarrow as pa

    shown = batch
    if reasons:
        shown = batch.take(pa.array([row for row in range(batch.num_rows) if row not in reasons], pa.int64()))
    try:
        found = _called(operator, shown, guard, None)
    except Exception as error:
        _raise_unless_of_the_document(error)
        return None
    return _stacked([found, _refused(batch, reasons)]) if reasons else found


def _called(operator: Operator, batch: pa.RecordBatch, guard: Guard, row: int | None) -> pa.RecordBatch:
    """Return what the operator makes of the batch, with REASON and NOTES. Raises Failure if the rows are others."""
    import pyarrow as pa

    with guard(row, batch):
        made = operator(batch)
    names = [*batch.schema.names, REASON, NOTES]
    unknown = set(made.schema.names) - set(names)
    if unknown or not made.schema.names[: batch.num_columns] == batch.schema.names:
        raise _broken(operator, f"columns {', '.join(made.schema.names)}")
    if not made.column("id").equals(batch.column("id")):
        raise _broken(operator, f"{made.num_rows} rows for {batch.num_rows}, or in another order")
    nothing = pa.nulls(made.num_rows, pa.string())
    columns = [made.column(name) if name in made.schema.names else nothing for name in names]
    return pa.RecordBatch.from_arrays(columns, schema=_judged_schema(batch))


def _broken(operator: Operator, found: str) -> Failure:
    return Failure(
        f"{type(operator).__name__} does not return the documents it was given",
        found=found,
        hint="an operator returns all rows in their order, and no other columns than theirs, 'reason' and 'notes'",
    )


def _refused(batch: pa.RecordBatch, reasons: Mapping[int, str]) -> pa.RecordBatch:
    import pyarrow as pa

    rows = sorted(reasons)
    taken = batch.take(pa.array(rows, pa.int64()))
    why = pa.array([reasons[row] for row in rows], pa.string())
    columns = [*taken.columns, why, pa.nulls(len(rows), pa.string())]
    return pa.RecordBatch.from_arrays(columns, schema=_judged_schema(batch))


def _judged_schema(batch: pa.RecordBatch) -> pa.Schema:
    import pyarrow as pa

    return batch.schema.append(pa.field(REASON, pa.string())).append(pa.field(NOTES, pa.string()))


def _stacked(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.concat_batches(batches)
