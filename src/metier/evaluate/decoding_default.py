"""A model's own way of drawing answers: what its generation_config.json tells transformers, exports and servers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metier.core.chat import Decoding
from metier.core.files import write_json_atomic

_SAMPLED_ONLY = ("temperature", "top_p", "top_k", "min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff")


def write_model(source: Path, target: Path, decoding: Decoding, limited: bool) -> None:
    """Write `source` with `decoding` as its default to `target`: weights linked, or copied to another disk.

    Args:
        limited: whether the answer's length was searched too and belongs to the default.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name != "generation_config.json":
            put = _linked if path.suffix == ".safetensors" else shutil.copyfile
            put(path, target / path.name)
    before = source / "generation_config.json"
    config: dict[str, Any] = json.loads(before.read_text()) if before.is_file() else {}
    write_json_atomic(target / "generation_config.json", generation_config(config, decoding, limited))


def generation_config(before: Mapping[str, Any], decoding: Decoding, limited: bool) -> dict[str, Any]:
    """Return a generation_config.json that draws as `decoding` does; what it says of other things stays."""
    config = {name: value for name, value in before.items() if name not in _SAMPLED_ONLY}
    config |= {"do_sample": decoding.temperature > 0, "repetition_penalty": decoding.repetition_penalty}
    if decoding.temperature:
        config |= {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
    if limited:
        config["max_new_tokens"] = decoding.max_tokens
    return config


def _linked(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
