"""What surrounds the weights of a model: configuration, tied embeddings, tokenizer. Compared, carried, changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metier.core import Mistake, Work
from metier.core.files import write_json_atomic
from metier.train.weights.reading import DTYPES, INDEX, Weights
from metier.train.weights.writing import Plan, Produce, write_model

_INPUTS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
_OUTPUTS = ("lm_head.weight", "embed_out.weight")
_BESIDE = ("*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "LICENSE*")
_NOT_BESIDE = ("config.json", INDEX, "adapter_config.json")
_TOKENIZER = ("*token*", "vocab.json", "merges.txt", "vocab.txt", "*.model", "*.jinja")

FORMATS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""Names of number formats as recipes give them, and as safetensors does."""


class ModelFolder:
    """A Hugging Face folder: its configuration and its weights, which stay on disk.

    Args:
        called: what to call it to the user.

    Raises:
        Mistake: it has no readable config.json, a shard is missing or cut, or its weights are quantised.
    """

    def __init__(self, folder: Path, called: str) -> None:
        self.folder, self.called = folder, called
        self.config = _config(folder, called)
        if "quantization_config" in self.config:
            kind = self.config["quantization_config"].get("quant_method", "an unknown method")
            raise Mistake(
                f"{called} is quantised: its weights cannot be reckoned with",
                found=f"quantization_config by {kind}",
                hint="take the model's 16-bit weights",
            )
        self.weights = Weights(folder, called)
        self.inputs = self._embedding(_INPUTS)
        self.outputs = next((name for name in self.weights.places if name.endswith(_OUTPUTS)), None)
        # Some classes tie by default and do not say so; their files then hold no head.
        self.tied = self.outputs is None or bool(self.text_config.get("tie_word_embeddings"))

    @property
    def text_config(self) -> dict[str, Any]:
        """The configuration of the language model: the whole one, or a part where the model also sees or hears."""
        found = self.config.get("text_config", self.config)
        return {"tie_word_embeddings": self.config.get("tie_word_embeddings"), **found}

    @property
    def names(self) -> list[str]:
        """The names of the tensors that count, in their order: a head that is tied is read from the embeddings."""
        return [name for name in self.weights.places if not (self.tied and name == self.outputs)]

    def plans(self, dtype: str | None = None) -> dict[str, Plan]:
        """Return formats and shapes as they are, or with floating-point tensors in `dtype` (`FORMATS`)."""
        found = {}
        for name in self.names:
            place = self.weights.places[name]
            floating = DTYPES[place.dtype].is_floating_point
            found[name] = Plan(FORMATS[dtype] if dtype and floating else place.dtype, place.shape)
        return found

    def vocabulary(self) -> dict[str, int]:
        """Return the tokenizer's tokens with their ids, added ones too."""
        return vocabulary_of(self.folder, self.called)

    def _embedding(self, endings: tuple[str, ...]) -> str:
        for name in self.weights.places:
            if name.endswith(endings):
                return name
        first = ", ".join(list(self.weights.places)[:3])
        raise Mistake(f"{self.called} has no token embeddings", found=first, hint="give a causal language model")


def _config(folder: Path, called: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise Mistake(f"{called} has no config.json", found=str(folder), hint="give a model's folder") from None
    except ValueError as error:
        raise Mistake(f"the config.json of {called} cannot be read", found=str(error), hint="copy it again") from error
    return found


def vocabulary_of(folder: Path, called: str) -> dict[str, int]:
    """Return the tokens of a folder's tokenizer with their ids. Raises Mistake if there is none."""
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            told = json.loads(path.read_text())
            vocabulary = told["model"]["vocab"]
        except (ValueError, KeyError) as error:
            raise Mistake(
                f"the tokenizer.json of {called} cannot be read", found=repr(error)[:200], hint="copy it again"
            ) from error
        pairs = (
            vocabulary.items() if isinstance(vocabulary, dict) else ((row[0], at) for at, row in enumerate(vocabulary))
        )
        return {**dict(pairs), **{token["content"]: token["id"] for token in told.get("added_tokens", ())}}
    from metier.train.network import load_tokenizer

    return dict(load_tokenizer(folder).get_vocab())


def check_alike(one: ModelFolder, other: ModelFolder, rows_may_differ: bool = False) -> list[str]:
    """Raise Mistake, naming the first difference, unless two models have the same architecture, tensors and shapes.

    Args:
        rows_may_differ: their embeddings may have unlike numbers of rows.

    Returns:
        Differences that do not forbid arithmetic but are to be told, one sentence each.
    """
    kinds = [str(model.config.get("model_type")) for model in (one, other)]
    if kinds[0] != kinds[1]:
        raise _unlike(one, other, f"model_type {kinds[0]} and {kinds[1]}")
    if one.tied != other.tied:
        loose = other if one.tied else one
        raise _unlike(
            one, other, f"{loose.called} has a head of its own ({loose.outputs}), the other shares its embeddings"
        )
    mine, others = set(one.names), set(other.names)
    for name in [*one.names, *other.names]:
        if name not in mine or name not in others:
            lacks = other if name in mine else one
            raise _unlike(one, other, f"{lacks.called} has no {name}")
        shapes = one.weights.places[name].shape, other.weights.places[name].shape
        if rows_may_differ and name in (one.inputs, one.outputs):
            shapes = shapes[0][1:], shapes[1][1:]
        if shapes[0] != shapes[1]:
            raise _unlike(one, other, f"{name} is {list(shapes[0])} and {list(shapes[1])}")
    thetas = [_rope_theta(model.text_config) for model in (one, other)]
    if thetas[0] != thetas[1]:
        return [f"{one.called} and {other.called} rotate positions by unlike bases ({thetas[0]} and {thetas[1]})"]
    return []


def _rope_theta(config: Mapping[str, Any]) -> Any:
    return (config.get("rope_parameters") or {}).get("rope_theta", config.get("rope_theta"))


def check_vocabularies(one: ModelFolder, other: ModelFolder) -> None:
    """Raise Mistake, naming the first difference, unless two models give every id the same meaning."""
    mine, others = one.vocabulary(), other.vocabulary()
    if mine == others:
        return
    for token, number in sorted(mine.items(), key=lambda pair: pair[1]):
        if others.get(token) != number:
            raise _unlike(one, other, f"the token {token!r} is {number} in one and {others.get(token)} in the other")
    extra = min(others.keys() - mine.keys(), key=lambda token: others[token])
    raise _unlike(one, other, f"only {other.called} has the token {extra!r} ({others[extra]})")


def _unlike(one: ModelFolder, other: ModelFolder, found: str) -> Mistake:
    return Mistake(
        f"{one.called} and {other.called} are not of one family",
        found=found,
        hint="take models that were trained from the same base",
    )


def write_folder(
    work: Work,
    folder: Path,
    like: ModelFolder,
    plans: Mapping[str, Plan],
    produce: Produce,
    shard_bytes: int,
    changes: Mapping[str, Any] | None = None,
    what: str = "writing weights",
) -> None:
    """Write weights to `folder`, and beside them the configuration and the files of `like`.

    Args:
        changes: of the configuration, its text part where it has one.
    """
    total = sum(plan.size for plan in plans.values())
    with work.progress(what, total, "bytes") as bar:
        write_model(folder, plans, produce, bar, shard_bytes)
    config = dict(like.config)
    formats = {plan.dtype for plan in plans.values()} & set(FORMATS.values())
    told = {code: name for name, code in FORMATS.items()}
    if len(formats) == 1:
        config.pop("torch_dtype", None)
        config["dtype"] = told[formats.pop()]
    for key, value in (changes or {}).items():
        inner = isinstance(config.get("text_config"), dict) and key in config["text_config"]
        if inner:
            config["text_config"] = {**config["text_config"], key: value}
        if not inner or key in config:
            config[key] = value
    write_json_atomic(folder / "config.json", config)
    carry(like.folder, folder, _BESIDE)


def carry(source: Path, target: Path, patterns: Iterable[str] = _TOKENIZER) -> None:
    """Copy files byte for byte, those of the tokenizer if no patterns are given; what is there already stays."""
    for path in sorted({path for pattern in patterns for path in source.glob(pattern)}):
        if path.is_file() and path.name not in _NOT_BESIDE and not (target / path.name).exists():
            partial = target / f".{path.name}.partial"
            shutil.copyfile(path, partial)
            partial.replace(target / path.name)


def largest(models: Sequence[ModelFolder]) -> int:
    """Return the bytes of the largest tensor of several models."""
    return max(place.size for model in models for place in model.weights.places.values())
