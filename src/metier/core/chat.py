"""One port to every model that answers: an endpoint, the in-process engine, or a scripted fake."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

from metier.core.errors import Failure, Mistake


class Message(NamedTuple):
    """One turn: `role` is "system", "user" or "assistant"."""

    role: str
    content: str


class Decoding(BaseModel):
    """How answers are drawn. Temperature 0 is greedy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(0.0, ge=0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus share")
    top_k: int = Field(0, ge=0, description="only so many of the likeliest tokens are drawn from; 0 is all")
    repetition_penalty: float = Field(
        1.0, gt=0, description="by which the logits of tokens already in prompt or answer are lowered; 1 is none"
    )
    max_tokens: int = Field(128, ge=1, description="most tokens of one answer")
    seed: int = Field(0, description="seed of the random draw")
    samples: int = Field(1, ge=1, description="answers to each conversation")


class Reply(NamedTuple):
    """One answer. `finished` is False where it was cut at `max_tokens`."""

    text: str
    tokens: int
    finished: bool


class Chat(Protocol):
    """Anything that answers conversations."""

    def complete(self, conversations: Sequence[Sequence[Message]], decoding: Decoding) -> list[list[Reply]]:
        """Return `decoding.samples` replies to each conversation, in order."""
        ...


class ScriptedChat:
    """A Chat that answers from a script; for tests, examples and dry runs.

    Args:
        script: a function of the messages, or a list of answers given out in turn.

    Raises:
        Failure: the list is used up.
    """

    def __init__(self, script: Callable[[Sequence[Message]], str] | Sequence[str]) -> None:
        self._script = script
        self._next = 0
        self.asked: list[list[Message]] = []

    def complete(self, conversations: Sequence[Sequence[Message]], decoding: Decoding) -> list[list[Reply]]:
        """Return the scripted answers."""
        return [[self._answer(messages) for _ in range(decoding.samples)] for messages in conversations]

    def _answer(self, messages: Sequence[Message]) -> Reply:
        self.asked.append(list(messages))
        if callable(self._script):
            text = self._script(messages)
        elif self._next < len(self._script):
            text = self._script[self._next]
            self._next += 1
        else:
            raise Failure("the script of the fake model is used up", found=f"{len(self._script)} answers")
        return Reply(text, len(text.split()), True)


class Endpoint(BaseModel):
    """An OpenAI-compatible endpoint. The key itself is never written in a recipe, only the variable that holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="as in http://localhost:8000/v1")
    model: str = Field(description="the model's name at that endpoint")
    api_key_env: str | None = Field(None, description="environment variable that holds the key, if one is needed")
    timeout_seconds: float = Field(120.0, gt=0, description="longest wait for one answer")

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, given: str) -> str:
        if not re.match(r"https?://[^/\s]", given):
            raise ValueError(f"'{given}' does not begin with http:// or https:// and a host")
        return given


LOOKS_BACK = 1 << 16
"""Tokens over which llama.cpp is told to penalise: it would take 64, and all others take the whole context."""


def beyond_openai(decoding: Decoding) -> dict[str, Any]:
    """Return what OpenAI's interface has no name for, under vLLM's and llama.cpp's names; {} where all is off."""
    more: dict[str, Any] = {"top_k": decoding.top_k} if decoding.top_k else {}
    penalty = decoding.repetition_penalty
    if penalty != 1:
        more |= {"repetition_penalty": penalty, "repeat_penalty": penalty, "repeat_last_n": LOOKS_BACK}
    return more


_REFUSES = (400, 413, 422)
"""Codes of HTTP by which an endpoint refuses one request: too long, filtered, or not understood."""


REFUSALS = 32
"""Requests refused by an endpoint that has answered none at which it is given up: it is not the requests then."""


class Refused(Failure):
    """An endpoint answers, but not this request."""


class OpenAIChat:
    """A Chat over an OpenAI-compatible endpoint, with the official client (two retries, exponential back-off).

    `top_k` and `repetition_penalty` are not in OpenAI's interface. vLLM, SGLang and llama.cpp take them beside it, and
    they are sent where a decoding asks for them; an endpoint that passes over what it does not know will not say so.

    Raises:
        Mistake: the key's variable is not set. Failure: the endpoint does not answer as it should. Refused: it refuses
            this request, as one that is too long.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        from openai import OpenAI

        key = "none"
        if endpoint.api_key_env is not None:
            if not os.environ.get(endpoint.api_key_env):
                raise Mistake(
                    f"the environment variable {endpoint.api_key_env} is not set",
                    hint=f"export {endpoint.api_key_env}=...",
                )
            key = os.environ[endpoint.api_key_env]
        self._endpoint = endpoint
        self._client = OpenAI(base_url=endpoint.base_url, api_key=key, timeout=endpoint.timeout_seconds)

    def complete(self, conversations: Sequence[Sequence[Message]], decoding: Decoding) -> list[list[Reply]]:
        """Ask the endpoint, one conversation after the other."""
        return [
            [self._ask(messages, decoding, index) for index in range(decoding.samples)] for messages in conversations
        ]

    def _ask(self, messages: Sequence[Message], decoding: Decoding, index: int) -> Reply:
        from openai import OpenAIError

        sent: list[Any] = [message._asdict() for message in messages]
        try:
            answer = self._client.chat.completions.create(
                model=self._endpoint.model,
                messages=sent,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                max_tokens=decoding.max_tokens,
                seed=decoding.seed + index,
                extra_body=beyond_openai(decoding),
            )
        except OpenAIError as error:
            if getattr(error, "status_code", None) in _REFUSES:
                raise Refused(
                    f"{self._endpoint.base_url} refused a request",
                    found=str(error)[:300],
                    hint="is it too long for the model, or against a rule of the endpoint?",
                ) from error
            raise Failure(
                f"{self._endpoint.base_url} did not answer",
                found=str(error)[:300],
                hint="check the address, the key and the model",
            ) from error
        except ValueError as error:  # the client lets through what is no JSON, or no UTF-8
            raise self._no_answer(f"{type(error).__name__}: {error}") from error
        try:
            choice = answer.choices[0]
            text, used = choice.message.content or "", answer.usage
            tokens = (used.completion_tokens or 0) if used else 0
        except (AttributeError, TypeError, IndexError) as error:  # nor does the client check what it has read
            raise self._no_answer(str(answer)) from error
        if not isinstance(text, str):
            raise self._no_answer(str(answer))
        whole = text.encode("utf-8", "replace").decode()  # half a character, as a gateway cuts, cannot be written down
        return Reply(whole, tokens, choice.finish_reason == "stop")

    def _no_answer(self, found: str) -> Failure:
        return Failure(
            f"{self._endpoint.base_url} answered something else than a chat completion",
            found=found[:300],
            hint="is it the address of an OpenAI-compatible server, up to and with /v1?",
        )
