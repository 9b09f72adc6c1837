"""`metier serve`: an OpenAI-compatible server from an export, in this process."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from metier.core import Host, Mistake
from metier.core.llamacpp import Llama
from metier.serve.gateway import gateway
from metier.serve.served import find_served

_PATIENCE_SECONDS = 5  # answers in the making get this long when the server is told to stop


def serve(
    path: Path,
    machine: Host,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    quantisation: str | None = None,
    parallel: int = 4,
    context_tokens: int = 4096,
    api_key_env: str | None = None,
    ready: Callable[[str, str], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serve an export until Ctrl-C or SIGTERM; both end it cleanly.

    Args:
        path: an export's folder or a GGUF file.
        machine: whose threads it may use.
        host: address to listen on; other machines reach it only if this is not the loopback address.
        port: 0 takes a free one.
        parallel: requests answered side by side; others wait.
        context_tokens: most tokens of one request and its answer.
        api_key_env: environment variable with the key that clients must send.
        ready: called with the server's address and the model's name once it answers.
        stop: ends the server when set; for callers that are not the main thread.

    Raises:
        Mistake: the model is missing or damaged, the port is taken, or the key's variable is not set.
    """
    served = find_served(path, quantisation)
    api_key = _api_key(api_key_env)
    with (
        _listening(host, port) as listener,
        Llama(
            served.gguf,
            threads=machine.threads,
            parallel=parallel,
            context_tokens=context_tokens,
            name=served.name,
            sampling=served.sampling,
        ) as llama,
    ):
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            gateway(llama, served.name, api_key),
            log_level="warning",
            timeout_graceful_shutdown=_PATIENCE_SECONDS,
        )
        server = _Server(config, lambda: ready(address, served.name) if ready else None, stop)
        server.run(sockets=[listener])


def _api_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise Mistake(f"the environment variable {variable} is not set", hint=f"export {variable}=...")
    return key


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Before the model is loaded, so that a second server learns at once that the port is taken.
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise Mistake(
            f"port {port} of {host} is taken" if taken else f"cannot listen on {host}, port {port}",
            found=None if taken else str(error),
            hint="give another --port, or 0 for any that is free",
        ) from error
    return listener


class _Server(uvicorn.Server):
    """A server that calls `ready`, ends when `stop` is set, and returns after a signal instead of raising it again."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stop: threading.Event | None) -> None:
        super().__init__(config)
        self._ready, self._stop = ready, stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        if self._stop is not None and self._stop.is_set():
            self.should_exit = True
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread only
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
