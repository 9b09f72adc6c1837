"""Starting and stopping the server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from metier.core import Host, Mistake
from metier.core.llamacpp import Sampling
from metier.serve.run import serve
from metier.serve.served import find_served

HOST = Host(cores=1, threads=1, memory_bytes=1 << 30)

PROGRAM = """
import sys
from pathlib import Path
from metier.core import Host
from metier.serve.run import serve
machine = Host(cores=1, threads=1, memory_bytes=1 << 30)
serve(Path(sys.argv[1]), machine, port=0, context_tokens=256, ready=lambda url, name: print(url, flush=True))
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_server_cleanly(tiny_gguf: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tiny_gguf)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/health") as answer:
            assert answer.status == 200
        os.kill(server.pid, number)
        out, err = server.communicate(timeout=20)
    assert server.returncode == 0, err
    assert out.strip() == "stopped"
    assert "Traceback" not in err


def test_a_taken_port_is_a_mistake(tiny_gguf: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Mistake, match=f"port {port} of 127.0.0.1 is taken"):
            serve(tiny_gguf, HOST, port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99_999), ("192.0.2.1", 0), ("no.such.host.invalid", 0)])
def test_an_address_that_is_not_ours_is_a_mistake(tiny_gguf: Path, host: str, port: int) -> None:
    with pytest.raises(Mistake, match="cannot listen"):
        serve(tiny_gguf, HOST, host, port)


def test_a_missing_model_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="neither an export nor a GGUF file"):
        serve(tmp_path / "nothing", HOST, port=0)


def test_a_file_of_another_kind_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(Mistake, match="not a GGUF file"):
        serve(tmp_path / "model.gguf", HOST, port=0)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_that_was_cut_is_a_mistake(tiny_gguf: Path, tmp_path: Path, share: float) -> None:
    whole = tiny_gguf.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(Mistake, match="cut"):
        serve(tmp_path / "cut.gguf", HOST, port=0)


def test_a_key_variable_that_is_not_set_is_a_mistake(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(Mistake, match="NO_SUCH_KEY"):
        serve(tiny_gguf, HOST, port=0, api_key_env="NO_SUCH_KEY")


def test_an_export_says_which_file_is_served_and_how_it_samples(tmp_path: Path) -> None:
    told = {
        "title": "smith",
        "served": "model-Q8_0.gguf",
        "files": ["model-Q8_0.gguf", "model-f16.gguf"],
        "sampling": Sampling(0.7, 0.9, 40, 0.05)._asdict(),
    }
    (tmp_path / "export.json").write_text(json.dumps(told))
    served = find_served(tmp_path)
    assert served == (tmp_path / "model-Q8_0.gguf", "smith", Sampling(0.7, 0.9, 40, 0.05))
    assert find_served(tmp_path, "F16").gguf.name == "model-f16.gguf"
    with pytest.raises(Mistake, match="has no Q4_0"):
        find_served(tmp_path, "Q4_0")
