"""Bradley–Terry strengths of several models on the Elo scale, with intervals over questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from metier.evaluate.judge.outcomes import Outcome
from metier.evaluate.statistics import ROUNDS, Interval, student_t

if TYPE_CHECKING:
    import numpy as np

MEAN_ELO = 1000.0
PRIOR = 0.5
"""Won and lost by every model against every rival beforehand: a model that never lost has no finite strength else."""

_ROUNDS, _HALVINGS = 200, 30
_LONGEST = 2.0  # step, in units of the logarithm of odds
_FARTHEST = 200.0  # odds of e^200 are no finite ones


def elo(outcomes: Sequence[Outcome], labels: Sequence[str], prior: float = PRIOR, seed: int = 0) -> list[Interval]:
    """Return each model's strength: 400 points more are ten times the odds, the mean of all models is 1000.

    A tie is half a win for both. Intervals are a bootstrap over clusters of questions, widened for few of them
    (Hesterberg 2015); `n` is the pairs that the model was in.

    Raises:
        ValueError: there are no outcomes.
    """
    import numpy as np

    if not outcomes:
        raise ValueError("strengths of no outcomes")
    at = {label: index for index, label in enumerate(labels)}
    clusters = dict.fromkeys(one.question.cluster for one in outcomes)
    numbers = {cluster: number for number, cluster in enumerate(clusters)}
    wins = np.zeros((len(numbers), len(labels), len(labels)))
    for one in outcomes:
        first, second = at[one.first], at[one.second]
        share = 0.5 if one.winner is None else float(one.winner == one.first)
        wins[numbers[one.question.cluster], first, second] += share
        wins[numbers[one.question.cluster], second, first] += 1 - share
    groups, total = len(numbers), wins.sum(axis=0)
    values = _elo(bradley_terry(total + prior))
    counts = (total + total.T).sum(axis=1)
    if groups < 2:
        return [Interval(float(value), -math.inf, math.inf, int(n)) for value, n in zip(values, counts, strict=True)]
    drawn = np.random.default_rng(seed).multinomial(groups, [1 / groups] * groups, size=ROUNDS)
    resampled = _elo(bradley_terry(np.tensordot(drawn, wins, axes=1) + prior))
    level = NormalDist().cdf(-math.sqrt(groups / (groups - 1)) * student_t(0.975, groups - 1))
    low, high = np.quantile(resampled, [level, 1 - level], axis=0)
    return [
        Interval(float(v), float(a), float(b), int(n)) for v, a, b, n in zip(values, low, high, counts, strict=True)
    ]


def bradley_terry(wins: np.ndarray[Any, Any], tolerance: float = 1e-9) -> np.ndarray[Any, Any]:
    """Return strengths p with geometric mean 1: where W_i = sum_j n_ij p_i / (p_i + p_j), the likelihood's maximum.

    By Newton's method on their logarithms, of which the log-likelihood is concave; a step that lowers it is halved.

    Args:
        wins: (..., models, models), how often the row's model beat the column's; the diagonal does not count.

    Raises:
        ValueError: there is no maximum, as where a model has won or lost every time.
    """
    import numpy as np

    models = wins.shape[-1]
    won = (wins * (1 - np.eye(models))).reshape(-1, models, models)
    games = won + np.swapaxes(won, -1, -2)
    theta_BM = np.zeros(won.shape[:2])

    def likelihood(theta_BM: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        lost: np.ndarray[Any, Any] = won * np.logaddexp(0, theta_BM[:, None, :] - theta_BM[:, :, None])
        return np.asarray(-lost.sum(axis=(-1, -2)))

    reached = likelihood(theta_BM)
    for _ in range(_ROUNDS):
        share = 1 / (1 + np.exp(theta_BM[:, None, :] - theta_BM[:, :, None]))
        weight = games * share * (1 - share)
        # The last term fixes the mean, as adding to all logarithms alike changes nothing.
        curvature = np.eye(models) * weight.sum(axis=-1)[:, :, None] - weight
        curvature += weight.mean(axis=(-1, -2), keepdims=True)
        slope = won.sum(axis=-1) - (games * share).sum(axis=-1)
        try:
            step = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:
            break
        step *= np.minimum(1, _LONGEST / np.maximum(np.abs(step).max(axis=-1, keepdims=True), tolerance))
        for _ in range(_HALVINGS):
            risen = likelihood(theta_BM + step)
            worse = risen < reached - 1e-12 * np.abs(reached)
            if not worse.any():
                break
            step[worse] /= 2
        theta_BM, reached = theta_BM + step, risen
        if np.abs(theta_BM).max() > _FARTHEST:
            break
        if np.abs(step).max() < tolerance:
            strength: np.ndarray[Any, Any] = np.exp(theta_BM - theta_BM.mean(axis=-1, keepdims=True))
            return strength.reshape(wins.shape[:-1])
    raise ValueError("the strengths have no finite maximum: a model won or lost every time")


def _elo(strength: np.ndarray[Any, Any]) -> Any:
    import numpy as np

    return MEAN_ELO + 400 * np.log10(strength)
