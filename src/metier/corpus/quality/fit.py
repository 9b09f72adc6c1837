"""Fit a logistic regression to a few hundred texts, and find out on held-out texts how good it is.

Features are the shares that an n-gram has in its text, so a text's length counts for nothing; each is divided by the
root of its root mean square, half-way between counting all n-grams alike and letting the frequent ones decide (chosen
on examples from Debian manuals that no reported figure uses). Both classes weigh the same, however many examples each
has. The minimum is found by L-BFGS (Liu & Nocedal 1989); probabilities come of Platt scaling (1999) on held-out
margins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metier.corpus.kernel import texts as column_of
from metier.corpus.kernel.classify import ngram_buckets
from metier.corpus.quality.classifier import Linear, logistic, rounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRENGTHS = (0.1, 0.01, 0.001)
"""Strengths of regularisation that are tried, on margins of texts whose features have length 1 in the mean."""

_ROUNDS = 100
_MEMORY = 8
_TOLERANCE = 1e-3


class Shares(NamedTuple):
    """The shares of n-grams in texts, as a sparse matrix: entry i is in `rows[i]`, `columns[i]`, and is `values[i]`."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]
    shape: tuple[int, int]

    def times(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the product with a vector of columns."""
        return _sums(self.rows, self.values * weights[self.columns], self.shape[0])

    def transposed_times(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the product of the transposed matrix with a vector of rows."""
        return _sums(self.columns, self.values * margins[self.rows], self.shape[1])

    def only(self, wanted: NDArray[np.bool_]) -> Shares:
        """Return some of the rows."""
        place = np.cumsum(wanted) - 1
        entries = wanted[self.rows]
        shape = int(wanted.sum()), self.shape[1]
        return Shares(place[self.rows[entries]], self.columns[entries], self.values[entries], shape)


class Fitted(NamedTuple):
    """Weights by bucket, and the bias."""

    weights: NDArray[np.float64]
    bias: float


class HeldOut(NamedTuple):
    """Margins of all texts by models that had not seen them, the strength that did best, and Platt's two numbers."""

    margins: NDArray[np.float64]
    strength: float
    slope: float
    intercept: float

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The probability that each text is good, as the classifier would have told it."""
        return logistic(self.slope * self.margins + self.intercept)


def _sums(places: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.bincount(places, values, size).astype(np.float64, copy=False)
    return found


def shares(texts: Sequence[str], bits: int, order: int) -> Shares:
    """Return the shares of the n-grams of texts, in 2**bits buckets."""
    starts, buckets = ngram_buckets(column_of(texts), bits, order)
    sizes = np.diff(starts)
    rows = np.repeat(np.arange(len(texts)), sizes)
    places, counts = np.unique(rows << bits | buckets.astype(np.int64), return_counts=True)
    rows = places >> bits
    return Shares(rows, places & ((1 << bits) - 1), counts / np.maximum(sizes, 1)[rows], (len(texts), 1 << bits))


def fit(matrix: Shares, good: NDArray[np.bool_], strengths: Sequence[float]) -> Iterator[Fitted]:
    """Yield the model for each strength, strongest first; each begins where the last one ended."""
    scales, used = _scales(matrix)
    place = np.cumsum(used) - 1
    entries = used[matrix.columns]
    columns = matrix.columns[entries]
    small = Shares(
        matrix.rows[entries], place[columns], matrix.values[entries] * scales[columns], (len(good), int(used.sum()))
    )
    signs = np.where(good, 1.0, -1.0)
    balance = np.where(good, 0.5 / max(good.mean(), 1e-9), 0.5 / max(1 - good.mean(), 1e-9))
    state = np.zeros(small.shape[1] + 1)
    for strength in strengths:

        def loss(at: NDArray[np.float64], strength: float = strength) -> tuple[float, NDArray[np.float64]]:
            weights = at[:-1]
            margins = (small.times(weights) + at[-1]) * signs
            slopes = -balance * signs * logistic(-margins)
            value = float((balance * np.logaddexp(0, -margins)).sum() + strength / 2 * _dot(weights, weights))
            return value, np.append(small.transposed_times(slopes) + strength * weights, slopes.sum())

        state = minimum(loss, state)
        weights = np.zeros(matrix.shape[1])
        weights[used] = state[:-1]
        yield Fitted(weights * scales, float(state[-1]))


def _scales(matrix: Shares) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return by what each column is multiplied, and which stand in two texts at least: the others say nothing."""
    size = matrix.shape[1]
    used = np.bincount(matrix.columns, minlength=size) >= 2
    means = np.sqrt(np.bincount(matrix.columns, matrix.values**2, size) / max(matrix.shape[0], 1))
    scales = np.where(used, 1 / np.sqrt(np.where(used, means, 1)), 0)
    lengths = np.sqrt(np.bincount(matrix.rows, (matrix.values * scales[matrix.columns]) ** 2, matrix.shape[0]))
    return scales / (lengths.mean() or 1), used


def minimum(
    function: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return where a convex function, given with its gradient, is smallest (L-BFGS with a backtracking line search)."""
    at, (value, gradient) = start, function(start)
    enough = _TOLERANCE * max(1.0, _length(gradient))
    moves: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for _ in range(_ROUNDS):
        if _length(gradient) < enough:
            break
        direction = -_newton_like(gradient, moves)
        fall, step = _dot(gradient, direction), 1.0
        while True:
            new_value, new_gradient = function(at + step * direction)
            if new_value <= value + 1e-4 * step * fall or step < 1e-10:
                break
            step /= 2
        move, change = step * direction, new_gradient - gradient
        if _dot(move, change) > 1e-12:
            moves = [*moves[1 - _MEMORY :], (move, change)]
        at, value, gradient = at + move, new_value, new_gradient
    return at


def _dot(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    # Not `@`, whose threads spin against each other on busy cores, and give other last digits with another number.
    return float((one * other).sum())


def _length(vector: NDArray[np.float64]) -> float:
    return math.sqrt(_dot(vector, vector))


def _newton_like(
    gradient: NDArray[np.float64], moves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> NDArray[np.float64]:
    """Return the gradient times the inverse Hessian that the last moves suggest."""
    found, parts = gradient.copy(), []
    for move, change in reversed(moves):
        part = _dot(move, found) / _dot(change, move)
        parts.append(part)
        found -= part * change
    if moves:
        move, change = moves[-1]
        found *= _dot(move, change) / _dot(change, change)
    else:
        found /= max(_length(gradient), 1e-12)
    for (move, change), part in zip(moves, reversed(parts), strict=True):
        found += (part - _dot(change, found) / _dot(change, move)) * move
    return found


def hold_out(
    matrix: Shares, good: NDArray[np.bool_], folds: NDArray[np.int64], seen_one: Callable[[], None] = lambda: None
) -> HeldOut:
    """Return the margins of all texts, each by a model of the other folds, for the strength that tells most."""
    margins = np.zeros((len(STRENGTHS), len(good)))
    for fold in np.unique(folds):
        learnt = folds != fold
        held = matrix.only(~learnt)
        for row, found in enumerate(fit(matrix.only(learnt), good[learnt], STRENGTHS)):
            margins[row, ~learnt] = held.times(found.weights) + found.bias
        seen_one()
    tried = [HeldOut(one, strength, *platt(one, good)) for one, strength in zip(margins, STRENGTHS, strict=True)]
    return min(tried, key=lambda one: log_loss(one.probabilities, good))


def platt(margins: NDArray[np.float64], good: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and intercept of the logistic function that turns margins into probabilities.

    Both classes weigh the same. The targets are Platt's, a little inside of 0 and 1, so that a perfect margin does not
    give an infinite slope.
    """
    some, other = int(good.sum()), int((~good).sum())
    target = np.where(good, (some + 1) / (some + 2), 1 / (other + 2))
    balance = np.where(good, 0.5 / max(some, 1), 0.5 / max(other, 1)) * len(good)
    spread = float(margins.std()) or 1.0  # margins in units of their own spread: a well-conditioned problem
    design = np.stack([margins / spread, np.ones(len(margins))], axis=1)
    at = np.zeros(2)
    for _ in range(50):  # Newton's method, damped: two numbers, a convex function
        told = logistic(design @ at)
        gradient = design.T @ (balance * (told - target))
        hessian = (design * (balance * np.maximum(told * (1 - told), 1e-6))[:, None]).T @ design
        move = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        at -= move / max(1.0, float(np.abs(move).max()))
        if np.abs(move).max() < 1e-8:
            break
    return float(at[0] / spread), float(at[1])


def log_loss(probabilities: NDArray[np.float64], good: NDArray[np.bool_]) -> float:
    """Return the mean of -log of the probability of what is right, in nats, both classes weighing the same."""
    right = np.clip(np.where(good, probabilities, 1 - probabilities), 1e-12, 1)
    return float(-(np.log(right[good]).mean() + np.log(right[~good]).mean()) / 2)


def taught(matrix: Shares, good: NDArray[np.bool_], held: HeldOut, order: int) -> Linear:
    """Return the classifier fitted to all texts, with the calibration of the held-out ones."""
    found = list(fit(matrix, good, [one for one in STRENGTHS if one >= held.strength]))[-1]
    weights, unit = rounded(found.weights)
    if not (math.isfinite(held.slope) and np.isfinite(found.weights).all()):
        raise ArithmeticError("the fit did not converge")
    return Linear(weights, unit, order, found.bias, held.slope, held.intercept)
