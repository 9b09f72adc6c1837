"""Live samples: a few prompts answered greedily by the model as it is, and how much the answers repeat themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from metier.core import Mistake
from metier.core.chat import Decoding, Message
from metier.core.engine.attention import NAME
from metier.core.engine.generation import Generated, generate
from metier.core.engine.network import Network
from metier.core.template import Template
from metier.train.collate import collate
from metier.train.distributed import of_first
from metier.train.packing import NOT_TRAINED, Group, Window, window_of
from metier.train.watch.forgetting import reply_row
from metier.train.watch.general import REQUESTS

TOKENS = 48
"""Longest answer."""

_LONGEST_PROMPT = 512
_TEXT_PROMPT = 32
_WINDOWS_LOOKED_AT = 32
_OF_ROWS = _OF_GENERAL = 2


class Asked(NamedTuple):
    """A prompt as token ids. ends: whether an answer that runs to the limit is wrong, because the row's is short."""

    ids: list[int]
    ends: bool
    general: bool


def row_prompts(windows: Sequence[Window], count: int = _OF_ROWS) -> tuple[list[Asked], set[int]]:
    """Return prompts of `count` rows, those with short answers first, and the token that ends answers, if there is one.

    A row of text, where every token is trained, is asked to go on after its first 32 tokens.
    """
    found: list[tuple[bool, int, Asked]] = []
    ends: Counter[int] = Counter()
    looked_at = min(len(windows), _WINDOWS_LOOKED_AT)
    for at in range(looked_at):
        window = windows[at * len(windows) // looked_at]
        block = window.blocks[0]
        row = slice(block.start, block.start + block.prefix + block.tails[0])
        ids, targets = window.ids[row], window.targets[row]
        first = next((i for i, target in enumerate(targets) if target != NOT_TRAINED), None)
        if first is None or first >= _LONGEST_PROMPT:
            continue
        if first == 0:  # text
            found.append((True, at, Asked(list(ids[: min(_TEXT_PROMPT, max(1, len(ids) // 2))]), False, False)))
            continue
        last = first
        while last + 1 < len(targets) and targets[last + 1] != NOT_TRAINED:
            last += 1
        ends[targets[last]] += 1
        short = last - first + 1 <= TOKENS // 2
        found.append((not short, at, Asked(list(ids[: first + 1]), short, False)))
    # The most frequent: an answer that was cut ends in a token of its own.
    return [asked for _, _, asked in sorted(found)[:count]], {token for token, _ in ends.most_common(1)}


def general_prompts(tokenizer: Any, count: int) -> list[Asked]:
    """Return `count` general requests as the model's template writes them, or as they are where it has none."""
    return [Asked(_asked(tokenizer, request), False, True) for request in REQUESTS[:count]]


def _asked(tokenizer: Any, request: str) -> list[int]:
    try:
        return list(Template(tokenizer).render([Message("user", request)], generate=True).ids)
    except Mistake:  # a model without a chat template
        return list(tokenizer(request)["input_ids"])


def prompts_for(tokenizer: Any, windows: Sequence[Window], network: Any) -> tuple[list[Asked], frozenset[int]]:
    """Return what is asked in every look, and the tokens that end an answer."""
    of_rows, ends = row_prompts(windows) if len(windows) else ([], set())
    named = network.generation_config.eos_token_id
    ends |= {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id}
    return [*of_rows, *general_prompts(tokenizer, _OF_GENERAL)], frozenset(end for end in ends if end is not None)


class _Live(Network):
    """A model in training, as the engine reads one."""

    def _check_head(self) -> None:
        pass  # seen to when the model was loaded for training; its forward gives no logits now


@contextmanager
def engine_on(network: Any) -> Iterator[Network]:
    """Return a context in which the engine decodes with a model that is being trained."""
    config = network.config
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield _Live(network)
    finally:
        config._attn_implementation = before


def answers(
    network: Any, prompts: Sequence[Sequence[int]], stops: frozenset[int], tokens: int = TOKENS
) -> list[Generated]:
    """Return a greedy answer of at most `tokens` to each prompt. The model is in evaluation mode."""
    found: dict[int, Generated] = {}

    def done(prompt: int, drawn: list[Generated]) -> None:
        found[prompt] = drawn[0]

    with engine_on(network) as engine:
        room = [list(prompt)[-max(1, engine.longest - tokens) :] for prompt in prompts]
        generate(engine, room, stops, Decoding(max_tokens=tokens), len(room), done)
    return [found[at] for at in range(len(prompts))]


def answers_together(
    trainer: Any, prompts: Sequence[Sequence[int]], stops: frozenset[int], tokens: int = TOKENS
) -> list[Generated]:
    """Return what `answers` does, from a model whose weights are cut over processes, all of which have to call it.

    No cache is kept: each token is a forward pass over all that stands so far, at most `tokens` of them. They are the
    same passes on every process, because the first one's choice of a token is that of all.

    Args:
        trainer: of packed windows. Its model is in evaluation mode.
    """
    longest = int(getattr(trainer.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 20)
    asked = [list(prompt)[-max(1, longest - tokens) :] for prompt in prompts]
    drawn: list[list[int]] = [[] for _ in asked]
    limits = [min(tokens, longest - len(ids)) for ids in asked]
    ended: set[int] = set()
    while going := [at for at in range(len(asked)) if at not in ended and len(drawn[at]) < limits[at]]:
        # One more token stands behind each: what is "trained" of such a row is the choice of it.
        rows = [reply_row(at, [*asked[at], *drawn[at]], [0]) for at in going]
        inputs = trainer._prepare_input(collate([window_of([Group((row,), 0) for row in rows])]))
        parts = {name: inputs[name] for name in ("input_ids", "position_ids", "targets", "blocks")}
        chosen: list[int] = trainer.model(**parts, likeliest=True).tolist()
        for at, token in zip(going, of_first(chosen), strict=True):
            if token in stops:
                ended.add(at)
            else:
                drawn[at].append(token)
    return [Generated(ids, at in ended) for at, ids in enumerate(drawn)]


def repeated_share(ids: Sequence[int], size: int = 4) -> float:
    """Return the share of groups of `size` tokens that stood in the answer before, 0 to 1; 0 of short answers.

    seq-rep-n of Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training".
    """
    groups = [tuple(ids[at : at + size]) for at in range(len(ids) - size + 1)]
    return 1 - len(set(groups)) / len(groups) if groups else 0.0
