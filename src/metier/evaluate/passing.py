"""pass@k: the chance that one of k answers passes, estimated without bias from n (Chen et al. 2021, equation 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metier.evaluate.statistics import Interval, mean_of_clusters


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return 1 - C(n-c, k) / C(n, k) for n samples of which c passed.

    Raises:
        ValueError: k is more than the samples, or the counts are impossible.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} cannot be told from {passed} of {samples}")
    # As a product: the binomials themselves do not fit a float for some hundred samples.
    return 1.0 - math.prod(1.0 - k / n for n in range(samples - passed + 1, samples + 1))


def figure(passed: Sequence[int], samples: int, k: int, clusters: Sequence[str], seed: int = 0) -> Interval:
    """Return the mean of pass@k over problems with a bootstrap interval over clusters of problems."""
    return mean_of_clusters([pass_at_k(samples, count, k) for count in passed], clusters, seed)
