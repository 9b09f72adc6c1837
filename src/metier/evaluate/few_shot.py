"""Examples put before a question: training conversations of the same task, never of the asked one's cluster."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from metier.core.chat import Message
from metier.core.types import Conversation, Document
from metier.evaluate.choices import NAME
from metier.evaluate.multiple_choice import items

DOCUMENTS = 100
"""Documents of which example choices are made: a handful is shown, and reading a large corpus for it takes long."""


class Examples:
    """Training conversations to show, in one order drawn from `seed` for each task.

    Every question of a task is shown the same ones, so far as its cluster allows: a baseline that chose anew for each
    question would be another one, and would share no prefix.

    Args:
        rows: conversations of the training split that end in an assistant's turn.
    """

    def __init__(self, rows: Iterable[Conversation], seed: int = 0) -> None:
        self._tasks: dict[str, list[Conversation]] = {}
        for row in rows:
            if row.messages and row.messages[-1].role == "assistant":
                self._tasks.setdefault(row.task, []).append(row)
        for task, found in self._tasks.items():
            found.sort(key=lambda row: row.id)
            random.Random(f"{seed} {task}").shuffle(found)

    def of(self, task: str, count: int, cluster: str | None, id: str) -> list[Conversation]:
        """Return at most `count` examples of `task`, none of them in `cluster` or called `id`, of many clusters."""
        found: list[Conversation] = []
        again: list[Conversation] = []
        seen: set[str] = set()
        for row in self._tasks.get(task, ()):
            if len(found) >= count:
                break
            if row.id == id or (cluster is not None and row.cluster == cluster):
                continue
            new = row.cluster is None or row.cluster not in seen
            (found if new else again).append(row)
            seen |= {row.cluster} if row.cluster is not None else set()
        return found + again[: count - len(found)]


def example_choices(documents: Iterable[Document], seed: int = 0) -> list[Conversation]:
    """Return multiple-choice questions on at most `DOCUMENTS` of the documents, each with its right option as answer.

    They are asked as the exam's are: the question alone, answered with an option's own words.
    """
    rng = random.Random(seed)
    pool = sorted(documents, key=lambda document: document.id)
    made = items(rng.sample(pool, min(DOCUMENTS, len(pool))), rng)
    return [
        Conversation(
            item.id,
            [Message("user", item.question), Message("assistant", item.options[item.answer])],
            NAME,
            source=item.source,
            cluster=item.source,
        )
        for item in made
    ]


def with_examples(asked: Sequence[Message], examples: Sequence[Conversation]) -> list[Message]:
    """Return the messages of a question with examples as earlier turns, after its own system message.

    An example whose system message is another one (another schema, another contract) carries it in its user turn.
    """
    system = [message for message in asked if message.role == "system"]
    own = {message.content for message in system}
    turns: list[Message] = []
    for example in examples:
        apart = [m.content for m in example.messages if m.role == "system" and m.content not in own]
        said = [message for message in example.messages if message.role != "system"]
        if apart and said and said[0].role == "user":
            said[0] = Message("user", "\n\n".join([*apart, said[0].content]))
        turns += said
    return [*system, *turns, *(message for message in asked if message.role != "system")]
