"""A multiple-choice exam sat by likelihood: which option would the model rather say?

The option's own text is scored as the answer to the question, in nats per byte; the likeliest is the model's choice.
The other usual form, naming a letter, needs a skill of its own (to bind a letter to an option) that small models lack:
they stay at chance whatever they know. Per byte, because a sum favours short options and a mean per token depends on
the tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from metier.core.chat import Message
from metier.evaluate import dimensions
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.multiple_choice import Item

if TYPE_CHECKING:
    from metier.core.engine import EngineChat
    from metier.core.engine.likelihood import Likelihood

NAME = "multiple_choice"
_TOGETHER = 32  # items scored between two writes to the log


def place(item: Item) -> Place:
    """Return where the choice is kept."""
    return Place(NAME, "held_out", item.id)


def chance(items: Sequence[Item]) -> float:
    """Return the accuracy of guessing."""
    return sum(1 / len(item.options) for item in items) / len(items)


def question(item: Item) -> list[Message]:
    """Return an item as it is asked."""
    return [Message("user", item.question)]


def choose_all(
    chat: EngineChat,
    items: Sequence[Item],
    log: AnswerLog,
    seen: Callable[[int], None] = lambda _: None,
    asked_as: Callable[[Item], Sequence[Message]] = question,
) -> None:
    """Score the options of the items that `log` does not hold yet, and add each choice.

    Args:
        asked_as: the messages that an item's options answer.
    """
    left = [item for item in items if place(item) not in log]
    seen(len(items) - len(left))
    for at in range(0, len(left), _TOGETHER):
        some = left[at : at + _TOGETHER]
        asked = [messages for item in some for messages in [asked_as(item)] * len(item.options)]
        scores = iter(chat.reply_likelihoods(asked, [option for item in some for option in item.options]))
        log.add_all(chosen(item, [next(scores) for _ in item.options]) for item in some)
        seen(len(some))


def chosen(item: Item, scores: Sequence[Likelihood]) -> dict[str, Any]:
    """Return one line of answers.jsonl: the likeliest option per byte, the first of equals."""
    per_byte = [score.nats / len(option.encode()) for score, option in zip(scores, item.options, strict=True)]
    best = max(range(len(per_byte)), key=lambda option: per_byte[option])
    return {
        **place(item)._asdict(),
        "task": item.kind,
        "cluster": item.source,
        "dimension": dimensions.of_item(item),
        "question": item.question,
        "expected": item.options[item.answer],
        "answer": item.options[best],
        "score": float(best == item.answer),
        "reason": f"nats per byte: {', '.join(f'{value:.3f}' for value in per_byte)}",
        "option_nats": [round(score.nats, 4) for score in scores],
        "option_bytes": [len(option.encode()) for option in item.options],
    }
