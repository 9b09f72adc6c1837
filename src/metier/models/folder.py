"""What a Hugging Face model folder must hold, and the licence that it states."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metier.core import Mistake, Work

MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt", "LICENSE*", "README.md")
"""What is taken from a folder or a repository: no pickled weights and no code, both of which run when read."""

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")


def check_model_folder(folder: Path, called: str | None = None) -> None:
    """Raise Mistake, naming what is missing and what was found, unless `folder` holds a whole model.

    Args:
        called: what to call the folder to the user.
    """
    where = called or str(folder)
    if not folder.is_dir():
        raise Mistake(f"{where} is not a folder", hint="give the folder that holds config.json")
    names = sorted(path.name for path in folder.iterdir())
    found = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "nothing"
    if "adapter_config.json" in names and "config.json" not in names:
        raise Mistake(
            f"{where} holds an adapter, not a model",
            found=found,
            hint="merge it into its base model and give that folder",
        )
    missing = list(_missing(folder, names))
    if missing:
        hint = "give a folder as `save_pretrained` writes it"
        if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
            hint = "pickled weights are not read, as reading them runs code: save the model as safetensors"
        raise Mistake(f"{where} has no {' and no '.join(missing)}", found=found, hint=hint)


def _missing(folder: Path, names: list[str]) -> Iterator[str]:
    if "config.json" not in names:
        yield "config.json"
    elif not isinstance(_json(folder / "config.json"), dict):
        yield "readable config.json"
    if not any(name in names for name in _TOKENIZERS):
        yield "tokenizer (tokenizer.json or tokenizer.model)"
    if "model.safetensors.index.json" in names:
        index = _json(folder / "model.safetensors.index.json")
        yield from sorted(set((index or {}).get("weight_map", {}).values()) - set(names))
    elif not any(name.endswith(".safetensors") for name in names):
        yield "weights (*.safetensors)"
    yield from (f"content in {name}" for name in names if name.endswith(".safetensors") and not _size(folder / name))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError:
        return None


def _size(path: Path) -> int:
    return path.stat().st_size


def chat_template(folder: Path) -> str | None:
    """Return the chat template of a model folder, or None if it has none."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text()
    config = folder / "tokenizer_config.json"
    found = (_json(config) or {}).get("chat_template") if config.is_file() else None
    if isinstance(found, list):  # several named ones: transformers takes the one called "default"
        found = next((entry["template"] for entry in found if entry["name"] == "default"), None)
    return found


def warn_without_template(work: Work, folder: Path) -> None:
    """Warn the user of a base model that cannot hold a conversation yet; a classifier never will."""
    kinds = (_json(folder / "config.json") or {}).get("architectures") or []
    if not chat_template(folder) and not any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        work.warn(
            "this model has no chat template: it can be trained further on documents, but not on conversations, "
            "nor examined or served, until a chat_template.jinja is in its folder"
        )


def stated_licence(folder: Path) -> str | None:
    """Return the licence in the front matter of a folder's README.md, as an SPDX-like name, or None."""
    path = folder / "README.md"
    text = path.read_text(errors="replace") if path.is_file() else ""
    matter = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    found = re.search(r"^license:\s*['\"]?([\w.+-]+)", matter.group(1), re.MULTILINE) if matter else None
    return found.group(1) if found else None
