"""Merging as a stream: what is written of a tensor is made from the same rows of every model, a span at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch

from metier.train.weights import arithmetic
from metier.train.weights.folder import ModelFolder
from metier.train.weights.reading import Span, spans
from metier.train.weights.writing import Produce

Thin = Callable[[int, str, Span | None, torch.Tensor], torch.Tensor]
"""Takes a model's number, a tensor's name, rows and task vector; returns the task vector with values set to zero."""


def mean(models: Sequence[ModelFolder], weights: Sequence[float]) -> Produce:
    """Return the weighted mean of models."""

    def produce(name: str) -> Iterator[torch.Tensor]:
        for span in spans(models[0].weights.shape(name)):
            parts = [model.weights.read(name, span) for model in models]
            yield arithmetic.linear(parts, weights) if parts[0].is_floating_point() else parts[0]

    return produce


def arc(a: ModelFolder, b: ModelFolder, t: float) -> Produce:
    """Return the model at `t` on the arc from `a` to `b`: each tensor is read twice."""

    def produce(name: str) -> Iterator[torch.Tensor]:
        def pairs() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for span in spans(a.weights.shape(name)):
                yield a.weights.read(name, span), b.weights.read(name, span)

        between = arithmetic.angle(pairs())
        for one, other in pairs():
            yield arithmetic.slerp(one, other, t, between) if one.is_floating_point() else one

    return produce


def sums(
    base: ModelFolder,
    models: Sequence[ModelFolder],
    weights: Sequence[float],
    scale: float,
    thin: Thin | None,
    elect: bool,
) -> Produce:
    """Return the base with the models' task vectors added.

    Args:
        thin: sets a part of each task vector to zero first.
        elect: elect a sign for each value and average those that agree (TIES); otherwise sum them all.
    """

    def produce(name: str) -> Iterator[torch.Tensor]:
        for span in spans(base.weights.shape(name)):
            start = base.weights.read(name, span)
            if not start.is_floating_point():
                yield start
                continue
            deltas = []
            for at, model in enumerate(models):
                delta = model.weights.read(name, span).float() - start.float()
                deltas.append(delta if thin is None else thin(at, name, span, delta))
            add = arithmetic.elected if elect else arithmetic.weighted_sum
            yield start.float() + add(deltas, weights).mul_(scale)

    return produce


def trim(base: ModelFolder, models: Sequence[ModelFolder], density: float) -> Thin:
    """Keep the largest `density` of each task vector: of each tensor, as its own values are read whole for it."""

    @lru_cache(maxsize=len(models))
    def least(at: int, name: str) -> float:
        delta = models[at].weights.read(name).float()
        return arithmetic.threshold(delta.sub_(base.weights.read(name)), density)

    def thin(at: int, name: str, _: Span | None, delta: torch.Tensor) -> torch.Tensor:
        return delta.where(delta.abs() >= least(at, name), 0.0)

    return thin


def drop(density: float, seed: int) -> Thin:
    """Keep a random `density` of each task vector, rescaled; drawn anew for each model, tensor and span of rows."""

    def thin(at: int, name: str, span: Span | None, delta: torch.Tensor) -> torch.Tensor:
        return arithmetic.dropped(delta, density, arithmetic.generator_of(seed, at, name, span.first if span else 0))

    return thin
