"""A chat vector, chat - base, added to a model that was trained further: values row by row, tokenizer, template."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metier.core import Mistake
from metier.core.files import write_json_atomic, write_text_atomic
from metier.train.weights.folder import ModelFolder, carry, check_alike
from metier.train.weights.reading import Span, spans
from metier.train.weights.writing import Produce


class Rows(NamedTuple):
    """Which row of base and chat holds the token of each of the model's rows, None where it has none.

    odd: rows for which that is not simply the row of the same number in both. untouched: rows to which nothing is
    added. learnt: rows that the base lacks: the vector there is chat - model, as if the base's row were the model's.
    """

    odd: dict[int, tuple[int | None, int | None]]
    untouched: list[int]
    learnt: list[int]


class Vector:
    """The three models of a chat vector, checked against each other.

    Raises:
        Mistake: they are not of one family, or the model lacks a token that the chat template uses.
    """

    def __init__(self, model: ModelFolder, base: ModelFolder, chat: ModelFolder) -> None:
        self.model, self.base, self.chat = model, base, chat
        self.told = [*check_alike(model, base, rows_may_differ=True), *check_alike(model, chat, rows_may_differ=True)]
        self.vocabularies = [one.vocabulary() for one in (model, base, chat)]
        self._check_template()
        self.rows = rows_by_token(self.vocabularies, [one.weights.shape(one.inputs)[0] for one in (model, base, chat)])
        if self.rows.untouched:
            self.told.append(
                f"{len(self.rows.untouched):,} rows of the embeddings belong to the model alone: untouched"
            )
        if self.rows.learnt:
            self.told.append(
                f"{len(self.rows.learnt):,} tokens are the chat model's own: α takes their rows from the model's to its"
            )

    def sum(self, alpha: float) -> Produce:
        """Return model + α (chat - base), with rows of embeddings put together by token."""
        embeddings = {self.model.inputs, self.model.outputs}

        def produce(name: str) -> Iterator[torch.Tensor]:
            shape = self.model.weights.shape(name)
            for span in spans(shape):
                start = self.model.weights.read(name, span)
                if not start.is_floating_point():
                    yield start
                elif name in embeddings:
                    yield self._rows(name, span or Span(0, shape[0]), start.float(), alpha)
                else:
                    chat, base = (one.weights.read(name, span).float() for one in (self.chat, self.base))
                    yield start.float().add_(chat.sub_(base), alpha=alpha)

        return produce

    def dress(self, target: Path) -> dict[str, Any]:
        """Write the tokenizer's files and the generation settings; return what changes in config.json.

        The chat model's files where both tokenizers are one; else the model's, with the chat model's template.
        """
        target.mkdir(parents=True, exist_ok=True)
        model, _, chat = self.vocabularies
        numbers = {chat[token]: number for token, number in model.items() if token in chat}
        if model == chat:
            carry(self.chat.folder, target)
        else:
            _with_template(self.model.folder, self.chat.folder, target, model)
        settings = _json(self.chat.folder / "generation_config.json")
        if settings:
            write_json_atomic(target / "generation_config.json", _renumbered(settings, numbers))
        ids = {key: self.chat.text_config[key] for key in _IDS if self.chat.text_config.get(key) is not None}
        return _renumbered(ids, numbers)

    def _rows(self, name: str, span: Span, start: torch.Tensor, alpha: float) -> torch.Tensor:
        delta = torch.zeros_like(start)
        for one, sign in ((self.chat, 1.0), (self.base, -1.0)):
            end = min(span.end, one.weights.shape(name)[0])
            if end > span.first:
                delta[: end - span.first].add_(one.weights.read(name, Span(span.first, end)).float(), alpha=sign)
        for row, (in_base, in_chat) in self.rows.odd.items():
            if span.first <= row < span.end:
                here = row - span.first
                delta[here] = 0.0
                if in_chat is not None:
                    before = start[here] if in_base is None else self._row(self.base, name, in_base)
                    delta[here] = self._row(self.chat, name, in_chat) - before
        return start + delta.mul_(alpha)

    def _row(self, one: ModelFolder, name: str, row: int) -> torch.Tensor:
        return one.weights.read(name, Span(row, row + 1))[0].float()

    def _check_template(self) -> None:
        from metier.core.chat import Message
        from metier.core.template import Template
        from metier.train.network import load_tokenizer

        tokenizer = load_tokenizer(self.chat.folder)
        talk = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
        special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        used = {number for number in Template(tokenizer).render(talk, generate=True).ids if number in special}
        lacks = sorted(
            token for token in tokenizer.convert_ids_to_tokens(sorted(used)) if token not in self.vocabularies[0]
        )
        if lacks:
            raise Mistake(
                "the model's tokenizer lacks a token that the chat template is made of",
                found=lacks[0],
                hint="train the base further with the chat model's tokenizer files in its folder",
            )


def rows_by_token(vocabularies: list[dict[str, int]], counts: list[int]) -> Rows:
    """Work out which rows of three embeddings (model, base, chat) belong together.

    A row that no token of the model has (padding) goes with the row of the same number, where both others have it free.
    A token beyond a model's `counts` is one that this model has not.
    """
    model, base, chat = (
        {token: row for token, row in one.items() if row < count}
        for one, count in zip(vocabularies, counts, strict=True)
    )
    free = [set(range(count)) - set(one.values()) for one, count in zip(vocabularies, counts, strict=True)]
    odd: dict[int, tuple[int | None, int | None]] = {}
    untouched, learnt = [], []
    for token, row in model.items():
        found = base.get(token), chat.get(token)
        if found != (row, row):
            odd[row] = found
    for row in free[0]:
        if not (row in free[1] and row in free[2]):
            odd[row] = (None, None)
    for row, (in_base, in_chat) in odd.items():
        if in_chat is None:
            untouched.append(row)
        elif in_base is None:
            learnt.append(row)
    return Rows(odd, sorted(untouched), sorted(learnt))


_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def _renumbered(settings: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    def mapped(value: Any) -> Any:
        return [numbers.get(one, one) for one in value] if isinstance(value, list) else numbers.get(value, value)

    return {key: mapped(value) if key in _IDS else value for key, value in settings.items()}


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _with_template(model: Path, chat: Path, target: Path, vocabulary: Mapping[str, int]) -> None:
    theirs, mine = _json(chat / "tokenizer_config.json"), _json(model / "tokenizer_config.json")
    template = chat / "chat_template.jinja"
    text = template.read_text() if template.is_file() else theirs.get("chat_template")
    if isinstance(text, str):
        write_text_atomic(target / "chat_template.jinja", text)
    mine.pop("chat_template", None)
    for key in ("bos_token", "eos_token", "pad_token"):
        value = theirs.get(key)
        token = value.get("content") if isinstance(value, dict) else value
        if token in vocabulary:
            mine[key] = value
    write_json_atomic(target / "tokenizer_config.json", mine)
    special = _json(model / "special_tokens_map.json")
    if special:  # of older versions; it would overrule what was just written
        kept = {key: mine.get(key, value) for key, value in special.items()}
        write_json_atomic(target / "special_tokens_map.json", kept)
    carry(model, target)
