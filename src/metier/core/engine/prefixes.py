"""Token sequences grouped by the prefix they share, so that a model reads each shared prefix once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

GROUP_COST_TOKENS = 16
"""What one more pass over the model costs, in tokens: below this a shared prefix does not pay."""

_DEEPEST = 200  # nested prefixes beyond this are not split further: Python's recursion has an end


class Group(NamedTuple):
    """Rows (indices of the sequences) whose first `prefix` tokens are equal."""

    prefix: int
    rows: tuple[int, ...]


def shared_prefix_groups(sequences: Sequence[Sequence[int]], group_cost: int = GROUP_COST_TOKENS) -> list[Group]:
    """Return groups of `sequences` so that reading each group's prefix once costs the fewest tokens.

    The sequences form a radix tree; a node is either one group (its prefix once, and every row's rest)
    or is left to its children, whichever costs less. Every row is in exactly one group; a group whose rows
    share nothing worth sharing has prefix 0.
    """
    order = sorted(range(len(sequences)), key=lambda row: tuple(sequences[row]))
    common = [common_length(sequences[a], sequences[b]) for a, b in pairwise(order)]
    lengths = [len(sequences[row]) for row in order]

    def best(first: int, end: int, depth: int) -> tuple[int, list[Group]]:
        if end - first == 1:
            return lengths[first], [Group(0, (order[first],))]
        prefix = min(common[first : end - 1])
        rows = end - first
        whole = sum(lengths[first:end]) - (rows - 1) * prefix + (group_cost if prefix else 0)
        as_one = [Group(prefix, tuple(order[first:end]))]
        cuts = [at + 1 for at in range(first, end - 1) if common[at] == prefix]
        if depth == _DEEPEST:
            return whole, as_one
        apart = [best(a, b, depth + 1) for a, b in zip([first, *cuts], [*cuts, end], strict=True)]
        cost = sum(cost for cost, _ in apart)
        return (cost, [group for _, groups in apart for group in groups]) if cost < whole else (whole, as_one)

    if not order:
        return []
    groups = best(0, len(order), 0)[1]
    alone = tuple(row for group in groups if len(group.rows) == 1 for row in group.rows)
    shared = [group for group in groups if len(group.rows) > 1]
    return shared + ([Group(0, alone)] if alone else [])


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens `a` and `b` share at their beginning."""
    for at, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return at
    return min(len(a), len(b))
