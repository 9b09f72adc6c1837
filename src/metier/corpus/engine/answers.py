"""What a worker says of a task, and what that means to the process that gave it: the same here and on a cluster."""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from metier.core import Mistake, Problem, Work
from metier.core.errors import from_os_error
from metier.corpus.engine.pool import FAILED, NO_MEMORY, Lost

T = TypeVar("T")
R = TypeVar("R")


class Answer(NamedTuple):
    """What a worker says of one task: `kind` is "done", "problem", "memory" or "failed"."""

    kind: str
    value: Any
    detail: str | None = None


def what_happened(error: BaseException) -> Answer:
    """Return the answer that tells of an exception: a problem for the user, memory, or a failure with its traceback."""
    if isinstance(error, Problem):
        return Answer("problem", error)
    if isinstance(error, MemoryError):
        return Answer("memory", None, traceback.format_exc())
    # Arrow reports a full disk as an OSError of its own, with the errno of the system.
    problem = from_os_error(error, "writing") if isinstance(error, OSError) else None
    if problem is not None:
        return Answer("problem", problem)
    return Answer("failed", type(error).__name__, traceback.format_exc())


def meaning(answer: Answer, task: str, work: Work | None) -> Any:
    """Return the result that an answer holds, or Lost. Raises what is meant for the user."""
    if answer.kind == "done":
        return answer.value
    if answer.kind == "problem":
        raise answer.value from None
    return lost(NO_MEMORY if answer.kind == "memory" else f"{FAILED} ({answer.value})", answer.detail, task, work)


def lost(reason: str, detail: str | None, task: str, work: Work | None) -> Lost:
    """Return Lost, and keep it in the events of the step."""
    if work is not None:
        work.event("lost task", task=task[:500], reason=reason, detail=detail)
    return Lost(reason, detail)


def done_here(function: Callable[[T], R], task: T, work: Work | None) -> R | Lost:
    """Call the function in this process, with the outcome that a worker's would have, Ctrl-C apart."""
    try:
        return function(task)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        found: R | Lost = meaning(what_happened(error), repr(task), work)
        return found


class _Unpickler(pickle.Unpickler):
    """Tells of what a worker cannot import, because it was defined in the script that is running."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what is called `name` in `module`. Raises Mistake for the module of a script."""
        if module == "__main__":
            raise Mistake(
                f"worker processes cannot import {name}",
                found="it is defined in the script or notebook that is running",
                hint="put it in a module of its own and import it from there",
            )
        return super().find_class(module, name)


def imported(pickled: bytes) -> Any:
    """Return what was pickled. Raises Mistake where it is defined in a script."""
    return _Unpickler(io.BytesIO(pickled)).load()
