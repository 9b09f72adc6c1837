"""Perplexity of held-out passages and of the origin's replies, with intervals over documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metier.core.types import Score
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.forgetting import conversation
from metier.evaluate.material import GeneralPrompt, Passage
from metier.evaluate.statistics import Interval, ratio_of_clusters

if TYPE_CHECKING:
    from metier.core.engine import EngineChat

TEXT, REPLY = "perplexity", "chat_reply_perplexity"
PER_BYTE, REPLY_PER_BYTE = "perplexity_per_byte", "chat_reply_perplexity_per_byte"
_TOGETHER = 16  # replies scored between two writes to the log
_CHARACTERS = 16_000  # of passages, likewise


def passage_place(passage: Passage) -> Place:
    """Return where a passage's loss is kept."""
    return Place(TEXT, passage.split, passage.id)


def reply_place(prompt: GeneralPrompt) -> Place:
    """Return where the loss of the origin's reply is kept."""
    return Place(REPLY, "general_prompts", prompt.id)


def read_passages(
    chat: EngineChat,
    passages: Sequence[Passage],
    window: int,
    log: AnswerLog,
    seen: Callable[[int], None] = lambda _: None,
    stride: int | None = None,
) -> None:
    """Measure the loss of the passages that `log` does not hold yet; `seen` is told their characters.

    Windows of `window` tokens advance by `stride`; if it is None they share one token.
    """
    left = [passage for passage in passages if passage_place(passage) not in log]
    seen(sum(len(passage.text) for passage in passages) - sum(len(passage.text) for passage in left))
    for some in _together(left):
        losses = chat.text_losses([passage.text for passage in some], window, stride)
        log.add_all(
            {
                **passage_place(passage)._asdict(),
                "cluster": passage.source,
                **_loss(loss.nats, loss.tokens, passage.text),
            }
            for passage, loss in zip(some, losses, strict=True)
        )
        seen(sum(len(passage.text) for passage in some))


def _together(passages: Sequence[Passage]) -> Iterator[list[Passage]]:
    """Yield the passages in parts of some 16,000 characters: enough to fill the passes, little to lose by a kill."""
    part: list[Passage] = []
    for passage in passages:
        part.append(passage)
        if sum(len(one.text) for one in part) >= _CHARACTERS:
            yield part
            part = []
    if part:
        yield part


def read_replies(
    chat: EngineChat,
    prompts: Sequence[GeneralPrompt],
    log: AnswerLog,
    seen: Callable[[int], None] = lambda _: None,
) -> None:
    """Measure how likely the model finds the origin's replies. An empty reply has nothing to measure and is no item."""
    said = [prompt for prompt in prompts if prompt.reply]
    left = [prompt for prompt in said if reply_place(prompt) not in log]
    seen(len(said) - len(left))
    for at in range(0, len(left), _TOGETHER):
        some = left[at : at + _TOGETHER]
        asked = [conversation(prompt.prompt) for prompt in some]
        scores = chat.reply_likelihoods(asked, [prompt.reply for prompt in some])
        log.add_all(
            {**reply_place(prompt)._asdict(), "cluster": prompt.id, **_loss(-score.nats, score.tokens, prompt.reply)}
            for prompt, score in zip(some, scores, strict=True)
        )
        seen(len(some))


def _loss(nats: float, tokens: int, text: str) -> dict[str, Any]:
    return {"nats": nats, "tokens": tokens, "bytes": len(text.encode())}


def perplexities(rows: Iterable[Mapping[str, Any]], model: str) -> list[Score]:
    """Return exp(nats / tokens) of each (name, split), and exp(nats / bytes) of passages.

    Per byte, models with unlike tokenizers can be compared; per token, readers know the numbers.
    """
    parts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        parts.setdefault((row["name"], row["split"]), []).append(row)
    found = []
    for (name, split), part in parts.items():
        if name == TEXT:
            found.append(score(PER_BYTE, model, split, perplexity(part, "bytes")))
        found.append(score(name, model, split, perplexity(part, "tokens")))
    return found


def score(name: str, model: str, split: str, found: Interval) -> Score:
    """Return a figure, without an interval where it has no ends: JSON has no infinity."""
    told = Score(name, model, split, *found)
    return told if math.isfinite(found.low) and math.isfinite(found.high) else told._replace(low=None, high=None)


def perplexity(rows: Sequence[Mapping[str, Any]], unit: str) -> Interval:
    """Return exp(sum of nats / sum of `unit`) with its interval over clusters."""
    nats, units = [row["nats"] for row in rows], [row[unit] for row in rows]
    return ratio_of_clusters(nats, units, [row["cluster"] for row in rows], shown=math.exp)
