"""What the events of a training tell, where the folder may also hold those of kills and of trainings before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metier.core import Artifact, Work
from metier.core.processes import code_of, what_of
from metier.train.stop import TERMINATED

BEGUN = "begun"
"""Kind of the event that a training begins with, and one that goes on from a checkpoint does not."""

ENDED = "ended"
"""Kind of the event that an attempt ends with which did not finish; a kill leaves none."""


@contextlib.contextmanager
def its_end_told(work: Work) -> Iterator[None]:
    """Write down that and why a training ends before it is done: whoever watches it must not wait."""
    try:
        yield
    except BaseException as error:
        why = what_of(error)
        if isinstance(error, KeyboardInterrupt):
            why = "interrupted"
        elif isinstance(error, SystemExit) and code_of(error) == TERMINATED:
            why = "asked to end"
        with contextlib.suppress(OSError):  # a full disk is what ends it, perhaps
            work.event(ENDED, why=why)
        raise


def events_of(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    """Return the events of these kinds since the training was last begun anew, not from a checkpoint."""
    events = Artifact(folder).events()
    begun = max((at for at, event in enumerate(events) if event.get("kind") == BEGUN), default=-1)
    return [event for event in events[begun + 1 :] if event.get("kind") in kinds]


def counted_steps(folder: Path) -> list[dict[str, Any]]:
    """Return the events of the steps that made the model: none done again after a kill, none undone by a rollback."""
    steps: dict[int, dict[str, Any]] = {}
    for event in events_of(folder, "log", "resume", "rollback"):
        if event["kind"] == "log":
            steps[event["step"]] = event
        else:
            last = event["to"] if event["kind"] == "rollback" else event["step"]
            steps = {step: told for step, told in steps.items() if step <= last}
    return [event for _, event in sorted(steps.items())]
