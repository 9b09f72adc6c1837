"""Scores by a sequence classifier of the Hugging Face library: long texts in windows, windows in batches by length."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Failure, Mistake
from metier.core.pretrained import load_pretrained

_TOKENS_A_BATCH = {"cpu": 2048, "cuda": 65536}
_CHARACTERS_A_TOKEN = 8  # of the longest tokens there are, in the mean: more characters than that fill a window anyhow


class Settings(NamedTuple):
    """How a text is scored: see the fields of `model-quality`. `device` is "cpu" or "cuda"."""

    labels: tuple[str, ...]
    windows: int
    window_tokens: int | None
    of_windows: str
    device: str
    threads: int


class Told(NamedTuple):
    """The score of a text, and the part of it that scored highest."""

    score: float
    highest: float
    window: str


class Network(NamedTuple):
    """A model that was read, with its tokenizer, the numbers of the labels asked for, and the tokens of a window."""

    model: Any
    tokenizer: Any
    labels: tuple[int, ...]
    kind: str  # "softmax", "sigmoid" or "number"
    window_tokens: int


def score(folder: Path, settings: Settings, texts: Sequence[str]) -> list[Told]:
    """Return the score of each text: of several windows their mean, weighed by tokens, or the highest."""
    network = load(folder, settings)
    places: list[int] = []
    parts: list[str] = []
    for number, text in enumerate(texts):
        found = list(windows(text, network.tokenizer, network.window_tokens, settings.windows))
        places += [number] * len(found)
        parts += found
    encoded = network.tokenizer(parts, truncation=True, max_length=network.window_tokens)["input_ids"] if parts else []
    scores = _scores(network, encoded, settings)
    told = []
    mine: list[list[tuple[float, int, str]]] = [[] for _ in texts]
    for number, value, ids, part in zip(places, scores, encoded, parts, strict=True):
        mine[number].append((value, len(ids), part))
    for found_here in mine:
        highest, _, part = max(found_here, key=lambda one: one[0])
        total = sum(size for _, size, _ in found_here)
        mean = sum(value * size for value, size, _ in found_here) / total
        told.append(Told(mean if settings.of_windows == "mean" else highest, highest, part))
    return told


def windows(text: str, tokenizer: Any, tokens: int, most: int) -> Iterator[str]:
    """Yield the windows of a text: all of it if they suffice, else `most`, the first and the last and evenly between.

    A text that is far too long is not tokenised whole: only what is around its windows.
    """
    room = max(8, tokens - tokenizer.num_special_tokens_to_add())
    reach = room * _CHARACTERS_A_TOKEN
    if len(text) > most * reach:
        for number in range(most):
            start = (len(text) - reach) * number // max(most - 1, 1)
            piece = text[start : start + reach]
            places = _offsets(tokenizer, piece)
            yield piece[: places[min(room, len(places)) - 1][1]] if places else piece[:room]
        return
    places = _offsets(tokenizer, text)
    count = min(most, max(1, -(-len(places) // room)))
    for number in range(count):
        spare = len(places) - room
        first = spare * number // max(count - 1, 1) if spare > 0 else 0
        taken = places[first : first + room]
        yield text[taken[0][0] : taken[-1][1]] if taken else text[:room]


def _offsets(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    # The warning that the sequence is longer than the model takes is not for us: we cut it.
    found: list[tuple[int, int]] = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )["offset_mapping"]
    return found


def _scores(network: Network, encoded: Sequence[list[int]], settings: Settings) -> list[float]:
    """Return the score of each window. Those of like length go together, so little is padding."""
    import torch

    scores = [0.0] * len(encoded)
    device = torch.device(settings.device)
    with _threads(settings.threads), torch.inference_mode():
        for chosen in _batches(encoded, _TOKENS_A_BATCH[settings.device]):
            padded = network.tokenizer.pad({"input_ids": [encoded[at] for at in chosen]}, return_tensors="pt")
            with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                logits = network.model(**padded.to(device)).logits.float()
            if not bool(torch.isfinite(logits).all()):
                raise ArithmeticError("the model gives numbers that are not finite")
            for at, value in zip(chosen, _value(network, logits).tolist(), strict=True):
                scores[at] = round(value, 6)  # padding moves the last digits
    return scores


def _value(network: Network, logits: Any) -> Any:
    wanted = list(network.labels)
    if network.kind == "softmax":
        return logits.softmax(-1)[:, wanted].sum(-1)
    if network.kind == "sigmoid":
        return logits.sigmoid()[:, wanted].amax(-1)
    return logits[:, 0]


def _batches(encoded: Sequence[list[int]], tokens: int) -> Iterator[list[int]]:
    """Yield the places of windows, longest first, as many as fit into `tokens` with padding."""
    order = sorted(range(len(encoded)), key=lambda at: (-len(encoded[at]), at))
    while order:
        size = max(1, tokens // max(len(encoded[order[0]]), 1))
        yield order[:size]
        order = order[size:]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def load(folder: Path, settings: Settings) -> Network:
    """Return the model of a folder, read once in a process.

    Raises:
        Mistake: it is no sequence classifier, lacks weights, or has no such label.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    check_labels(folder, settings.labels)
    try:
        tokenizer = load_pretrained(AutoTokenizer, folder, local_files_only=True)
        model, about = load_pretrained(
            AutoModelForSequenceClassification,
            folder,
            local_files_only=True,
            output_loading_info=True,
            dtype="float32",
        )
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(str(error).partition("\n")[0] or type(error).__name__) from error
    if about["missing_keys"]:
        raise _unreadable(f"no weights for {', '.join(sorted(about['missing_keys'])[:3])}")
    if not tokenizer.is_fast:
        raise _unreadable(f"a tokenizer without offsets ({type(tokenizer).__name__})")
    if tokenizer.pad_token is None:
        raise _unreadable("a tokenizer without a padding token")
    config = model.config
    takes = _takes(config, tokenizer)
    numbers = tuple(number for number, name in config.id2label.items() if name in settings.labels)
    multiple = getattr(config, "problem_type", None) == "multi_label_classification"
    kind = "number" if config.num_labels == 1 else "sigmoid" if multiple else "softmax"
    model.eval().to(settings.device)
    return Network(model, tokenizer, numbers, kind, min(settings.window_tokens or takes, takes))


def _takes(config: Any, tokenizer: Any) -> int:
    """Return how many tokens the model takes: a tokenizer that does not know says a number beyond all reason."""
    limits = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < 1_000_000 else []
    if positions := getattr(config, "max_position_embeddings", None):
        # RoBERTa and its kin number positions from the padding token on.
        limits.append(
            positions - 2 if "roberta" in config.model_type or config.model_type == "camembert" else positions
        )
    return min(limits or [512])


def check_labels(folder: Path, wanted: Sequence[str]) -> list[str]:
    """Return the labels of a classifier's folder. Raises Mistake if it is none, or has not all that are wanted."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise Failure("the model has no config.json that can be read", found=str(error)) from error
    kinds = config.get("architectures") or []
    if not any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        raise Mistake(
            "the model is no sequence classifier",
            found=", ".join(map(str, kinds)) or "no architecture in config.json",
            hint="choose a model whose config.json names a ...ForSequenceClassification",
        )
    labels = list((config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}).values())
    told = ", ".join(labels)
    missing = [label for label in wanted if label not in labels]
    if missing:
        raise Mistake(f"the model has no label '{missing[0]}'", found=told, hint="choose one of those")
    if not wanted and len(labels) > 1:
        raise Mistake("the model has several labels, and none is chosen", found=told, hint="label: ...")
    return labels


def _unreadable(found: str) -> Mistake:
    return Mistake(
        "the sequence classifier cannot be loaded",
        found=found,
        hint="give a folder as `save_pretrained` writes it, with a tokenizer.json",
    )
