"""Answers drawn by the house's engine and scored in one packed window: what reinforcement spends its time on.

TRL draws with transformers' `generate` and scores padded rows, each with its own copy of the prompt, every position of
them on a CPU. Here a prompt is read once for all its answers, in drawing and in scoring, and only answers are scored.
The distribution that is drawn from is the same: softmax(logits / temperature), with the weights of this moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from metier.core.chat import Decoding
from metier.core.engine.attention import NAME as ROWS
from metier.core.engine.generation import Generated, generate
from metier.core.engine.network import Network
from metier.train.attention import prepared, register
from metier.train.loss import token_log_probabilities
from metier.train.packing import LEAST_SHARED, NOT_TRAINED, Group, Row, Window, window_of

LONGEST_SHARED = 2048
"""Answers share their prompt in blocks up to so many tokens: a block's mask grows with the square of its length."""

CACHE_SHARE = 4  # the cache may take this part of the memory, as in the engine's own chat
ENTROPY_ROWS = 256  # positions whose logits are there at once: 50 MB in float32 for a vocabulary of 49k


class Scored(NamedTuple):
    """Of the answers of a pass, [B, C] with 0 behind an answer's end: ln p and, where asked, the entropy in nats."""

    log_p: torch.Tensor
    entropy: torch.Tensor | None


@contextmanager
def attending(network: Any, name: str) -> Iterator[None]:
    """Let `network` attend by another implementation for a while."""
    configs = {id(config): config for config in (network.config, network.config.get_text_config())}.values()
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = name
        yield
    finally:
        for config, was in zip(configs, before, strict=True):
            config._attn_implementation = was


def plain(network: Any) -> Any:
    """Return the model itself, with the adapter's layers in it where PEFT has put an adapter around it."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


class Drawing:
    """Draws answers from a network that is being trained, with its weights as they are at each call.

    Args:
        network: without other devices' shares of its weights.
        ends: tokens that end an answer.
        memory_bytes: of the device; a quarter may be taken by the cache.

    Raises:
        Failure: the engine cannot run the architecture.
    """

    def __init__(self, network: Any, ends: frozenset[int], memory_bytes: int) -> None:
        self._model, self._ends, self._memory_bytes = plain(network), ends, memory_bytes
        with self._asking():
            self._network = Network(self._model)

    def answers(self, prompts: Sequence[Sequence[int]], temperature: float, max_tokens: int, seed: int) -> list[Any]:
        """Return one answer to each prompt (token ids), its end included; equal prompts get different answers.

        An answer depends on the weights, its prompt, the seed, and how many equal prompts stand before it.
        """
        counts = Counter(map(tuple, prompts))
        asked = list(counts)
        samples = max(counts.values())
        decoding = Decoding(temperature=temperature, samples=samples, max_tokens=max_tokens, seed=seed)
        found: dict[tuple[int, ...], list[Generated]] = {}
        longest = max(map(len, asked)) + max_tokens
        rows = self._memory_bytes // CACHE_SHARE // max(1, longest * self._network.cache_bytes_per_token)
        with self._asking(), torch.inference_mode():
            generate(
                self._network,
                asked,
                frozenset(),  # an end would be left out of the ids, and it is trained like any other token
                decoding,
                max(1, min(rows, len(asked) * samples)),
                lambda at, answers: found.update({asked[at]: answers}),
                lambda _, ids: ids[-1] in self._ends,
            )
        left = {prompt: iter(answers) for prompt, answers in found.items()}
        return [next(left[tuple(prompt)]).ids for prompt in prompts]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        training = self._model.training
        self._model.eval()  # no dropout, and layers that are worked out twice keep no cache
        try:
            with attending(self._model, ROWS):
                yield
        finally:
            self._model.train(training)


def window_with(ids_BT: torch.Tensor, attended_BT: torch.Tensor, answer: int) -> tuple[Window, list[int]]:
    """Return a pass of padded rows as one window, prompts read once, and where each scored token belongs, [N].

    Args:
        ids_BT: prompts padded on the left, then `answer` columns of answers padded on the right.
        attended_BT: 1 on what is no padding.

    Places are indexes into the flat [B * answer].
    """
    families: dict[tuple[int, ...], list[tuple[int, Row]]] = {}
    for at, (ids, attended) in enumerate(zip(ids_BT.tolist(), attended_BT.tolist(), strict=True)):
        kept = [token for token, is_there in zip(ids, attended, strict=True) if is_there]
        said = sum(attended[-answer:])
        prompt = len(kept) - said
        row = Row(str(at), kept, [False] * prompt + [True] * said)
        families.setdefault(tuple(kept[:prompt]), []).append((at, row))
    groups: list[Group] = []
    places: list[int] = []
    for prompt_ids, members in families.items():
        shared = len(prompt_ids) - 1  # its last token predicts another first token in each answer
        for some in _parts(members, shared):
            groups.append(Group(tuple(row for _, row in some), shared if len(some) > 1 else 0))
            for at, row in some:
                places += range(at * answer, at * answer + row.trained)
    return window_of(groups), places


def _parts(members: list[tuple[int, Row]], shared: int) -> Iterator[list[tuple[int, Row]]]:
    """Yield the answers to one prompt in parts that share it: all, one by one, or as many as a block may hold."""
    part: list[tuple[int, Row]] = []
    used = shared
    for member in members:
        tail = len(member[1].ids) - shared
        if part and (shared < LEAST_SHARED or used + tail > LONGEST_SHARED):
            yield part
            part, used = [], shared
        part.append(member)
        used += tail
    yield part


def scored(
    network: Any, ids_BT: torch.Tensor, attended_BT: torch.Tensor, answer: int, temperature: float, entropy: bool
) -> Scored:
    """Return ln p of every answer token and its way back, in one pass over a packed window.

    Args:
        ids_BT, attended_BT, answer: see `window_with`.
        entropy: whether the entropy of the distributions is wanted, which has no way back.

    Raises:
        Mistake: the model's attention has a term that packed windows do not know.
    """
    model, device = plain(network), ids_BT.device
    window, places = window_with(ids_BT, attended_BT, answer)
    targets_T = torch.tensor(window.targets, device=device)
    with attending(model, register()):
        states_TE = model.base_model(
            input_ids=torch.tensor([window.ids], device=device),
            position_ids=torch.tensor([window.positions], device=device),
            use_cache=False,
            blocks=prepared(window.blocks, device),
        ).last_hidden_state[0]
    trained_N = (targets_T != NOT_TRAINED).nonzero()[:, 0]
    states_NE, weight_VE = states_TE[trained_N] / temperature, model.get_output_embeddings().weight
    # Autocast has no say inside a custom function, so the head asks for its number format here.
    enabled = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if enabled else states_NE.dtype
    place_N, shape = torch.tensor(places, device=device), (len(ids_BT), answer)
    with torch.autocast(device.type, enabled=False):
        log_p_N = token_log_probabilities(states_NE, weight_VE, targets_T[trained_N], dtype)
        entropy_N = _entropy(states_NE.detach().to(dtype), weight_VE.detach().to(dtype)) if entropy else None
    found = [None if x is None else x.new_zeros(shape).view(-1).index_copy(0, place_N, x) for x in (log_p_N, entropy_N)]
    log_p, entropies = (None if x is None else x.view(shape) for x in found)
    assert log_p is not None
    return Scored(log_p, entropies)


@torch.no_grad()
def _entropy(states_NE: torch.Tensor, weight_VE: torch.Tensor) -> torch.Tensor:
    """Return -Σ p ln p at every position, [N] in nats, a chunk of logits at a time."""
    found = []
    for start in range(0, len(states_NE), ENTROPY_ROWS):
        log_p_NV = (states_NE[start : start + ENTROPY_ROWS] @ weight_VE.T).float().log_softmax(-1)
        found.append(-(log_p_NV.exp() * log_p_NV).sum(-1))
    return torch.cat(found)
