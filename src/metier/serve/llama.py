"""A Chat over a GGUF file in this process: what `metier chat` talks to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from metier.core import Host
from metier.core.chat import LOOKS_BACK, Decoding, Message, Reply
from metier.core.llamacpp import Llama
from metier.serve.served import find_served

_CHAT = "/v1/chat/completions"


class LlamaChat:
    """An exported model in this process; close it, or use it in a `with`.

    Args:
        path: an export's folder or a GGUF file.
        parallel: conversations answered side by side.
        context_tokens: most tokens of one conversation and its answer.

    Raises:
        Mistake: there is no such file, or llama.cpp cannot load it.
    """

    def __init__(self, path: Path, host: Host, parallel: int = 1, context_tokens: int = 4096) -> None:
        served = find_served(path)
        self.name, self._parallel = served.name, parallel
        self._llama = Llama(
            served.gguf,
            threads=host.threads,
            parallel=parallel,
            context_tokens=context_tokens,
            name=served.name,
            sampling=served.sampling,
        )

    def __enter__(self) -> LlamaChat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model's memory."""
        self._llama.close()

    def complete(self, conversations: Sequence[Sequence[Message]], decoding: Decoding) -> list[list[Reply]]:
        """Return `decoding.samples` replies to each conversation. Raises Failure if one does not fit the context."""
        asked = [(messages, sample) for messages in conversations for sample in range(decoding.samples)]
        with ThreadPoolExecutor(self._parallel) as pool:
            replies = list(pool.map(lambda one: self._reply(one[0], decoding, one[1]), asked))
        return [replies[at : at + decoding.samples] for at in range(0, len(replies), decoding.samples)]

    def stream(self, messages: Sequence[Message], decoding: Decoding) -> Iterator[str]:
        """Yield one reply piece by piece, as it is made. Stops making it when no longer asked."""
        for event in self._llama.stream(_CHAT, _body(messages, decoding, 0)):
            for choice in event["choices"]:
                piece = choice["delta"].get("content")
                if piece:
                    yield piece

    def _reply(self, messages: Sequence[Message], decoding: Decoding, sample: int) -> Reply:
        answer = self._llama.post(_CHAT, _body(messages, decoding, sample))
        choice = answer["choices"][0]
        text = choice["message"].get("content") or ""
        return Reply(text, answer["usage"]["completion_tokens"], choice["finish_reason"] == "stop")


def _body(messages: Sequence[Message], decoding: Decoding, sample: int) -> dict[str, Any]:
    return {
        "messages": [message._asdict() for message in messages],
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k,
        "min_p": 0.0,
        "repeat_penalty": decoding.repetition_penalty,
        "repeat_last_n": LOOKS_BACK,
        "max_tokens": decoding.max_tokens,
        "seed": decoding.seed + sample,
    }
