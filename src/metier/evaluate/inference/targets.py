"""What is measured: an OpenAI-compatible endpoint, a GGUF file in llama.cpp, a Hugging Face folder in our engine."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from metier.core.chat import Decoding, Message
from metier.evaluate.inference.cells import Repeat, Timed

if TYPE_CHECKING:
    from metier.core.host import Host


class Target(Protocol):
    """Something that answers prompts, many at once."""

    def repeat(self, prompts: Sequence[str], concurrency: int, output_tokens: int) -> Repeat:
        """Answer all prompts, `concurrency` of them at any time."""
        ...


class EndpointTarget:
    """An OpenAI-compatible endpoint, read as a stream: the first token is there when its first text is.

    Requests are greedy. Each one is a connection of its own, as from as many users.

    Args:
        base_url: as in http://localhost:8000/v1.
        more: what else is sent, as `ignore_eos` to servers that know it.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        key: str | None = None,
        timeout: float = 120.0,
        more: dict[str, Any] | None = None,
    ) -> None:
        self._url, self._model, self._key, self._timeout = urlsplit(base_url), model, key, timeout
        self._more = more or {}

    def repeat(self, prompts: Sequence[str], concurrency: int, output_tokens: int) -> Repeat:
        """Keep `concurrency` requests open until all prompts are answered."""
        start = time.perf_counter()
        with ThreadPoolExecutor(concurrency) as pool:
            requests = list(pool.map(lambda prompt: self._timed(prompt, output_tokens), prompts))
        return Repeat(time.perf_counter() - start, requests)

    def _timed(self, prompt: str, output_tokens: int) -> Timed:
        start = time.perf_counter()
        first: float | None = None
        pieces = 0
        usage: dict[str, Any] = {}
        try:
            for event in self._events(prompt, output_tokens):
                if "error" in event:
                    return Timed(time.perf_counter() - start, reason=f"the server broke off: {event['error']}"[:200])
                if _says(event):
                    pieces += 1
                    first = first or time.perf_counter() - start
                usage = event.get("usage") or usage
            read, made = usage.get("prompt_tokens"), usage.get("completion_tokens") or pieces
            if not (isinstance(made, int) and isinstance(read, int | None)):
                raise ValueError(f"usage {usage}")
        except TimeoutError:
            return Timed(time.perf_counter() - start, reason=f"no answer within {self._timeout:g} s")
        except (AttributeError, TypeError) as error:
            return Timed(time.perf_counter() - start, reason=f"no event of a chat completion: {error}"[:200])
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Timed(time.perf_counter() - start, reason=f"{type(error).__name__}: {error}"[:200])
        if not pieces:
            return Timed(time.perf_counter() - start, reason="the answer was empty")
        return Timed(time.perf_counter() - start, first, read, made)

    def _events(self, prompt: str, output_tokens: int) -> Iterator[dict[str, Any]]:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.netloc, timeout=self._timeout)
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._more,
        }
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request("POST", f"{self._url.path.rstrip('/')}/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise ValueError(f"HTTP {response.status} {response.read(300).decode(errors='replace')}")
            for line in response:
                data = line.decode().strip()
                if data.startswith("data:") and data != "data: [DONE]":
                    yield json.loads(data.removeprefix("data:"))
        finally:
            connection.close()


def _says(event: dict[str, Any]) -> bool:
    """Return whether an event holds a piece of the answer, or of the thoughts before it: both are tokens made."""
    deltas = [choice.get("delta") or {} for choice in event.get("choices") or []]
    return any(delta.get(name) for delta in deltas for name in ("content", "reasoning_content", "reasoning"))


class LlamaTarget:
    """A GGUF file in llama.cpp, through its own server. Every answer has its full length; no prompt is remembered."""

    def __init__(self, gguf: Path, host: Host, most: int, context_tokens: int) -> None:
        from metier.core.llamacpp import Llama

        self._llama = Llama(gguf, threads=host.threads, parallel=most, context_tokens=context_tokens, name="model")
        more = {"ignore_eos": True, "cache_prompt": False}
        url = f"http://{self._llama.address}/v1"
        self._endpoint = EndpointTarget(url, "model", self._llama.key, timeout=3600.0, more=more)

    def repeat(self, prompts: Sequence[str], concurrency: int, output_tokens: int) -> Repeat:
        """Keep `concurrency` requests open until all prompts are answered."""
        return self._endpoint.repeat(prompts, concurrency, output_tokens)


class EngineTarget:
    """A Hugging Face folder in our engine, which answers a batch at a time. Every answer has its full length.

    The first token's time is that of the same batch asked for one token: all of its prompts are read before any answer
    goes on.
    """

    def __init__(self, folder: Path, host: Host, precision: str) -> None:
        from metier.core.engine import EngineChat

        self._chat = EngineChat(folder, host, precision)  # type: ignore[arg-type]
        self._chat.stops = frozenset()

    def repeat(self, prompts: Sequence[str], concurrency: int, output_tokens: int) -> Repeat:
        """Answer the prompts in batches of `concurrency`."""
        requests: list[Timed] = []
        for at in range(0, len(prompts), concurrency):
            asked = [[Message("user", prompt)] for prompt in prompts[at : at + concurrency]]
            first = self._seconds(asked, 1)[0]
            seconds, made = self._seconds(asked, output_tokens)
            read = [len(self._chat.template.render(messages, generate=True).ids) for messages in asked]
            requests += [Timed(seconds, first, size, tokens) for size, tokens in zip(read, made, strict=True)]
        return Repeat(sum(request.seconds for request in requests[::concurrency]), requests)

    def _seconds(self, asked: Sequence[Sequence[Message]], tokens: int) -> tuple[float, list[int]]:
        start = time.perf_counter()
        replies = self._chat.complete(asked, Decoding(max_tokens=tokens))
        return time.perf_counter() - start, [reply.tokens for (reply,) in replies]
