"""The part that clients see: OpenAI's routes and errors in front of llama.cpp's own server.

llama.cpp answers any model name with the model it has. Here another name is an error, so that no one measures one model
and believes it was another.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from metier.core.llamacpp import Llama

_FORWARDED = ("/v1/chat/completions", "/v1/completions")
_LONGEST_BODY = 16 << 20


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """A request that is answered with an error in OpenAI's form."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, str | None] = {"message": message, "type": kind, "param": None, "code": None, **more}


def gateway(llama: Llama, name: str, api_key: str | None = None) -> Starlette:
    """Return the application that serves one loaded model under `name`.

    Args:
        api_key: what clients must send as bearer token; None lets everyone in.
    """
    model = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "metier"}
    client = httpx2.AsyncClient(
        base_url=f"http://{llama.address}",
        headers={"Authorization": f"Bearer {llama.key}"},
        timeout=httpx2.Timeout(None, connect=5.0),  # an answer may take as long as it takes
        limits=httpx2.Limits(max_connections=None),
        trust_env=False,  # a proxy for the outside has no business here
    )

    async def health(_: Request) -> Response:
        return _relayed(await client.get("/health"))

    async def metrics(request: Request) -> Response:
        _admit(request, api_key)
        return _relayed(await client.get("/metrics"))

    async def models(request: Request) -> Response:
        _admit(request, api_key)
        return JSONResponse({"object": "list", "data": [model]})

    async def one_model(request: Request) -> Response:
        _admit(request, api_key)
        _known(request.path_params["model"], name)
        return JSONResponse(model)

    async def forward(request: Request) -> Response:
        _admit(request, api_key)
        body = _read(await request.body(), name)
        sent = client.build_request("POST", request.url.path, json=body)
        answer = await client.send(sent, stream=True)
        if answer.status_code == 200 and body.get("stream"):
            return StreamingResponse(_events(answer), media_type="text/event-stream")
        await answer.aread()
        return _relayed(answer)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    routes = [
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/models/{model:path}", one_model),
        *(Route(path, forward, methods=["POST"]) for path in _FORWARDED),
    ]
    handlers: Any = {Refusal: _refused, HTTPException: _not_served, httpx2.HTTPError: _unreachable}
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)


def _admit(request: Request, api_key: str | None) -> None:
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if api_key is not None and not hmac.compare_digest(sent.encode(), api_key.encode()):
        raise Refusal(401, "the API key is missing or wrong", "authentication_error", code="invalid_api_key")


def _known(asked: Any, name: str) -> None:
    if asked != name:
        message = f"the model {asked!r} is not served here; {name!r} is"
        raise Refusal(404, message, code="model_not_found", param="model")


def _read(data: bytes, name: str) -> dict[str, Any]:
    if len(data) > _LONGEST_BODY:
        raise Refusal(413, f"the request is longer than {_LONGEST_BODY} bytes")
    try:
        body = json.loads(data)
    except ValueError as error:
        raise Refusal(400, f"the request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, f"the request is a JSON {type(body).__name__}, not an object")
    if "model" not in body:
        raise Refusal(400, f"the request names no model; {name!r} is served here", param="model")
    _known(body["model"], name)
    return body


async def _events(answer: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for block in answer.aiter_raw():
            yield block
    finally:
        # Reached as well when the client has gone: llama.cpp then stops making the answer.
        await answer.aclose()


def _relayed(answer: httpx2.Response) -> Response:
    if answer.is_success:
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
    try:
        error = answer.json()["error"]
        raise Refusal(answer.status_code, str(error["message"]), str(error["type"]))
    except (ValueError, KeyError, TypeError):
        raise Refusal(answer.status_code, answer.text[:300], "server_error") from None


async def _refused(_: Request, refusal: Refusal) -> Response:
    return JSONResponse({"error": refusal.error}, refusal.status)


async def _not_served(request: Request, error: HTTPException) -> Response:
    message = f"{request.method} {request.url.path}: {error.detail}"
    return await _refused(request, Refusal(error.status_code, message))


async def _unreachable(request: Request, error: Exception) -> Response:
    return await _refused(request, Refusal(502, f"the model stopped answering: {error}", "server_error"))
