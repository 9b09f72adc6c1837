"""What a reinforcement asks: its prompts, in which order, whether they fit, and the digests of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from metier.core import Mistake
from metier.core.chat import Message
from metier.core.template import Template
from metier.core.types import Conversation
from metier.train.watch.samples import Asked

if TYPE_CHECKING:
    from metier.train.grpo import Grpo

_WATCHED = 2  # prompts whose greedy answers the watch looks at


def asked(row: Conversation) -> list[Message]:
    """Return what a row asks: all up to its last answer."""
    last = len(row.messages) - 1
    return row.messages[:last] if row.messages[last].role == "assistant" else row.messages


def first_prompts(tokenizer: Any, prompts: Sequence[Conversation]) -> list[Asked]:
    """Return the first prompts as the watch asks them."""
    template = Template(tokenizer)
    return [Asked(list(template.render(asked(row), generate=True).ids), False, False) for row in prompts[:_WATCHED]]


def order(prompts: int, count: int, seed: int) -> list[int]:
    """Return which prompts are asked over a whole training: each once before any comes again, shuffled by `seed`.

    TRL would shuffle anew in each pass over the prompts, by a generator that begins afresh when it is resumed: what is
    resumed in the second pass would see other prompts than an uninterrupted run.
    """
    found: list[int] = []
    for epoch in range(-(-count // prompts)):
        found += random.Random(f"{seed}/{epoch}").sample(range(prompts), prompts)
    return found[:count]


def check_lengths(tokenizer: Any, prompts: Sequence[Conversation], max_tokens: int, config: Any) -> None:
    """Raise Mistake, naming the row, if a prompt and the longest answer to it are more than the model reads."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        return
    template = Template(tokenizer)
    for row in prompts:
        tokens = len(template.render(asked(row), generate=True).ids)
        if tokens + max_tokens > limit:
            raise Mistake(
                f"row {row.id} leaves no room for an answer",
                found=f"{tokens} tokens, and max_tokens {max_tokens}; the model reads {limit}",
                hint="lower max_tokens, or leave the row out",
            )


def fingerprint(prompts: Sequence[Conversation], options: Grpo) -> str:
    """Return a digest of prompts, checks and settings: a model that others made is not taken for this one."""
    told = options.model_dump(exclude={"base", "data"})
    return hashlib.sha256(repr((options.settings(), sorted(told.items()), digest_of(prompts))).encode()).hexdigest()


def digest_of(prompts: Sequence[Conversation]) -> str:
    """Return a digest of prompts and their checks, in their order."""
    digest = hashlib.sha256()
    for row in prompts:
        digest.update(repr((asked(row), row.check)).encode())
    return digest.hexdigest()
