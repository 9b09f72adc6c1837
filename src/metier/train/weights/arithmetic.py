"""Ways to make one tensor of several, in float32. Each function takes pieces of the same rows of every model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch


def linear(parts: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Return Σ wᵢ θᵢ / Σ wᵢ (model soups, Wortsman et al. 2022)."""
    total = parts[0].float() * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total.add_(part.float(), alpha=weight)
    return total.div_(math.fsum(weights))


class Angle(NamedTuple):
    """What SLERP needs to know of two tensors: their inner product and their lengths."""

    inner: float
    length_a: float
    length_b: float


def angle(pieces: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Angle:
    """Return inner product and lengths of two tensors from their pieces, summed in float64."""
    inner = squares_a = squares_b = 0.0
    for a, b in pieces:
        one, other = a.float().reshape(-1), b.float().reshape(-1)
        inner += float(torch.dot(one, other))
        squares_a += float(torch.dot(one, one))
        squares_b += float(torch.dot(other, other))
    return Angle(inner, math.sqrt(squares_a), math.sqrt(squares_b))


NEARLY_ONE_LINE = 0.9995
"""Cosine from which two tensors count as lying on one line; SLERP's sine would divide by nearly nothing there."""


def slerp(a: torch.Tensor, b: torch.Tensor, t: float, between: Angle) -> torch.Tensor:
    """Return sin((1-t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b, where Ω is the angle between the whole tensors (Shoemake 1985).

    Tensors that lie on one line, or of length 0, are interpolated linearly.
    """
    lengths = between.length_a * between.length_b
    cosine = max(-1.0, min(1.0, between.inner / lengths)) if lengths > 0 else 1.0
    if abs(cosine) > NEARLY_ONE_LINE:
        share_a, share_b = 1 - t, t
    else:
        omega = math.acos(cosine)
        share_a, share_b = math.sin((1 - t) * omega) / math.sin(omega), math.sin(t * omega) / math.sin(omega)
    return a.float().mul(share_a).add_(b.float(), alpha=share_b)


def weighted_sum(deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Return Σ wᵢ δᵢ, what task arithmetic adds to the base (Ilharco et al. 2023)."""
    total = deltas[0] * weights[0]
    for delta, weight in zip(deltas[1:], weights[1:], strict=True):
        total.add_(delta, alpha=weight)
    return total


def threshold(delta: torch.Tensor, density: float) -> float:
    """Return the magnitude from which the largest `density` of a task vector's values lie (TIES' trim).

    Values of exactly that magnitude are all kept, so that the result does not depend on their order.
    """
    count = delta.numel()
    kept = max(1, int(density * count))
    if kept >= count:
        return 0.0
    magnitudes = delta.abs().reshape(-1)
    return float(magnitudes.kthvalue(count - kept + 1).values)


def elected(deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Return the mean of the trimmed task vectors that agree with the elected sign (TIES, Yadav et al. 2023).

    The sign of each value is that of Σ wᵢ δᵢ, plus where that is 0; the mean is over the weights of those that agree.
    """
    positive = weighted_sum(deltas, weights) >= 0
    total, divisor = torch.zeros_like(deltas[0]), torch.zeros_like(deltas[0])
    for delta, weight in zip(deltas, weights, strict=True):
        part = delta * weight
        agrees = torch.where(positive, part > 0, part < 0)
        total += part.where(agrees, 0.0)
        divisor += agrees * weight
    divisor[divisor == 0] = 1.0
    return total.div_(divisor)


def dropped(delta: torch.Tensor, density: float, generator: torch.Generator) -> torch.Tensor:
    """Return a task vector of which a random `density` is kept and rescaled by its inverse (DARE, Yu et al. 2024)."""
    kept = torch.rand(delta.shape, generator=generator) < density
    return delta.where(kept, 0.0).div_(density)


def generator_of(*parts: object) -> torch.Generator:
    """Return a random generator that depends on `parts` alone: the same drop on every machine and after a resume."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
