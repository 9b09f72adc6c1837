"""What the events of a training tell, where the folder may also hold those of kills and of trainings before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metier.core import Artifact

BEGUN = "begun"
"""Kind of the event that a training begins with, and one that goes on from a checkpoint does not."""


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
