"""Put rows into windows without padding, and let rows that begin alike share one copy of what they share."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

NOT_TRAINED = -100
"""The target of a position that carries no loss, as in torch's cross-entropy."""

LEAST_SHARED = 16
"""A shared prefix shorter than this is not worth tying rows into the same optimizer step for."""


class Row(NamedTuple):
    """One row to train on. ids: [T]. mask: True on tokens whose prediction is trained, [T]."""

    name: str
    ids: Sequence[int]
    mask: Sequence[bool]

    @property
    def trained(self) -> int:
        """How many tokens carry loss. The first token is predicted from nothing, so it never does."""
        return sum(self.mask[1:])


class Group(NamedTuple):
    """Rows that share their first `prefix` tokens; 0 with a single row."""

    rows: tuple[Row, ...]
    prefix: int

    @property
    def tokens(self) -> int:
        """Tokens the model computes for this group: the prefix once, and every tail."""
        return self.prefix + sum(len(row.ids) - self.prefix for row in self.rows)


class Block(NamedTuple):
    """Where one group lies in a window: a shared prefix, then tails that do not see each other."""

    start: int
    prefix: int
    tails: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens in the block."""
        return self.prefix + sum(self.tails)


class Window(NamedTuple):
    """What one forward pass takes, T tokens without padding.

    targets: the token each position has to predict, or NOT_TRAINED, [T]. positions: each row's own count from 0, [T].
    row_of: index into `names` of the row each position belongs to (for a prefix, the first row), [T].
    """

    ids: Sequence[int]
    targets: Sequence[int]
    positions: Sequence[int]
    row_of: Sequence[int]
    blocks: list[Block]
    names: list[str]

    @property
    def trained(self) -> int:
        """How many positions carry loss."""
        return sum(target != NOT_TRAINED for target in self.targets)


def window_of(groups: Sequence[Group]) -> Window:
    """Lay groups one after the other."""
    # Arrays, since all rows of all epochs stand in memory: lists take several times as much.
    ids, targets, positions, row_of = (array("i") for _ in range(4))
    window = Window(ids, targets, positions, row_of, [], [])
    for group in groups:
        prefix = group.prefix
        tails = tuple(len(row.ids) - prefix for row in group.rows)
        window.blocks.append(Block(len(window.ids), prefix, tails))
        for index, row in enumerate(group.rows):
            begin = prefix if index else 0
            wanted = [
                token if trained else NOT_TRAINED for token, trained in zip(row.ids[1:], row.mask[1:], strict=True)
            ]
            ids.extend(row.ids[begin:])
            targets.extend([*wanted, NOT_TRAINED][begin:])
            positions.extend(range(begin, len(row.ids)))
            row_of.extend([len(window.names)] * (len(row.ids) - begin))
            window.names.append(row.name)
    return window


def shareable(row: Row) -> int:
    """Return how many first tokens of a row another row may share.

    The token that predicts the first trained one is never shared: rows of one group differ in what it must predict.
    """
    first = next((index for index, trained in enumerate(row.mask) if trained and index > 0), len(row.ids))
    return max(first - 1, 0)


def common_prefix(a: Sequence[int], b: Sequence[int], at_most: int) -> int:
    """Return how many first tokens of `a` and `b` are equal, at most `at_most`."""
    at_most = min(at_most, len(a), len(b))
    for index in range(at_most):
        if a[index] != b[index]:
            return index
    return at_most


def share_prefixes(rows: Sequence[Row], tokens: int, at_most_rows: int, rng: random.Random) -> list[Group]:
    """Group rows that begin alike, in an order drawn from `rng`.

    Args:
        tokens: no group is longer, unless it is a single row.
        at_most_rows: no group has more rows, so that an optimizer step still mixes different beginnings.
    """
    groups: list[Group] = []
    for family in _families(rows):
        rng.shuffle(family)
        shared = _shared(family)
        open_rows: list[Row] = []
        used = shared
        for row in family:
            tail = len(row.ids) - shared
            if open_rows and (used + tail > tokens or len(open_rows) >= at_most_rows):
                groups.append(_group(open_rows))
                open_rows, used = [], shared
            open_rows.append(row)
            used += tail
        groups.append(_group(open_rows))
    rng.shuffle(groups)
    return groups


def _families(rows: Sequence[Row]) -> list[list[Row]]:
    """Split rows into families whose neighbours, sorted by ids, share at least half of what they may share."""
    families: list[list[Row]] = []
    ordered = sorted(rows, key=lambda row: (row.ids, row.name))
    limits = [shareable(row) for row in ordered]
    for index, row in enumerate(ordered):
        if index:
            limit = min(limits[index - 1], limits[index])
            same = common_prefix(ordered[index - 1].ids, row.ids, limit)
            if same >= LEAST_SHARED and 2 * same >= limit:
                families[-1].append(row)
                continue
        families.append([row])
    return families


def _shared(rows: Sequence[Row]) -> int:
    """Return the length of the prefix that all rows may share; 0 for a single row."""
    if len(rows) < 2:
        return 0
    # The prefix common to all is the one common to the first and the last in sorted order.
    ordered = sorted(row.ids for row in rows)  # type: ignore[type-var]  # lists or arrays, all of one kind
    shared = common_prefix(ordered[0], ordered[-1], min(shareable(row) for row in rows))
    return shared if shared >= LEAST_SHARED else 0


def _group(rows: list[Row]) -> Group:
    return Group(tuple(rows), _shared(rows))


def optimizer_batches(groups: Sequence[Group], sizes: Sequence[int], target: int) -> list[list[Group]]:
    """Cut `groups`, in their order, into batches as near to `target` as whole groups allow.

    `sizes` says how much each group counts (rows or tokens). There is no small rest: all batches are of one size,
    between 2/3 and 4/3 of the target when there is enough for one.
    """
    total = sum(sizes)
    count = max(1, round(total / target))
    batches: list[list[Group]] = [[] for _ in range(count)]
    before = 0
    for group, size in zip(groups, sizes, strict=True):
        middle = before + size / 2
        batches[min(int(middle * count / total), count - 1)].append(group)
        before += size
    return [batch for batch in batches if batch]


def windows_of(batch: Sequence[Group], count: int) -> list[Window]:
    """Spread a batch over `count` windows of nearly equal length, longest group first."""
    bins: list[list[Group]] = [[] for _ in range(count)]
    filled = [0] * count
    for group in sorted(batch, key=lambda group: -group.tokens):
        least = filled.index(min(filled))
        bins[least].append(group)
        filled[least] += group.tokens
    return [window_of(groups) for groups in bins if groups]


def windows_per_batch(batches: Sequence[Sequence[Group]], window_tokens: int, processes: int = 1) -> int:
    """Return into how many windows every batch is cut so that they hold about `window_tokens` each.

    One number for all batches, because the trainer accumulates gradients over a fixed number of windows; never more
    than the smallest batch has groups. Processes take turns: the last turn is full where that can be.
    """
    largest = max(sum(group.tokens for group in batch) for batch in batches)
    turns = -(-largest // (window_tokens * processes))
    return max(1, min(turns * processes, min(len(batch) for batch in batches)))


def cut(ids: Sequence[int], length: int) -> list[list[int]]:
    """Cut `ids` into pieces of at most `length`, as few and as equal as possible."""
    count = max(1, -(-len(ids) // length))
    edges = [len(ids) * part // count for part in range(count + 1)]
    return [list(ids[a:b]) for a, b in pairwise(edges)]
