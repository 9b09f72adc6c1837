"""What the Chat over an OpenAI-compatible endpoint sends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from metier.core import Failure
from metier.core.chat import Decoding, Endpoint, Message, OpenAIChat, Refused, beyond_openai

ASKED: list[dict[str, Any]] = []
NONSENSE = {
    "a sign-in page": ("text/html", b"<html>Sign in</html>"),
    "broken JSON": ("application/json", b"{oops"),
    "not UTF-8": ("application/json", b'{"choices": "\xff"}'),
    "null": ("application/json", b"null"),
    "a list": ("application/json", b"[1]"),
    "no choices": ("application/json", b'{"choices": []}'),
    "text for choices": ("application/json", b'{"choices": "yes"}'),
    "a choice without a message": ("application/json", b'{"choices": [{}]}'),
    "a number for an answer": ("application/json", b'{"choices": [{"message": {"content": 5}}]}'),
}


class Handler(BaseHTTPRequestHandler):
    """Remembers what is asked; refuses `top_k`, as OpenAI's own servers do."""

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        ASKED.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if ASKED[-1]["model"] in NONSENSE:
            self._answer(200, *NONSENSE[ASKED[-1]["model"]])
            return
        refused = "top_k" in ASKED[-1] and ASKED[-1]["model"] == "strict"
        said = "yes \ud83d" if ASKED[-1]["model"] == "cut" else "yes"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        answer: dict[str, Any] = {"error": {"message": "unknown parameter: top_k"}} if refused else {
            "id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice],
        }  # fmt: skip
        self._answer(400 if refused else 200, "application/json", json.dumps(answer).encode())

    def _answer(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def test_what_openai_has_no_name_for_is_sent_only_where_it_is_asked_for(url: str) -> None:
    chat = OpenAIChat(Endpoint(base_url=url, model="m"))
    asked = [[Message("user", "Is it?")]]
    assert chat.complete(asked, Decoding())[0][0].text == "yes"
    assert not {"top_k", "repetition_penalty", "repeat_penalty", "repeat_last_n"} & set(ASKED[-1])
    decoding = Decoding(temperature=0.7, top_p=0.9, top_k=40, repetition_penalty=1.1, max_tokens=9, seed=3)
    chat.complete(asked, decoding)
    told = {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "max_tokens": 9, "seed": 3}
    assert {name: ASKED[-1][name] for name in told} == told
    assert ASKED[-1]["repetition_penalty"] == ASKED[-1]["repeat_penalty"] == 1.1
    assert beyond_openai(Decoding()) == {}


def test_an_endpoint_that_does_not_know_top_k_is_a_failure_and_not_another_decoding(url: str) -> None:
    with pytest.raises(Refused) as failed:
        OpenAIChat(Endpoint(base_url=url, model="strict")).complete([[Message("user", "a")]], Decoding(top_k=5))
    assert "unknown parameter: top_k" in str(failed.value)


def test_half_a_character_of_a_reply_can_be_written_down(url: str) -> None:
    reply = OpenAIChat(Endpoint(base_url=url, model="cut")).complete([[Message("user", "a")]], Decoding())[0][0]
    assert reply.text == "yes ?" and reply.text.encode()


@pytest.mark.parametrize("model", NONSENSE)
def test_an_endpoint_that_answers_nonsense_is_a_failure_that_says_what_to_do(url: str, model: str) -> None:
    with pytest.raises(Failure) as failed:
        OpenAIChat(Endpoint(base_url=url, model=model)).complete([[Message("user", "a")]], Decoding())
    assert "something else than a chat completion" in str(failed.value) and "/v1" in str(failed.value)


@pytest.mark.parametrize("address", ["localhost:8000/v1", "", "ftp://a/v1", "http://"])
def test_an_address_without_http_or_host_is_refused_before_anything_runs(address: str) -> None:
    with pytest.raises(ValueError, match="does not begin with http:// or https://"):
        Endpoint(base_url=address, model="m")
