"""The in-process Chat over a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metier.core import Failure, Host
from metier.core.chat import Chat, Decoding, Message
from metier.core.llamacpp import Llama
from metier.serve.llama import LlamaChat

ASK = [Message("user", "How many books?")]


@pytest.fixture(scope="module")
def chat(tiny_gguf: Path) -> Iterator[LlamaChat]:
    with LlamaChat(tiny_gguf, Host(cores=1, threads=1, memory_bytes=1 << 30), parallel=2, context_tokens=256) as chat:
        yield chat


def test_it_is_a_chat_with_as_many_replies_as_asked(chat: LlamaChat) -> None:
    port: Chat = chat
    replies = port.complete([ASK, [*ASK, Message("assistant", "Two."), *ASK]], Decoding(max_tokens=5, samples=3))
    assert [len(row) for row in replies] == [3, 3]
    assert {reply.tokens for row in replies for reply in row} == {5}
    assert not any(reply.finished for row in replies for reply in row)


def test_greedy_replies_are_alike_and_sampled_ones_follow_their_seed(chat: LlamaChat) -> None:
    (greedy,) = chat.complete([ASK], Decoding(max_tokens=8, samples=2))
    assert greedy[0] == greedy[1]
    sampled = Decoding(temperature=2.0, max_tokens=8, samples=2, seed=5)
    (first,), (again,) = chat.complete([ASK], sampled), chat.complete([ASK], sampled)
    assert first == again
    assert first[0] != first[1]


def test_a_repetition_penalty_is_the_engines_over_the_whole_prompt(chat: LlamaChat, tiny_model_folder: Path) -> None:
    from metier.core.engine import EngineChat

    engine = EngineChat(tiny_model_folder, Host(cores=1, threads=1, memory_bytes=1 << 30), "float32")
    far = [
        Message("user", "Which rows were read? " * 12)
    ]  # more than the 64 tokens that llama.cpp would look back over
    for decoding in (Decoding(max_tokens=12, repetition_penalty=1.5), Decoding(max_tokens=12, repetition_penalty=3.0)):
        for asked in (ASK, far):
            assert chat.complete([asked], decoding)[0][0].text == engine.complete([asked], decoding)[0][0].text


def test_only_the_likeliest_are_drawn_where_top_k_says_so(chat: LlamaChat) -> None:
    (greedy,), (drawn,) = (
        chat.complete([ASK], Decoding(max_tokens=8, temperature=t, top_k=k)) for t, k in ((0.0, 0), (2.0, 1))
    )
    assert drawn[0].text == greedy[0].text


def test_a_stream_is_the_reply_in_pieces(chat: LlamaChat) -> None:
    decoding = Decoding(max_tokens=12)
    pieces = list(chat.stream(ASK, decoding))
    assert "".join(pieces) == chat.complete([ASK], decoding)[0][0].text
    assert len(pieces) > 3


def test_a_conversation_beyond_the_context_is_a_failure_and_not_an_empty_answer(chat: LlamaChat) -> None:
    long = [Message("user", "many words " * 400)]
    with pytest.raises(Failure, match="refused"):
        chat.complete([long], Decoding())
    with pytest.raises(Failure):
        list(chat.stream(long, Decoding()))


def test_a_model_can_be_closed_as_soon_as_it_is_loaded(tiny_gguf: Path) -> None:
    for _ in range(60):
        Llama(tiny_gguf, threads=1, context_tokens=64).close()
