"""Many token sequences read into slots: each shared prefix once, tails sorted by length, bounded passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from metier.core.engine.network import Network
from metier.core.engine.prefixes import GROUP_COST_TOKENS, Group, common_length
from metier.core.engine.slots import Slots

PASS_TOKENS = 1536
"""Padded tokens in one forward pass: enough to keep the cores busy, little enough to stay in memory."""


class Tail(NamedTuple):
    """One row's own tokens, after its group's prefix. `slot` is where its keys and values are."""

    row: int
    slot: int
    start: int
    ids: Sequence[int]


class TailPass(NamedTuple):
    """Tails read in one pass, and their hidden states [N, Q, width]; a row's last ones may be padding."""

    tails: list[Tail]
    hidden: torch.Tensor


def read_groups(
    network: Network, slots: Slots, sequences: Sequence[Sequence[int]], groups: Sequence[Group], first_slot: int
) -> Iterator[TailPass]:
    """Read `groups` of rows of `sequences` into consecutive slots from `first_slot`; yield the tails' states.

    Every row keeps at least one token for its tail: a group's prefix is shorter than its sequences.
    """
    tails: list[Tail] = []
    heads: list[Tail] = []
    copies: list[tuple[int, int]] = []
    for group in groups:
        for row in group.rows:
            tails.append(Tail(row, first_slot + len(tails), group.prefix, sequences[row][group.prefix :]))
        if group.prefix:
            first = tails[-len(group.rows)]
            heads.append(Tail(first.row, first.slot, 0, sequences[first.row][: group.prefix]))
            copies += [(first.slot, first.slot + k) for k in range(1, len(group.rows))]
    _read_heads(network, slots, heads)
    if copies:
        source, target = network.tensor(copies).unbind(1)
        slots.copy(source, target, max(group.prefix for group in groups))
    yield from _passes(network, slots, tails)


def _read_heads(network: Network, slots: Slots, heads: list[Tail]) -> None:
    # Groups may share a beginning as well (a template's system message): it is read once, into the first one's slot.
    shared = min((common_length(heads[0].ids, head.ids) for head in heads[1:]), default=0)
    if shared >= GROUP_COST_TOKENS:
        for _ in _passes(network, slots, [heads[0]._replace(ids=heads[0].ids[:shared])]):
            pass
        first, *others = (network.tensor([head.slot]) for head in heads)
        slots.copy(first.expand(len(others)), torch.cat(others), shared)
        heads = [head._replace(start=shared, ids=head.ids[shared:]) for head in heads if len(head.ids) > shared]
    for _ in _passes(network, slots, heads):
        pass


def _passes(network: Network, slots: Slots, tails: list[Tail]) -> Iterator[TailPass]:
    for batch in batches(tails, PASS_TOKENS):
        hidden = network.read_into(
            slots,
            network.tensor([tail.slot for tail in batch]),
            padded(network, [tail.ids for tail in batch]),
            network.tensor([tail.start for tail in batch]),
        )
        yield TailPass(batch, hidden)


def batches(tails: Sequence[Tail], pass_tokens: int) -> Iterator[list[Tail]]:
    """Yield the tails, longest first, in batches of at most `pass_tokens` tokens with padding (one tail at least)."""
    ordered = sorted(tails, key=lambda tail: (-len(tail.ids), tail.start, tail.slot))
    batch: list[Tail] = []
    for tail in ordered:
        if batch and len(batch[0].ids) * (len(batch) + 1) > pass_tokens:
            yield batch
            batch = []
        batch.append(tail)
    if batch:
        yield batch


def padded(network: Network, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return token ids [N, longest], padded on the right with 0."""
    longest = max(len(row) for row in rows)
    return network.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
