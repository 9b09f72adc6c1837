"""Loss curves out of the events that training steps logged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from metier.core.artifact import Artifact


class Point(NamedTuple):
    """One logged training step; `tokens` is how many were trained on up to it."""

    step: int
    tokens: int
    loss: float
    learning_rate: float | None


class Curve(NamedTuple):
    """The loss of one training, step by step.

    `again` is how many steps were logged a second time after a restart (the later log counts), `not_finite` how many
    had no finite loss and are not drawn.
    """

    title: str
    points: list[Point]
    again: int
    not_finite: int


def curve(artifact: Artifact) -> Curve | None:
    """Return the loss curve of a training, or None if it logged nothing that can be drawn."""
    events = [event for event in artifact.events("log") if {"step", "tokens", "loss"} <= event.keys()]
    by_step = {int(event["step"]): event for event in events}
    points = [
        Point(step, int(event["tokens"]), float(event["loss"]), event.get("lr"))
        for step, event in sorted(by_step.items())
        if event["loss"] is not None and math.isfinite(float(event["loss"]))
    ]
    if not points:
        return None
    record = artifact.record
    return Curve(record.called or record.step, points, len(events) - len(by_step), len(by_step) - len(points))


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Return the centred moving mean over `window` values, over fewer at both ends."""
    half = window // 2
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    ends = [(max(0, at - half), min(len(values), at + half + 1)) for at in range(len(values))]
    return [(sums[end] - sums[start]) / (end - start) for start, end in ends]


def thinned(points: Sequence[Point], most: int = 400) -> list[Point]:
    """Return at most about `most` points that keep every peak: the lowest and the highest of each stretch."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most // 2))
    kept: list[Point] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        ends = {min(stretch, key=lambda point: point.loss), max(stretch, key=lambda point: point.loss)}
        kept += sorted(ends, key=lambda point: point.step)
    return kept
