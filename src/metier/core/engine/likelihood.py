"""How likely a model finds given text: continuations of contexts, and whole texts by windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from metier.core.engine.network import Network
from metier.core.engine.prefixes import Group, shared_prefix_groups
from metier.core.engine.reading import PASS_TOKENS, padded, read_groups
from metier.core.engine.slots import Slots
from metier.core.errors import Mistake


class Likelihood(NamedTuple):
    """Natural log-probability of a continuation, summed over its tokens.

    `greedy` tells whether each of its tokens was the likeliest one; None where that was not asked.
    """

    nats: float
    tokens: int
    greedy: bool | None = None


class Loss(NamedTuple):
    """Negative natural log-likelihood of a text, with what it is divided by."""

    nats: float
    tokens: int
    text_bytes: int


class Window(NamedTuple):
    """Token ids read together, of which the last `scored` are scored. `text` is the index of the text."""

    text: int
    ids: Sequence[int]
    scored: int


def continuation_likelihoods(
    network: Network,
    contexts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    rows_at_once: int,
    done: Callable[[int], None],
    greedy: bool = False,
) -> list[Likelihood]:
    """Return the likelihood of each continuation after its context (token ids; no context is empty).

    What contexts have in common is read once. `done(rows)` is called as rows finish.
    """
    found = [Likelihood(0.0, 0, True if greedy else None)] * len(contexts)
    kept = [row for row, more in enumerate(continuations) if more]
    done(len(contexts) - len(kept))
    # A continuation's last token is never read, because nothing follows it. So continuations of one token (the letters
    # of a multiple-choice question) leave one and the same thing to read, and so do questions that come twice.
    alike: dict[tuple[int, ...], list[int]] = {}
    for row in kept:
        alike.setdefault((*contexts[row], *continuations[row][:-1]), []).append(row)
    inputs = list(alike)
    members = list(alike.values())
    _check_lengths(network, inputs)
    # Sharing ends before a context's last token, whose state gives the continuation's first token.
    groups = shared_prefix_groups([inputs[at][: _first(contexts, rows)] for at, rows in enumerate(members)])
    slots = Slots(min(rows_at_once, len(inputs)), max(map(len, inputs), default=0))
    for batch in _full(groups, rows_at_once):
        for tails, hidden_NQE in read_groups(network, slots, inputs, batch, 0):
            places: dict[tuple[int, int], int] = {}
            wanted: list[tuple[int, int]] = []
            for at, tail in enumerate(tails):
                for row in members[tail.row]:
                    first = len(contexts[row]) - 1 - tail.start
                    wanted += [
                        (places.setdefault((at, first + step), len(places)), token)
                        for step, token in enumerate(continuations[row])
                    ]
            rows, steps = network.tensor(list(places)).unbind(1)
            which, tokens = network.tensor(wanted).unbind(1)
            scores = network.scores(hidden_NQE[rows, steps], which, tokens, greedy)
            one_by_one = iter(scores.nats.tolist())
            likeliest = iter(scores.likeliest.tolist()) if scores.likeliest is not None else None
            for row in (row for tail in tails for row in members[tail.row]):
                count = len(continuations[row])
                nats = sum(islice(one_by_one, count))
                found[row] = Likelihood(nats, count, all(list(islice(likeliest, count))) if likeliest else None)
        done(sum(len(members[row]) for group in batch for row in group.rows))
    return found


def _first(contexts: Sequence[Sequence[int]], rows: Sequence[int]) -> int:
    """Return the place of the first token whose state any of the rows needs."""
    return min(len(contexts[row]) for row in rows) - 1


def _full(groups: list[Group], rows: int) -> list[list[Group]]:
    """Return the groups in batches of at most `rows` rows, cutting groups that do not fit."""
    batches: list[list[Group]] = [[]]
    room = rows
    for group in groups:
        left = group.rows
        while left:
            if room == 0:
                batches.append([])
                room = rows
            batches[-1].append(Group(group.prefix, left[:room]))
            left, room = left[room:], room - len(batches[-1][-1].rows)
    return batches if batches[0] else []


def windows(text: int, ids: Sequence[int], start: int, size: int, stride: int) -> list[Window]:
    """Cut a text's token ids into windows of `size` that advance by `stride`, so that every token is scored once.

    The first window begins with the token `start`, so that the text's first token is scored too. With `stride` equal
    to `size - 1` windows share one token; with a smaller one a token is scored with more context.
    """
    whole = [start, *ids]
    found, scored = [], 0
    while scored < len(ids):
        end = min(len(whole), size if scored == 0 else 1 + scored + stride)
        found.append(Window(text, whole[max(0, end - size) : end], end - 1 - scored))
        scored = end - 1
    return found


def text_losses(
    network: Network,
    cut: Sequence[Window],
    done: Callable[[int], None],
) -> dict[int, tuple[float, int]]:
    """Return (nats lost, scored tokens) by text index. `done(tokens)` is called as windows finish."""
    _check_lengths(network, [window.ids[:-1] for window in cut])
    sums: dict[int, tuple[float, int]] = {}
    for batch in _by_length(cut):
        ids_NQ = padded(network, [window.ids[:-1] for window in batch])
        hidden_NQE = network.read(ids_NQ)
        wanted = [
            (at, position, window.ids[position + 1])
            for at, window in enumerate(batch)
            for position in range(len(window.ids) - 1 - window.scored, len(window.ids) - 1)
        ]
        rows, positions, targets = network.tensor(wanted).unbind(1)
        scores = iter(network.scores(hidden_NQE[rows, positions], None, targets).nats.double().tolist())
        for window in batch:
            nats, tokens = sums.get(window.text, (0.0, 0))
            lost = -sum(next(scores) for _ in range(window.scored))
            sums[window.text] = (nats + lost, tokens + window.scored)
        done(sum(window.scored for window in batch))
    return sums


def _by_length(cut: Sequence[Window]) -> list[list[Window]]:
    batches: list[list[Window]] = []
    for window in sorted(cut, key=lambda window: -len(window.ids)):
        if batches and len(batches[-1][0].ids) * (len(batches[-1]) + 1) <= PASS_TOKENS:
            batches[-1].append(window)
        else:
            batches.append([window])
    return batches


def _check_lengths(network: Network, sequences: Sequence[Sequence[int]]) -> None:
    longest = max(map(len, sequences), default=0)
    if longest > network.longest:
        raise Mistake(
            "a text is longer than the model can read",
            found=f"{longest} tokens to read; the model takes {network.longest}",
            hint="shorten it, or score it in windows",
        )
