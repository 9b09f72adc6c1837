"""What the Chat over an OpenAI-compatible endpoint sends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from metier.core import Failure
from metier.core.chat import Decoding, Endpoint, Message, OpenAIChat, beyond_openai

ASKED: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    """Remembers what is asked; refuses `top_k`, as OpenAI's own servers do."""

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        ASKED.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        refused = "top_k" in ASKED[-1] and ASKED[-1]["model"] == "strict"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}
        answer: dict[str, Any] = {"error": {"message": "unknown parameter: top_k"}} if refused else {
            "id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice],
        }  # fmt: skip
        data = json.dumps(answer).encode()
        self.send_response(400 if refused else 200)
        self.send_header("Content-Type", "application/json")
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
    with pytest.raises(Failure) as failed:
        OpenAIChat(Endpoint(base_url=url, model="strict")).complete([[Message("user", "a")]], Decoding(top_k=5))
    assert "unknown parameter: top_k" in str(failed.value)
