"""A base model that is not what it should be is told before anything is trained: missing, damaged, other, too small."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from metier.core import Mistake
from metier.core.pretrained import load_pretrained
from metier.train.packing import Window

_SHOWN = 5


def load_whole(folder: Path, **options: Any) -> Any:
    """Return the causal language model in `folder`, every weight of it read from its files.

    transformers fills a weight that no file holds with random numbers, and says so in a table on the screen.

    Args:
        options: of transformers' `from_pretrained`.

    Raises:
        Mistake: a file is missing, cut short or of other numbers, a weight is missing or of another shape, or it
            needs code of its own.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    _check_numbers(folder)
    try:
        network, info = load_pretrained(
            AutoModelForCausalLM, folder, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise Mistake(
            "the base model cannot be loaded for training",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            hint=f"{folder} needs config.json and all *.safetensors of a causal language model: copy it again",
        ) from error
    if other := sorted(info["mismatched_keys"]):
        name, read, wanted = other[0]
        raise Mistake(
            "the base model's weights are not of the shapes that its config.json says",
            found=f"{name} is {list(read)}, and {list(wanted)} is wanted{_more(other)}",
            hint="config.json and the weights belong to different models, or vocab_size was changed in one of them",
        )
    if missing := sorted(info["missing_keys"]):
        raise Mistake(
            "weights of the base model are in none of its files",
            found=", ".join(missing[:_SHOWN]) + _more(missing, _SHOWN),
            hint=f"copy {folder} again: a file, or a line of model.safetensors.index.json, is missing",
        )
    return network


def check_finite(network: Any) -> None:
    """Raise Mistake with the names of the weights that hold NaN or infinity, if there are any."""
    broken = [
        name
        for name, weight in network.named_parameters()
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all())
    ]
    if broken:
        raise Mistake(
            "the base model holds numbers that are not finite",
            found=f"NaN or infinity in {', '.join(broken[:_SHOWN])}{_more(broken, _SHOWN)}",
            hint="its file is damaged, or its training diverged: take an earlier model",
        )


def check_ids(network: Any, tokenizer: Any, *windows: Sequence[Window]) -> None:
    """Check that the model has an embedding for every token of the rows.

    Rows are looked at only where the tokenizer knows more tokens than the model.

    Raises:
        Mistake: it has not.
    """
    size = int(network.get_input_embeddings().weight.shape[0])
    if getattr(network.get_input_embeddings().weight, "ds_shape", None) is not None:  # gathered where it is used
        size = int(network.get_input_embeddings().weight.ds_shape[0])
    if len(tokenizer) <= size:
        return
    for group in windows:
        if (at := _first_beyond(group, size)) is not None:
            window = group[at]
            largest = max(window.ids)
            row = window.names[window.row_of[window.ids.index(largest)]]
            raise Mistake(
                "the tokenizer knows tokens for which the base model has no embedding",
                found=f"row {row} holds {tokenizer.convert_ids_to_tokens(largest)!r}, number {largest}; "
                f"the model has {size:,} embeddings and the tokenizer {len(tokenizer):,} tokens",
                hint="take the model's own tokenizer, or give it new tokens by the step expand-vocabulary",
            )


def _first_beyond(windows: Sequence[Window], size: int) -> int | None:
    """Return the index of the first window that holds an id of at least `size`, None if there is none."""
    if (told := getattr(windows, "first_beyond", None)) is not None:  # windows on disk are read as columns
        found: int | None = told(size)
        return found
    return next((at for at, window in enumerate(windows) if max(window.ids) >= size), None)


def _check_numbers(folder: Path) -> None:
    """Raise Mistake where weights are stored as whole numbers and config.json names no quantisation."""
    config = folder / "config.json"
    for file in sorted(folder.glob("*.safetensors")):
        weights = {str(told["dtype"]) for name, told in _header(file).items() if name.endswith(".weight")}
        found = {dtype for dtype in weights if dtype.startswith(("I", "U", "BOOL"))}
        if found and '"quantization_config"' not in (config.read_text() if config.is_file() else ""):
            raise Mistake(
                "the base model's weights are whole numbers",
                found=f"{', '.join(sorted(found))} in {file.name}, and no quantization_config in config.json",
                hint="train the model that it was quantised from",
            )


def _header(file: Path) -> dict[str, dict[str, Any]]:
    """Return what a safetensors file says of its tensors; nothing of one that is damaged, which loading will tell."""
    with file.open("rb") as read:
        size = int.from_bytes(read.read(8), "little")
        try:
            told: dict[str, dict[str, Any]] = json.loads(read.read(min(size, 100 << 20)))
        except ValueError:
            return {}
    told.pop("__metadata__", None)
    return told


def _more(found: Sequence[Any], shown: int = 1) -> str:
    return f" and {len(found) - shown} more" if len(found) > shown else ""
