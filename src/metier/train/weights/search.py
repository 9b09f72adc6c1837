"""A search over few candidates with two wishes: the domain learnt, and the chat model's manners kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from metier.core.chat import Decoding, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from metier.core.engine import EngineChat


class Measured(NamedTuple):
    """One candidate. domain, replies: bits a byte of held-out documents and of good replies to general requests.

    ended: share of requests whose greedy answer came to its end by itself.
    """

    alpha: float
    domain: float
    replies: float
    ended: float


class Choice(NamedTuple):
    """The chosen candidate, and whether it keeps within what was allowed."""

    alpha: float
    within: bool


def measure(
    chat: EngineChat,
    alpha: float,
    texts: Sequence[str],
    talks: Sequence[Sequence[Message]],
    max_tokens: int,
    seen: Callable[[int], None],
) -> Measured:
    """Return how one model does on documents, and on conversations that end in a good reply."""
    losses = chat.text_losses(texts)
    seen(1)
    asked = [list(talk[:-1]) for talk in talks]
    replies = [talk[-1].content for talk in talks]
    likelihoods = chat.reply_likelihoods(asked, replies)
    seen(1)
    answered = chat.complete(asked, Decoding(max_tokens=max_tokens))
    seen(1)
    bits = 1 / math.log(2)
    return Measured(
        alpha,
        bits * sum(loss.nats for loss in losses) / sum(loss.text_bytes for loss in losses),
        -bits * sum(one.nats for one in likelihoods) / sum(len(reply.encode()) for reply in replies),
        sum(answers[0].finished for answers in answered) / len(answered),
    )


def pareto(candidates: Sequence[Measured]) -> list[Measured]:
    """Return the candidates that no other one beats or equals in both losses and beats in one."""

    def beaten(one: Measured) -> bool:
        return any(
            other.domain <= one.domain
            and other.replies <= one.replies
            and (other.domain < one.domain or other.replies < one.replies)
            for other in candidates
        )

    return [one for one in candidates if not beaten(one)]


def choose(candidates: Sequence[Measured], chat: Measured, allowed: float) -> Choice:
    """Return the candidate with the lowest loss on the domain among those that keep the chat model's manners.

    These lose at most `allowed` (a share) more on the replies than the chat model does itself, and end at most a tenth
    fewer of their answers. If there is none: the one with the lowest loss on the replies.
    """
    kept = [one for one in candidates if one.replies <= chat.replies * (1 + allowed) and one.ended >= chat.ended - 0.1]
    if kept:
        return Choice(min(kept, key=lambda one: (one.domain, one.replies)).alpha, True)
    return Choice(min(candidates, key=lambda one: (one.replies, one.domain)).alpha, False)
