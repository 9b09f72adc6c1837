"""What a model is shown besides the question: examples of the task, passages of the documents, or both.

These are the baselines that training has to beat. What does not fit the model's window is left out, examples first,
passages of low rank next, and every omission is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from metier.core.chat import Message
from metier.core.types import Conversation
from metier.evaluate.few_shot import Examples, with_examples
from metier.evaluate.lexical import Found, LexicalIndex, terms

_OPENING = {False: "Passages from the documents:", True: "文档摘录："}
_QUESTION = {False: "Question:", True: "问题："}


class Asked(NamedTuple):
    """A question as the model sees it, with the ids of what it was shown."""

    messages: list[Message]
    shots: list[str]
    passages: list[str]


class InContext:
    """Puts examples and passages before questions, as many as fit.

    `counts` tells, by "shot" and "passage", how many were kept and why others were not.

    Args:
        length: the tokens of a conversation as the model reads it, the opening of its answer included.
        tokens: the tokens of a text.
        longest: the most tokens that the model reads, its answer included.
        passage_tokens: the most tokens of all passages of one question.
    """

    def __init__(
        self,
        length: Callable[[Sequence[Message]], int],
        tokens: Callable[[str], int],
        longest: int,
        *,
        examples: Examples | None = None,
        shots: int = 0,
        index: LexicalIndex | None = None,
        passages: int = 0,
        passage_tokens: int = 1024,
    ) -> None:
        self._length, self._tokens, self._longest = length, tokens, longest
        self._examples, self._shots = examples or Examples(()), shots
        self._index, self._passages, self._budget = index, passages if index else 0, passage_tokens
        self.counts: dict[str, Counter[str]] = {"shot": Counter(), "passage": Counter()}

    def ask(
        self, asked: Sequence[Message], answer_tokens: int, task: str | None, cluster: str | None = None, id: str = ""
    ) -> Asked:
        """Return the question with what it is shown; `task` None is shown no examples."""
        shots, found = self._shown(task, cluster, id), self._found(asked)
        room = self._longest - answer_tokens
        messages = _shown_before(asked, shots, found)
        while (shots or found) and self._length(messages) > room:
            gone = shots if shots else found
            gone.pop()
            self.counts["shot" if gone is shots else "passage"]["does not fit the model's window"] += 1
            messages = _shown_before(asked, shots, found)
        self.counts["shot"]["kept"] += len(shots)
        self.counts["passage"]["kept"] += len(found)
        return Asked(messages, [shot.id for shot in shots], [passage.id for passage in found])

    def _shown(self, task: str | None, cluster: str | None, id: str) -> list[Conversation]:
        if task is None:
            return []
        found = self._examples.of(task, self._shots, cluster, id)
        self.counts["shot"]["no example of the task"] += self._shots - len(found)
        return found

    def _found(self, asked: Sequence[Message]) -> list[Found]:
        if self._index is None or not self._passages:
            return []
        query = next((message.content for message in reversed(asked) if message.role == "user"), "")
        found = self._index.search(query, self._passages)
        self.counts["passage"]["nothing more found"] += self._passages - len(found)
        kept, spent = [], 0
        for passage in found:
            size = self._tokens(passage.text)
            if spent + size <= self._budget:
                kept.append(passage)
                spent += size
        self.counts["passage"]["over the budget of tokens"] += len(found) - len(kept)
        return kept


def _shown_before(asked: Sequence[Message], shots: Sequence[Conversation], passages: Sequence[Found]) -> list[Message]:
    messages = list(asked)
    if passages:
        last = max(at for at, message in enumerate(messages) if message.role == "user")
        messages[last] = Message("user", with_passages(messages[last].content, passages))
    return with_examples(messages, shots) if shots else messages


def with_passages(question: str, passages: Sequence[Found]) -> str:
    """Return a question behind the passages, nearest first, each under its title; in Chinese where it is Chinese."""
    words = list(terms(question))
    chinese = 2 * sum("\u4e00" <= word[0] <= "\u9fff" for word in words) > len(words)
    told = [
        f"[{at}] {passage.title}\n{passage.text}" if passage.title else f"[{at}] {passage.text}"
        for at, passage in enumerate(passages, 1)
    ]
    return "\n\n".join([_OPENING[chinese], *told, f"{_QUESTION[chinese]} {question}"])
