"""One chat template for training, serving and judging, with the mask of what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from metier.core.chat import Message
from metier.core.errors import Mistake


class Rendered(NamedTuple):
    """A conversation as a model sees it.

    ids: token ids, [T]. mask: True where the token is trained, [T]. text: what the ids spell.
    """

    ids: list[int]
    mask: list[bool]
    text: str


class Template:
    """The tokenizer's own chat template.

    Ids are made piece by piece, an assistant's turn apart from what comes before it, so the prompt of a trained
    row has exactly the ids that a server would send.

    Args:
        tokenizer: a transformers tokenizer with a `chat_template`.

    Raises:
        Mistake: the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise Mistake(
                "the model has no chat template",
                found=f"{getattr(tokenizer, 'name_or_path', 'a tokenizer')} without one",
                hint="start from a chat model, or put a chat_template.jinja into its folder",
            )
        self.tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)

    def render(self, messages: Sequence[Message], generate: bool = False) -> Rendered:
        """Return ids and mask of a conversation.

        Args:
            generate: end with the opening of the assistant's turn, as at serving; nothing is then trained.

        Raises:
            Mistake: the template refuses the messages, changes earlier turns when later ones are added, or does not
                end an assistant's turn with a token of its own.
        """
        if generate:
            text = self._text(messages, True)
            ids = self._ids(text)
            return Rendered(ids, [False] * len(ids), text)
        ids, mask, done = [], [], ""
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            prompt = self._text(messages[:index], True)
            whole = self._text(messages[: index + 1], False)
            if not (prompt.startswith(done) and whole.startswith(prompt)):
                raise Mistake(
                    "the chat template rewrites earlier turns, so a row with several answers cannot be trained as one",
                    found=f"turn {index + 1} of {len(messages)}",
                    hint="split the conversation into one row per answer",
                )
            before = self._ids(prompt[len(done) :])
            turn = self._ids(whole[len(prompt) :])
            end = self._end_of_turn(turn, whole[len(prompt) :])
            ids += before + turn
            mask += [False] * len(before) + [True] * (end + 1) + [False] * (len(turn) - end - 1)
            done = whole
        rest = self._ids(self._text(messages, False)[len(done) :])
        return Rendered(ids + rest, mask + [False] * len(rest), self._text(messages, False))

    def _end_of_turn(self, turn: list[int], text: str) -> int:
        """Return the index in `turn` of the token that ends it: the last special one."""
        for index in range(len(turn) - 1, -1, -1):
            if turn[index] in self._special:
                return index
        raise Mistake(
            "the chat template does not end an answer with a token of its own: the model would never learn to stop",
            found=repr(text[-60:]),
            hint="add the end-of-turn token to the template after the assistant's content",
        )

    def _text(self, messages: Sequence[Message], generate: bool) -> str:
        plain = [message._asdict() for message in messages]
        try:
            return str(self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=generate))
        except Exception as error:  # jinja2 raises errors of the template's own making
            roles = [message.role for message in messages]
            raise Mistake(
                "the chat template refuses a conversation",
                found=f"roles {roles}: {error}",
                hint="many templates want user and assistant in turns, and some no system message",
            ) from error

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
