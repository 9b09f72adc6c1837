"""llama.cpp in this process: one GGUF file behind its own HTTP server, on a loopback port only this process can use."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from metier.core.chat import LOOKS_BACK
from metier.core.errors import Failure, Mistake
from metier.core.gguf_header import gguf_metadata

_PROMPT_CACHE_MIB = 256  # llama.cpp would keep up to 8 GiB of old prompts in memory


SAMPLERS = "penalties;temperature;top_k;top_p;min_p"
"""In which order llama.cpp changes the distribution that it draws from."""


class Sampling(NamedTuple):
    """How answers are drawn when a request does not say. Temperature 0 is greedy; 0 turns top_k and min_p off.

    A `repetition_penalty` of 1 is none, and looks back over the whole prompt and answer. `max_tokens` is the longest
    answer, None as long as fits.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int | None = None

    @classmethod
    def of_model(cls, model_folder: Path) -> Sampling:
        """Return what the `generation_config.json` of a Hugging Face folder asks for: greedy unless `do_sample`."""
        path = model_folder / "generation_config.json"
        config: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        drawn: dict[str, Any] = {}
        if config.get("do_sample"):
            # The values that transformers takes where the file is silent.
            drawn = {"temperature": 1.0, "top_p": 1.0, "top_k": 50, "min_p": 0.0}
            drawn = {name: silent if config.get(name) is None else config[name] for name, silent in drawn.items()}
        penalty = config.get("repetition_penalty") or 1.0
        return cls(**drawn, repetition_penalty=penalty, max_tokens=config.get("max_new_tokens"))


class Llama:
    """A loaded GGUF file.

    Args:
        gguf: the file.
        threads: at most the cores that are free: llama.cpp's threads spin while they wait for each other.
        parallel: requests answered side by side.
        context_tokens: prompt and answer of one request; never more than the model was trained for.
        name: what it is called in answers.
        sampling: for requests that do not say.

    Raises:
        Mistake: there is no such file, it is not GGUF, or llama.cpp cannot load it.
    """

    def __init__(
        self,
        gguf: Path,
        *,
        threads: int,
        parallel: int = 1,
        context_tokens: int = 4096,
        name: str | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        gguf_metadata(gguf)  # says more of a missing or damaged file than llama.cpp does
        import xllamacpp

        self.gguf, self.parallel = gguf, parallel
        self.key = secrets.token_urlsafe(32)
        try:
            self._server = xllamacpp.Server(
                _parameters(gguf, threads, parallel, context_tokens, name, sampling or Sampling(), self.key)
            )
        except (RuntimeError, ValueError) as error:
            raise Mistake(
                f"{gguf} cannot be loaded by llama.cpp",
                found=f"{gguf.stat().st_size:,} bytes; {error}",
                hint="the file may be cut off or of an architecture this llama.cpp does not know: export it again",
            ) from error
        # Answered by the loop that does the work, so it runs now. Closed before that, the server (xllamacpp 2026.10)
        # misses the order to stop and waits for ever: one time in some fifty.
        self._server.handle_metrics()
        self.address: str = self._server.listening_address.removeprefix("http://")

    def __enter__(self) -> Llama:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model's memory and close its port."""
        self._server = None

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON answer to `body`. Raises Failure if llama.cpp refuses or fails."""
        connection, response = self._send(path, body)
        try:
            answer: dict[str, Any] = json.loads(response.read())
            return answer
        finally:
            connection.close()

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the events of a streamed answer. Raises Failure if llama.cpp refuses or fails."""
        connection, response = self._send(path, {**body, "stream": True})
        try:
            for line in response:
                data = line.decode().removeprefix("data: ").strip()
                if not line.startswith(b"data: ") or data == "[DONE]":
                    continue
                event: dict[str, Any] = json.loads(data)
                if "error" in event:
                    raise Failure("llama.cpp stopped in the middle of an answer", found=str(event["error"])[:300])
                yield event
        finally:
            connection.close()

    def tokenize(self, text: str) -> list[int]:
        """Return the ids that a request's rendered text becomes: special tokens in it are read as such."""
        ids: list[int] = self.post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
        return ids

    def render(self, messages: list[dict[str, str]]) -> str:
        """Return the messages in the file's chat template, ending with the opening of the assistant's turn."""
        return str(self.post("/apply-template", {"messages": messages})["prompt"])

    def _send(self, path: str, body: Mapping[str, Any]) -> tuple[HTTPConnection, HTTPResponse]:
        connection = HTTPConnection(self.address)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        try:
            connection.request("POST", path, json.dumps(body).encode(), headers)
            response = connection.getresponse()
            if response.status == 200:
                return connection, response
            raise Failure(
                f"llama.cpp refused a request to {path}", found=f"{response.status} {response.read().decode()[:300]}"
            )
        except BaseException:
            connection.close()
            raise


def _parameters(
    gguf: Path, threads: int, parallel: int, context_tokens: int, name: str | None, sampling: Sampling, key: str
) -> Any:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.model_alias = {name or gguf.stem}
    parameters.n_parallel = parallel
    parameters.n_ctx = context_tokens * parallel
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    # As many ends as requests, and some for health and metrics while all of them are busy.
    parameters.n_threads_http = parallel + 4
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.endpoint_metrics = True
    parameters.ui = False
    parameters.warmup = False
    parameters.fit_params = False  # it may lower the context without a word
    parameters.cache_ram_mib = _PROMPT_CACHE_MIB
    parameters.verbosity = 1
    chosen = parameters.sampling
    chosen.temp, chosen.top_p, chosen.top_k, chosen.min_p = sampling[:4]
    chosen.penalty_repeat, chosen.penalty_last_n = sampling.repetition_penalty, LOOKS_BACK
    # As transformers and vLLM do it; llama.cpp's own order cuts the tail before the temperature flattens it.
    chosen.samplers = SAMPLERS
    parameters.n_predict = sampling.max_tokens or -1
    return parameters
