"""Answers decoded many at a time: slots are filled as they fall free, and no step is spent on a finished row."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from metier.core.chat import Decoding
from metier.core.engine.network import Network
from metier.core.engine.prefixes import Group, shared_prefix_groups
from metier.core.engine.reading import read_groups
from metier.core.engine.slots import Slots

NUCLEUS = 1024
"""Likeliest tokens looked at first for top_p; the whole vocabulary is sorted only where these do not hold its mass."""


class Generated(NamedTuple):
    """One answer's token ids without the token that ended it. `finished` is False where it was cut."""

    ids: list[int]
    finished: bool


@dataclass
class _Row:
    prompt: int
    sample: int
    limit: int  # tokens this answer may have
    draw: random.Random
    length: int  # tokens in the cache
    met: torch.Tensor | None  # bool [V], where a penalty is asked for: the tokens of the prompt and the answer so far
    ids: list[int] = field(default_factory=list)


def generate(
    network: Network,
    prompts: Sequence[Sequence[int]],
    stops: frozenset[int],
    decoding: Decoding,
    rows_at_once: int,
    done: Callable[[int, list[Generated]], None],
    until: Callable[[int, list[int]], bool] | None = None,
) -> None:
    """Answer `prompts` (token ids, none empty); call `done(prompt, answers)` when all samples of a prompt are there.

    `until(prompt, ids)` may end an answer after any of its tokens.

    A sampled answer depends on the prompt's ids, the seed and its own number, never on what else is asked; so does a
    greedy one. Both as far as the device's arithmetic allows: a matrix product may round differently in
    another batch, and a tie within that rounding may then fall the other way.
    """
    answers: dict[int, dict[int, Generated]] = {}

    def finish(row: _Row, ended: bool) -> None:
        found = answers.setdefault(row.prompt, {})
        found[row.sample] = Generated(row.ids, ended)
        if len(found) == decoding.samples:
            done(row.prompt, [found[sample] for sample in range(decoding.samples)])
            del answers[row.prompt]

    rows_at_once = max(rows_at_once, decoding.samples)
    longest = min(max(map(len, prompts), default=0) + decoding.max_tokens, network.longest)
    slots = Slots(rows_at_once, longest)
    waiting = _Waiting(prompts)
    active: list[_Row] = []
    token_limit = {p: min(decoding.max_tokens, longest - len(ids)) for p, ids in enumerate(prompts)}
    while active or waiting:
        free = rows_at_once - len(active)
        if waiting and (not active or free * 3 >= rows_at_once):
            admitted = waiting.take(free // decoding.samples)
            new, logits = _admit(network, slots, prompts, admitted, len(active), decoding, token_limit)
        else:
            new, logits = [], _step(network, slots, active)
        rows = new or active
        ended = _extend(rows, logits, stops, decoding, finish, until)
        active += new
        first = len(active) - len(rows)
        active = _close(slots, active, [first + at for at in ended], network)


class _Waiting:
    """Prompts not yet admitted, those with a common prefix next to each other."""

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        # The last token is left to the tail: its state gives the first answer token.
        self._groups = shared_prefix_groups([prompt[:-1] for prompt in prompts])

    def __bool__(self) -> bool:
        return bool(self._groups)

    def take(self, rows: int) -> list[Group]:
        """Return groups of at most `rows` prompts together, cutting the last one where it does not fit."""
        taken: list[Group] = []
        while rows > 0 and self._groups:
            group = self._groups[0]
            taken.append(Group(group.prefix, group.rows[:rows]))
            if len(group.rows) > rows:
                self._groups[0] = Group(group.prefix, group.rows[rows:])
            else:
                self._groups.pop(0)
            rows -= len(taken[-1].rows)
        return taken


def _admit(
    network: Network,
    slots: Slots,
    prompts: Sequence[Sequence[int]],
    groups: list[Group],
    first_slot: int,
    decoding: Decoding,
    token_limit: dict[int, int],
) -> tuple[list[_Row], torch.Tensor]:
    """Read prompts into slots from `first_slot`, once each; return a row per sample and first logits [rows, V]."""
    order = [row for group in groups for row in group.rows]
    states: dict[int, torch.Tensor] = {}
    for tails, hidden_NQE in read_groups(network, slots, prompts, groups, first_slot):
        for at, tail in enumerate(tails):
            states[tail.row] = hidden_NQE[at, len(tail.ids) - 1]
    logits = network.logits(torch.stack([states[prompt] for prompt in order]))
    if decoding.samples > 1:
        # samples of one prompt: the first keeps its slot, the others follow after all first ones
        copies = [
            (first_slot + at, first_slot + sample * len(order) + at)
            for sample in range(1, decoding.samples)
            for at in range(len(order))
        ]
        source, target = network.tensor(copies).unbind(1)
        slots.copy(source, target, max(len(prompts[prompt]) for prompt in order))
        logits = logits.repeat(decoding.samples, 1)
    rows = [
        _Row(
            prompt,
            sample,
            token_limit[prompt],
            _draw(prompts[prompt], decoding.seed, sample),
            len(prompts[prompt]),
            _met(network, prompts[prompt], logits.shape[-1]) if decoding.repetition_penalty != 1 else None,
        )
        for sample in range(decoding.samples)
        for prompt in order
    ]
    return rows, logits


def _met(network: Network, prompt: Sequence[int], vocabulary: int) -> torch.Tensor:
    met = torch.zeros(vocabulary, dtype=torch.bool, device=network.device)
    met[network.tensor(prompt)] = True
    return met


def _draw(prompt: Sequence[int], seed: int, sample: int) -> random.Random:
    digest = hashlib.sha256(repr((list(prompt), seed, sample)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def _step(network: Network, slots: Slots, active: list[_Row]) -> torch.Tensor:
    """Read each row's latest token; return the next logits [rows, V]."""
    hidden_N1E = network.read_into(
        slots,
        torch.arange(len(active), device=network.device),
        network.tensor([[row.ids[-1]] for row in active]),
        network.tensor([row.length for row in active]),
    )
    for row in active:
        row.length += 1
    return network.logits(hidden_N1E[:, 0])


def _extend(
    rows: list[_Row],
    logits: torch.Tensor,
    stops: frozenset[int],
    decoding: Decoding,
    finish: Callable[[_Row, bool], None],
    until: Callable[[int, list[int]], bool] | None,
) -> list[int]:
    """Give each row its next token; return which rows ended, having called `finish` for them."""
    met = [row.met for row in rows if row.met is not None]
    if met:
        logits = penalised(logits, torch.stack(met), decoding.repetition_penalty)
    if decoding.temperature == 0:
        chosen = logits.argmax(dim=-1).tolist()
    else:
        uniform = torch.tensor([row.draw.random() for row in rows], device=logits.device)
        chosen = sample_tokens(logits / decoding.temperature, decoding.top_p, uniform, decoding.top_k).tolist()
    ended = []
    for at, (row, token) in enumerate(zip(rows, chosen, strict=True)):
        stop = token in stops
        if row.met is not None:
            row.met[token] = True
        if not stop:
            row.ids.append(token)
            stop = until is not None and until(row.prompt, row.ids)
        if stop or len(row.ids) >= row.limit:
            finish(row, stop)
            ended.append(at)
    return ended


def penalised(logits_NV: torch.Tensor, met_NV: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return logits with those of the tokens `met_NV` divided by `penalty` if positive, else multiplied.

    As in CTRL (Keskar et al. 2019) and transformers; the tokens of the prompt count as met.
    """
    lowered = torch.where(logits_NV > 0, logits_NV / penalty, logits_NV * penalty)
    return torch.where(met_NV, lowered, logits_NV)


def sample_tokens(logits_NV: torch.Tensor, top_p: float, uniform_N: torch.Tensor, top_k: int = 0) -> torch.Tensor:
    """Return one token [N] per row by inverting the cumulative distribution at `uniform_N`, each in [0, 1).

    With `top_k` above 0 only so many of the likeliest tokens are drawn from, and what ties with the last of them. With
    `top_p` below 1 only the likeliest of those that together hold that share are (nucleus sampling, Holtzman et al.
    2020), the token that crosses the share included.
    """
    if 0 < top_k < logits_NV.shape[-1]:
        least = logits_NV.topk(top_k, dim=-1).values[:, -1:]
        logits_NV = logits_NV.masked_fill(logits_NV < least, -torch.inf)
    probabilities = logits_NV.softmax(dim=-1)
    if top_p >= 1:
        return _invert(probabilities.cumsum(dim=-1), uniform_N)
    values, tokens = probabilities.topk(min(NUCLEUS, probabilities.shape[-1]), dim=-1)
    if bool((values.sum(dim=-1) < top_p).any()):
        values, tokens = probabilities.sort(dim=-1, descending=True)
    cumulative = values.cumsum(dim=-1)
    values = values.masked_fill(cumulative - values >= top_p, 0.0)
    return tokens.gather(1, _invert(values.cumsum(dim=-1), uniform_N)[:, None]).squeeze(1)


def _invert(cumulative_NV: torch.Tensor, uniform_N: torch.Tensor) -> torch.Tensor:
    # scaled by the total, which rounding leaves a little off 1, and kept below it: a token of mass 0 is never drawn
    total = cumulative_NV[:, -1:]
    point = torch.minimum(uniform_N[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative_NV, point, right=True).squeeze(1)


def _close(slots: Slots, active: list[_Row], ended: list[int], network: Network) -> list[_Row]:
    """Move the last rows into the slots of those that ended, so that the rows left are the first slots."""
    gone = set(ended)
    left = len(active) - len(gone)
    holes: Iterator[int] = (slot for slot in sorted(gone) if slot < left)
    moves = [(slot, next(holes)) for slot in range(left, len(active)) if slot not in gone]
    if moves:
        source, target = network.tensor(moves).unbind(1)
        slots.copy(source, target, max(active[slot].length for slot, _ in moves))
        for slot, hole in moves:
            active[hole] = active[slot]
    return active[:left]
