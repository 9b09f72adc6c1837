"""The inference benchmark: its arithmetic, an endpoint of known speed, faults as rows, and going on after a kill."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pytest import approx

from metier.core import Failure, Host, LocalPath, Mistake, Workshop
from metier.core.chat import Endpoint
from metier.evaluate import InferenceBench
from metier.evaluate.inference.cells import Cell, Repeat, Timed, failed, figures, interval, percentiles, prompts, table
from metier.evaluate.inference.targets import EndpointTarget
from metier.evaluate.inference.watched import Ended, Watched
from tests.evaluate.exam_steps import given

HOST = dataclasses.replace(Host.here(), threads=1, gpus=())
FIRST, EACH = 0.08, 0.02  # seconds to the first token, and to each that follows


# --- arithmetic


def test_tokens_a_second_are_those_of_all_answers_over_the_time_of_a_repeat() -> None:
    repeats = [Repeat(2.0, [Timed(2.0, 0.5, 100, 16)] * 4), Repeat(4.0, [Timed(4.0, 1.5, 100, 16)] * 4)]
    row = figures(Cell(4, 128, 16), repeats, 7, None)
    # 64 tokens in 2 s and in 4 s: mean 24, s = 8 x sqrt(2), and t with one degree of freedom is 12.706
    assert row["tokens_per_second"] == approx({"value": 24, "low": 0, "high": 24 + 12.7062 * 8}, rel=1e-4)
    assert row["first_token_seconds"] == {"p50": 0.5, "p95": 1.5}
    assert row["between_tokens_seconds"] == {"p50": 0.1, "p95": approx(2.5 / 15)}
    assert (row["requests"], row["prompt_tokens_read"], row["output_tokens_made"], row["errors"]) == (8, 100, 16, 0)


def test_a_repeat_with_a_failed_request_is_no_measurement_of_the_rate() -> None:
    good = Repeat(1.0, [Timed(1.0, 0.2, 9, 10)] * 2)
    bad = Repeat(9.0, [Timed(1.0, 0.2, 9, 10), Timed(9.0, reason="no answer within 9 s")])
    row = figures(Cell(2, 9, 10), [good, bad], None, None)
    assert row["tokens_per_second"] == {"value": 20.0, "low": None, "high": None}
    assert (row["errors"], row["reason"], row["repeats"]) == (1, "no answer within 9 s", 1)
    assert failed(Cell(2, 9, 10), "why")["tokens_per_second"] is None


def test_percentiles_are_the_least_value_that_so_many_do_not_exceed() -> None:
    assert percentiles([float(at) for at in range(1, 21)]) == {"p50": 10.0, "p95": 19.0}
    assert percentiles([3.0]) == {"p50": 3.0, "p95": 3.0} and percentiles([]) is None


def test_the_interval_over_three_repeats_is_students() -> None:
    # mean 10, s = 1, t with two degrees of freedom is 4.3027
    assert interval([9.0, 10.0, 11.0]) == approx(
        {"value": 10, "low": 10 - 4.3027 / 3**0.5, "high": 10 + 4.3027 / 3**0.5}
    )


def test_no_two_prompts_begin_alike_and_the_seed_draws_them() -> None:
    found = prompts(50, 60, "a")
    assert len({prompt.split()[0] for prompt in found}) == 50
    assert found == prompts(50, 60, "a") != prompts(50, 60, "b")


def test_the_table_has_a_line_for_each_cell() -> None:
    rows = [
        figures(Cell(1, 9, 4), [Repeat(1.0, [Timed(1.0, 0.2, 11, 4)])], 2 * 10**9, None),
        failed(Cell(2, 9, 4), "a|b\nc"),
    ]
    lines = table(rows).splitlines()
    assert lines[2] == "| 1 | 11 | 4 | 4.0 |  | 0.200 s | 0.200 s | 2.00 GB |  |  |"
    assert lines[3].endswith("| 1 failed: a\\|b c |")


# --- an endpoint of known speed


NONSENSE = {
    "list": b"data: [1]\n\n",
    "number": b"data: 3\n\n",
    "cut": b'data: {"choices": [\n\n',
    "texts": b'data: {"choices": ["a"]}\n\n',
    "not UTF-8": b"data: \xff\n\n",
    "page": b"<html>Sign in</html>",
    "usage": b'data: {"choices": [{"delta": {"content": "a"}}], "usage": {"completion_tokens": "many"}}\n\n',
}


class Handler(BaseHTTPRequestHandler):
    """Streams as many words as asked for; the model's name says what goes wrong."""

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["model"] == "refusing":
            self.send_error(503, "overloaded")
            return
        self.send_response(200)
        self.end_headers()
        if body["model"] == "hanging":
            time.sleep(3)
            return
        if body["model"] in NONSENSE:
            self.wfile.write(NONSENSE[body["model"]])
            return
        made = 0 if body["model"] == "silent" else body["max_tokens"]
        for at in range(made):
            time.sleep(FIRST if at == 0 else EACH)
            name = "reasoning_content" if body["model"] == "thinking" else "content"
            self._send({"choices": [{"delta": {name: "word "}}]})
            if body["model"] == "breaking" and at == 1:
                self._send({"error": {"message": "out of memory"}})
                return
        if body["model"] == "counting":
            self._send({"choices": [], "usage": {"completion_tokens": made, "prompt_tokens": 99}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, event: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "shop", HOST)


def bench(url: str, model: str, **fields: Any) -> InferenceBench:
    settings: dict[str, Any] = {
        "concurrency": (1, 4), "prompt_tokens": (32,), "output_tokens": (5,), "repeats": 2, "waves": 1, "warm_up": 0,
    } | fields  # fmt: skip
    timeout = settings.pop("timeout_seconds", 20.0)
    return InferenceBench(endpoint=Endpoint(base_url=url, model=model, timeout_seconds=timeout), **settings)


def cells(shop: Workshop, step: InferenceBench) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shop.make(step).folder / "speed.json").read_text())["cells"]
    return found


def test_an_endpoint_is_as_fast_as_it_is(shop: Workshop, url: str) -> None:
    one, four = cells(shop, bench(url, "counting"))
    assert one["first_token_seconds"]["p50"] >= FIRST and one["between_tokens_seconds"]["p50"] >= EACH
    assert one["tokens_per_second"]["value"] <= 5 / (FIRST + 4 * EACH)
    assert one["prompt_tokens_read"] == 99 and one["output_tokens_made"] == 5
    assert (four["requests"], four["errors"], four["memory_bytes"]) == (8, 0, None)
    assert one["tokens_per_second"]["value"] < four["tokens_per_second"]["value"] <= 20 / (FIRST + 4 * EACH)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("refusing", "HTTP 503"),
        ("hanging", "no answer within 0.5 s"),
        ("breaking", "out of memory"),
        ("silent", "the answer was empty"),
    ],
)
def test_a_request_that_is_not_answered_has_a_reason(url: str, model: str, reason: str) -> None:
    found = EndpointTarget(url, model, timeout=0.5).repeat(["a", "b"], 2, 5)
    row = figures(Cell(2, 9, 5), [found], None, None)
    assert row["tokens_per_second"] is None and row["errors"] == 2 and reason in row["reason"]


@pytest.mark.parametrize("model", NONSENSE)
def test_a_request_that_is_answered_with_nonsense_has_a_reason(url: str, model: str) -> None:
    (found,) = EndpointTarget(url, model, timeout=5).repeat(["a"], 1, 5).requests
    assert found.reason and found.output_tokens == 0


def test_thoughts_before_an_answer_are_tokens_too(url: str) -> None:
    (found,) = EndpointTarget(url, "thinking", timeout=5).repeat(["a"], 1, 3).requests
    assert (found.reason, found.output_tokens) == (None, 3) and (found.first_seconds or 0) >= FIRST


def test_where_nothing_could_be_measured_the_step_fails_and_the_next_attempt_measures_anew(
    shop: Workshop, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = bench("http://127.0.0.1:9/v1", "any", repeats=1)
    with pytest.raises(Failure, match="nothing could be measured") as failed:
        shop.make(step)
    assert "2 of 2 cells failed" in str(failed.value) and "refused" in str(failed.value)
    told = bench(url, "counting")._told(type("Work", (), {"host": HOST})())
    monkeypatch.setattr(InferenceBench, "_told", lambda *_: told)  # now it is there
    assert [row["errors"] for row in cells(shop, step)] == [0, 0]


def test_a_cell_that_takes_too_long_is_given_up_and_the_next_one_is_measured(shop: Workshop, url: str) -> None:
    step = bench(url, "counting", concurrency=(1, 2), output_tokens=(1, 400), repeats=1, cell_seconds=3.0)
    light, heavy, last = cells(shop, step)[:3]
    assert shop.make(step).record.ledger.lines[0].dropped == {"could not be measured": 2}
    assert light["errors"] == 0 and last["errors"] == 0
    assert heavy["output_tokens"] == 400 and heavy["reason"] == "it took longer than 3 s"


def test_a_killed_benchmark_goes_on_with_the_next_cell(
    shop: Workshop, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, asked = bench(url, "counting", repeats=1), []
    measure = Watched.measure

    def counted(self: Watched, cell: Cell, *more: Any) -> Any:
        asked.append(cell.concurrency)
        if asked == [1, 4]:
            raise KeyboardInterrupt
        return measure(self, cell, *more)

    monkeypatch.setattr(Watched, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        shop.make(step)
    assert [row["concurrency"] for row in cells(shop, step)] == [1, 4]
    assert asked == [1, 4, 4]


def test_an_engine_that_is_killed_is_a_finding(url: str, tmp_path: Path) -> None:
    import psutil

    told = bench(url, "hanging")._told(type("Work", (), {"host": HOST})())
    before = set(psutil.Process().children())
    with Watched(told, tmp_path / "errors") as watched:
        (child,) = set(psutil.Process().children()) - before
        threading.Timer(0.3, child.kill).start()
        with pytest.raises(Ended, match="killed, as where memory runs out"):
            watched.measure(Cell(1, 9, 4), 1, 1, 0, 20.0)
    assert not child.is_running()


def test_what_is_measured_is_one_thing_and_is_there(shop: Workshop, url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one is measured, not none"):
        InferenceBench()
    with pytest.raises(ValueError, match="1 or more"):
        bench(url, "counting", concurrency=(0,))
    (tmp_path / "a.gguf").write_bytes(b"no model")
    with pytest.raises(Mistake, match="not a GGUF file"):
        shop.make(InferenceBench(gguf=LocalPath(tmp_path / "a.gguf")))
    endpoint = Endpoint(base_url=url, model="m", api_key_env="NO_SUCH_KEY")
    with pytest.raises(Mistake, match="NO_SUCH_KEY"):
        shop.make(InferenceBench(endpoint=endpoint))


@pytest.mark.slow
def test_our_engine_and_llamacpp_are_measured_with_their_memory(
    shop: Workshop, tiny_model_folder: Path, tiny_gguf: Path
) -> None:
    settings: dict[str, Any] = {
        "concurrency": (1, 2), "prompt_tokens": (64,), "output_tokens": (12,), "repeats": 2, "warm_up": 1,
    }  # fmt: skip
    for step in (
        InferenceBench(model=given(tiny_model_folder), **settings),
        InferenceBench(gguf=LocalPath(tiny_gguf), **settings),
    ):
        rows = cells(shop, step)
        assert [row["errors"] for row in rows] == [0, 0]
        for row in rows:
            assert row["output_tokens_made"] == 12 and row["prompt_tokens_read"] >= 44
            assert row["requests"] == 2 * 2 * row["concurrency"]
            assert 0 < row["first_token_seconds"]["p50"] <= row["first_token_seconds"]["p95"]
            assert row["memory_bytes"] > 20 << 20 and row["tokens_per_second"]["value"] > 0
