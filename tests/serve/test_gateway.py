"""The server as the official client sees it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.serve.conftest import Live, running

ASK: Any = [{"role": "user", "content": "How many books?"}]


@pytest.fixture
def client(live: Live) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)


def raw(live: Live, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(live.url.removeprefix("http://"))
    connection.request("GET" if body is None else "POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read().decode()
    return answer.status, json.loads(text) if text.startswith("{") else text


def test_an_answer_counts_its_tokens(live: Live, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=live.name, messages=ASK, max_tokens=7)
    assert answer.usage is not None
    assert answer.model == live.name
    assert answer.usage.completion_tokens == 7
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 7
    assert answer.choices[0].finish_reason == "length"


def test_a_streamed_answer_is_the_whole_answer_in_pieces(live: Live, client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=live.name, messages=ASK, max_tokens=12).choices[0].message.content
    events = list(
        client.chat.completions.create(
            model=live.name, messages=ASK, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(e.choices[0].delta.content or "" for e in events if e.choices) == whole
    assert len(events) > 3
    assert events[-1].usage is not None
    assert events[-1].usage.completion_tokens == 12


def test_an_answer_stops_at_the_end_of_turn_token(live: Live, client: openai.OpenAI) -> None:
    # Token 2 is <|im_end|>: a bias makes it the first choice.
    answer = client.chat.completions.create(model=live.name, messages=ASK, max_tokens=20, logit_bias={"2": 100})
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 1
    assert not answer.choices[0].message.content


def test_answers_are_greedy_when_the_model_says_so(live: Live, client: openai.OpenAI) -> None:
    texts = {
        client.chat.completions.create(model=live.name, messages=ASK, max_tokens=8, seed=seed)
        .choices[0]
        .message.content
        for seed in range(3)
    }
    assert len(texts) == 1


def test_four_at_once_get_the_answers_that_each_gets_alone(live: Live, client: openai.OpenAI) -> None:
    def ask(text: str) -> str | None:
        messages: Any = [{"role": "user", "content": text}]
        return (
            client.chat.completions.create(model=live.name, messages=messages, max_tokens=16).choices[0].message.content
        )

    questions = ["One?", "SELECT 2;", "Drei Straßen", "四个城市"]
    alone = [ask(question) for question in questions]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, questions)) == alone


def test_the_models_are_listed_under_their_name(live: Live, client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [live.name]
    assert client.models.retrieve(live.name).id == live.name


def test_another_model_is_refused_by_name(live: Live, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4", messages=ASK)
    assert caught.value.code == "model_not_found"
    assert live.name in caught.value.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{not json", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "names no model"),
        (b'{"model": "tiny"}', "messages"),
        (b'{"model": "tiny", "messages": "hello"}', "messages"),
    ],
)
def test_a_malformed_request_is_the_clients_error_in_openais_form(live: Live, body: bytes, said: str) -> None:
    status, answer = raw(live, "/v1/chat/completions", body)
    assert status == 400
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert said in answer["error"]["message"]


def test_a_prompt_longer_than_the_context_is_refused_and_the_server_lives(live: Live, client: openai.OpenAI) -> None:
    long: Any = [{"role": "user", "content": "many words " * 600}]
    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(model=live.name, messages=long)
    with pytest.raises(openai.BadRequestError, match="context"):
        list(client.chat.completions.create(model=live.name, messages=long, stream=True))
    assert client.chat.completions.create(model=live.name, messages=ASK, max_tokens=1).choices


def test_a_client_that_leaves_does_not_hold_the_server(live: Live, client: openai.OpenAI) -> None:
    for _ in range(6):
        stream = client.chat.completions.create(model=live.name, messages=ASK, max_tokens=400, stream=True)
        next(iter(stream))
        stream.close()
    assert client.chat.completions.create(model=live.name, messages=ASK, max_tokens=1).choices


def test_health_and_metrics_answer(live: Live) -> None:
    assert raw(live, "/health") == (200, {"status": "ok"})
    status, text = raw(live, "/metrics")
    assert status == 200
    assert "tokens_predicted_total" in text


def test_an_unknown_path_is_an_error_in_openais_form(live: Live) -> None:
    status, answer = raw(live, "/v1/nothing")
    assert status == 404
    assert "/v1/nothing" in answer["error"]["message"]


@pytest.fixture
def guarded(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setenv("A_KEY", "open sesame")
    yield from running(tiny_gguf, context_tokens=256, api_key_env="A_KEY")


def test_with_a_key_only_those_who_have_it_come_in(guarded: Live) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", max_retries=0).models.list()
    client = openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="open sesame", max_retries=0)
    assert client.chat.completions.create(model=guarded.name, messages=ASK, max_tokens=1).choices
    assert raw(guarded, "/metrics")[0] == 401
    assert raw(guarded, "/health")[0] == 200
