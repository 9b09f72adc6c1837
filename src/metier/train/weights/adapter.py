"""A LoRA adapter as PEFT saves it: what it changes of which tensor of its base, checked before anything is written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metier.core import Mistake
from metier.train.weights.folder import ModelFolder
from metier.train.weights.reading import Span, Weights

CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
# What changes the forward pass in a way that no weight of the base can hold, or that is not known here.
_REFUSED = (
    "alora_invocation_tokens",
    "layer_replication",
    "megatron_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
_PART = re.compile(
    r"^(?P<module>.+?)\.(?P<part>lora_(?:embedding_)?[AB]|lora_magnitude_vector)(?P<rest>\.weight|\.bias)?$"
)


class Update(NamedTuple):
    """A low-rank change of one tensor: names of its factors in the adapter, and what their product is multiplied by.

    turned: the base's rows are the columns of A, as in embeddings and in layers that keep their weight as [in, out].
    magnitude: the name of DoRA's row lengths, if it has them.
    """

    a: str
    b: str
    scale: float
    turned: bool
    magnitude: str | None


class Adapter:
    """An adapter folder held against the base model that it is to be merged into.

    Raises:
        Mistake: it is no LoRA adapter, has settings that cannot be merged, or does not fit the base; the first tensor
            that does not is named.
    """

    def __init__(self, folder: Path, base: ModelFolder) -> None:
        self.folder, self.base = folder, base
        self.config = _settings(folder)
        self.weights = Weights(folder, "the adapter")
        self.updates: dict[str, Update] = {}
        self.replaced: dict[str, str] = {}
        parts: dict[str, dict[str, str]] = {}
        for name in self.weights.places:
            found = _PART.match(_bare(name))
            if found is None:
                self.replaced[_bare(name).replace(".base_layer.", ".")] = name
            else:
                parts.setdefault(found["module"], {})[found["part"] + (".bias" if found["rest"] == ".bias" else "")] = (
                    name
                )
        for module, named in parts.items():
            self._add(module, named)
        self._check_replaced()
        if not self.updates and not self.replaced:
            raise Mistake(
                "the adapter changes nothing", found=f"no LoRA tensor in {folder}", hint="give another folder"
            )

    @property
    def unties(self) -> bool:
        """Whether input and output embeddings, one in the base, are two once the adapter is merged."""
        touched = self.changed
        one = self.base.inputs in touched or _head(self.base) in touched
        return self.base.tied and one and not self.config.get("ensure_weight_tying")

    @property
    def changed(self) -> set[str]:
        """The names of the base's tensors that the adapter changes or replaces."""
        return {*self.updates, *self.replaced}

    def merged(self, name: str, start: torch.Tensor, span: Span | None) -> torch.Tensor:
        """Return the rows `span` of the merged tensor `name` in float32, from the base's rows `start`."""
        if name in self.replaced:
            start = self.weights.read(self.replaced[name], span)
        weight = start.float()
        if name not in self.updates:
            return weight
        update = self.updates[name]
        a, b = self.weights.read(update.a).float(), self.weights.read(update.b).float()
        if update.turned:
            delta = (a[:, span.first : span.end] if span else a).T @ b.T
        else:
            delta = (b[span.first : span.end] if span else b) @ a
        weight = weight + delta * update.scale
        if update.magnitude is not None:  # DoRA: each row gets the length that was trained for it (Liu et al. 2024)
            lengths = self.weights.read(update.magnitude, span).float()
            weight = weight * (lengths / weight.norm(dim=1))[:, None]
        return weight

    def _add(self, module: str, named: Mapping[str, str]) -> None:
        name = f"{module}.weight"
        embedding = "lora_embedding_A" in named
        pair = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
        lacks = [part for part in pair if part not in named]
        if lacks or "lora_B.bias" in named:
            found = f"{module} lacks {lacks[0]}" if lacks else f"{module} has a trained bias (lora_bias)"
            raise Mistake(
                "the adapter cannot be merged", found=found, hint="save it again with PEFT, without lora_bias"
            )
        a, b = named[pair[0]], named[pair[1]]
        shape = self._shape_of(name, module)
        turned = embedding or bool(self.config.get("fan_in_fan_out"))
        rank, columns = self.weights.shape(a)
        made = (columns, self.weights.shape(b)[0]) if turned else (self.weights.shape(b)[0], columns)
        if made != shape or self.weights.shape(b)[1] != rank:
            raise Mistake(
                f"the adapter does not fit {self.base.called}",
                found=f"{module}: {list(made)} for a weight of {list(shape)}",
                hint="give the base model that it was trained on",
            )
        magnitude = named.get("lora_magnitude_vector")
        if magnitude is not None and turned:
            raise Mistake("DoRA on embeddings cannot be merged", found=module, hint="serve the adapter beside its base")
        self.updates[name] = Update(a, b, self._scale(module, rank), turned, magnitude)

    def _scale(self, module: str, rank: int) -> float:
        alpha = float(_by_pattern(self.config.get("alpha_pattern") or {}, module, self.config["lora_alpha"]))
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _shape_of(self, name: str, module: str) -> tuple[int, ...]:
        if name == _head(self.base) and self.base.tied:
            return self.base.weights.shape(self.base.inputs)
        if name not in self.base.weights:
            raise Mistake(
                f"the adapter does not fit {self.base.called}",
                found=f"it changes {module}, and {self.base.called} has no {name}",
                hint="give the base model that it was trained on",
            )
        return self.base.weights.shape(name)

    def _check_replaced(self) -> None:
        for name, saved in self.replaced.items():
            shape = self._shape_of(name, name.removesuffix(".weight"))
            if self.weights.shape(saved) != shape:
                raise Mistake(
                    f"the adapter does not fit {self.base.called}",
                    found=f"{name} is {list(self.weights.shape(saved))} in it and {list(shape)} in the base",
                    hint="if it was trained with more tokens, give the base with the same ones",
                )


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        there = ", ".join(sorted(file.name for file in folder.glob("*"))[:8]) or "nothing"
        raise Mistake(f"{folder.name} holds no adapter", found=there, hint=f"give the folder with {CONFIG}") from None
    except ValueError as error:
        raise Mistake(f"{CONFIG} cannot be read", found=str(error), hint="copy the adapter again") from error
    kind = config.get("peft_type")
    if kind != "LORA":
        raise Mistake("only LoRA adapters can be merged", found=f"peft_type {kind}", hint="serve it beside its base")
    strange = [name for name in _REFUSED if config.get(name)]
    if strange:
        raise Mistake(
            "the adapter has a setting that no merged weight can hold, or that is not known here",
            found=f"{strange[0]} = {config[strange[0]]}",
            hint="merge it with PEFT itself, and check the result",
        )
    return config


def adapter_folder(folder: Path) -> Path:
    """Return where in an artifact's folder the adapter lies. Raises Mistake if there is none."""
    for place in (folder, folder / "adapter", folder / "model", folder / "model" / "adapter"):
        if (place / CONFIG).is_file():
            return place
    there = ", ".join(sorted(path.name for path in folder.glob("*"))[:8]) or "nothing"
    raise Mistake(f"{folder.name} holds no adapter", found=there, hint=f"give the folder with {CONFIG}")


def plans_with(adapter: Adapter, plans: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plans of the merged model: with a head of its own where the adapter parts it from the embeddings."""
    base = adapter.base
    return {**plans, _head(base): plans[base.inputs]} if adapter.unties else dict(plans)


def source_of(adapter: Adapter, name: str) -> str:
    """Return the base's tensor that the merged tensor `name` starts from."""
    base = adapter.base
    return base.inputs if base.tied and name == _head(base) else name


def _head(base: ModelFolder) -> str:
    return base.outputs or "lm_head.weight"


def _bare(name: str) -> str:
    return name.removeprefix(_PREFIX)


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """Return the value of the first pattern that the end of a module's name matches, as PEFT looks it up."""
    keys: Iterable[str] = patterns
    return next((patterns[key] for key in keys if re.match(rf"(.*\.)?({key})$", module)), default)
