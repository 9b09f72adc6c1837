"""One template: the ids of a trained row begin with the ids a server would send, and every answer ends."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from metier.core import Mistake
from metier.core.chat import Message
from metier.core.template import Template

TURNS = [
    Message("system", "Tables: t(a, b)"),
    Message("user", "How many rows?"),
    Message("assistant", "SELECT COUNT(*) FROM t;"),
    Message("user", "And 中文 of them?"),
    Message("assistant", "\nSELECT 1;"),
]


@pytest.fixture
def tokenizer(tiny_model_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_folder)


def trained_texts(tokenizer: Any, turns: list[Message]) -> list[str]:
    rendered = Template(tokenizer).render(turns)
    stretches = groupby(zip(rendered.ids, rendered.mask, strict=True), key=lambda pair: pair[1])
    return [tokenizer.decode([token for token, _ in stretch]) for trained, stretch in stretches if trained]


def test_what_is_trained_is_the_answers_and_the_tokens_that_end_them(tokenizer: Any) -> None:
    assert trained_texts(tokenizer, TURNS) == ["SELECT COUNT(*) FROM t;<|im_end|>", "\nSELECT 1;<|im_end|>"]


def test_the_ids_spell_the_template_whole(tokenizer: Any) -> None:
    rendered = Template(tokenizer).render(TURNS)
    plain = [turn._asdict() for turn in TURNS]
    assert tokenizer.decode(rendered.ids) == tokenizer.apply_chat_template(plain, tokenize=False) == rendered.text
    assert len(rendered.ids) == len(rendered.mask)


def test_a_trained_row_begins_with_the_ids_that_a_server_sends(tokenizer: Any) -> None:
    template = Template(tokenizer)
    prompt = template.render(TURNS[:2], generate=True)
    row = template.render(TURNS[:3])
    assert row.ids[: len(prompt.ids)] == prompt.ids
    assert not any(row.mask[: len(prompt.ids)]) and row.mask[len(prompt.ids)]
    assert not any(prompt.mask)


def test_a_model_without_a_chat_template_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(Mistake, match="no chat template"):
        Template(tokenizer)


def test_a_template_that_does_not_end_an_answer_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(Mistake, match="never learn to stop"):
        Template(tokenizer).render(TURNS)


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.content if loop.last or m.role != 'assistant' else '…' }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(Mistake, match="rewrites earlier turns"):
        Template(tokenizer).render(TURNS)


def test_a_template_that_raises_is_told_in_words(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(Mistake, match="refuses a conversation") as caught:
        Template(tokenizer).render(TURNS)
    assert "roles must alternate" in (caught.value.found or "")
