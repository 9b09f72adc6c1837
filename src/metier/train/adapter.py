"""After an adapter's training: keep it, merge it into the base, and prove that the merged model says the same."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metier.core import Failure, Work
from metier.core.files import write_json_atomic
from metier.core.pretrained import load_pretrained
from metier.train.options import Settings
from metier.train.packing import NOT_TRAINED, Window
from metier.train.weights.closeness import ROW_TOKENS, Closeness, Row, Said, closeness, said

BOUND = 1e-3
"""Most nats of KL(base + adapter ‖ merged) a token. Both in float32, a merge of SmolLM2-135M was at 1.4e-9."""

BOUND_4_BIT = 1e-2
"""The same for an adapter of a 4-bit base, whose products the training rounds to 16 bits; SmolLM2-135M: 1.6e-3."""

_ROWS = 8


Packed = dict[str, tuple[torch.Tensor, Any]]
"""4-bit matrices: their bytes, and bitsandbytes' state of scales."""


class Merge(NamedTuple):
    """One way to merge: its name, how far the result is from base + adapter, and its loss on the rows' answers."""

    way: str
    closeness: Closeness
    loss: float


def keep_adapter(network: Any, base: Path, folder: Path) -> None:
    """Save the adapter of a PEFT model to `folder`. Its base is named by its step's folder, not by a path."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    network.save_pretrained(part, save_embedding_layers=False)
    config = part / "adapter_config.json"
    told = json.loads(config.read_text()) | {"base_model_name_or_path": base.resolve().parent.name}
    write_json_atomic(config, told)
    (part / "README.md").unlink(missing_ok=True)  # PEFT's empty form of a card
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def merged(network: Any, base: Path, adapter: Path, settings: Settings, rows: Sequence[Row], work: Work) -> Any:
    """Return the base with the adapter merged into it, in float32, after comparing logits on rows of the training.

    An adapter of a 4-bit base is merged onto the base's own weights and onto their 4-bit values, and the merge with the
    lower loss on the rows is returned. One merge is in memory at a time, beside the base in 4 bits.

    Args:
        network: the trained PEFT model; it is emptied.
        adapter: where the adapter was saved.
        rows: of the training, or of those it is validated on.

    Raises:
        Failure: the merged model does not say what base and adapter say.
    """
    found: list[Merge] = []
    if settings.method == "qlora":
        packed = _packed(network)
        trained = _said_in_training(network, rows)
        free(network)
        other, full = _merge(base, adapter, rows, {}, None)
        free(other)
        result, four = _merge(base, adapter, rows, packed, trained)
        found.append(Merge("onto the 4-bit values", *four))
        found.append(Merge("onto the base's own weights", *full))
        if full[1] < four[1]:  # seldom: the adapter was trained beside the 4-bit values
            free(result)
            result, _ = _merge(base, adapter, rows, {}, None)
        bound = BOUND_4_BIT
    else:
        free(network)
        result, figures = _merge(base, adapter, rows, {}, None)
        found.append(Merge("onto the base's own weights", *figures))
        bound = BOUND
    chosen = min(found, key=lambda one: one.loss)
    for one in found:
        work.event("merge", way=one.way, loss=round(one.loss, 5), **one.closeness._asdict())
        # Written so that a divergence that is no number is refused too.
        if not one.closeness.divergence <= bound:
            raise Failure(
                "the merged model does not say what base and adapter say",
                found=f"{one.way}: {one.closeness.divergence:.2g} nats a token apart, {bound:g} are allowed",
                hint=f"serve base and adapter apart: the adapter is in {adapter}",
            )
    told = {one.way: {"loss": round(one.loss, 5), "divergence": one.closeness.divergence} for one in found}
    work.figure("merge", {"kept": chosen.way, "bound": bound, "tokens": chosen.closeness.tokens, **told})
    return result


def rows_of(windows: Sequence[Window]) -> list[Row]:
    """Return some rows out of windows, with the positions of their answers, as `closeness` takes them."""
    step = max(1, len(windows) // _ROWS)
    chosen = windows[::step][:_ROWS]
    rows: list[Row] = []
    for window in chosen:
        for block in window.blocks[: -(-_ROWS // len(chosen))]:
            end = block.start + block.prefix + block.tails[0]
            ids, targets = window.ids[block.start : end], window.targets[block.start : end]
            first = max(0, len(ids) - ROW_TOKENS)
            answer = [at + 1 for at, target in enumerate(targets[first:-1]) if target != NOT_TRAINED]
            rows.append(Row(list(ids[first:]), answer))
    return rows


def free(network: Any) -> None:
    """Give a model's memory back: whoever still holds it holds nothing."""
    network.to("meta") if not getattr(network, "is_quantized", False) else _empty(network)
    gc.collect()


def _empty(network: Any) -> None:
    for parameter in network.parameters():
        parameter.data = torch.empty(0, device=parameter.device, dtype=parameter.dtype)


def _merge(
    base: Path, adapter: Path, rows: Sequence[Row], packed: Packed, trained: Said | None
) -> tuple[Any, tuple[Closeness, float]]:
    """Merge, and compare with `trained`, or where it is None with base + adapter as they are before the merge.

    Args:
        packed: 4-bit matrices whose values stand in for the base's own.
    """
    import peft
    import transformers

    network = load_pretrained(transformers.AutoModelForCausalLM, base, dtype=torch.float32)
    with torch.no_grad():
        for name, (weight, state) in packed.items():
            network.get_parameter(name).copy_(_unpacked(weight, state))
    pair = peft.PeftModel.from_pretrained(network, adapter).eval()
    reference = trained or said(pair, rows)
    result = pair.merge_and_unload(safe_merge=True)
    after = said(result, rows)
    assert after.loss is not None
    return result, (closeness(reference, after), after.loss)


def _said_in_training(network: Any, rows: Sequence[Row]) -> Said:
    """Return what the trained model says, by the forward that its class has and the training put aside."""
    inner = network.get_base_model()
    ours = inner.__dict__.pop("forward")
    attention, inner.config._attn_implementation = inner.config._attn_implementation, "sdpa"
    try:
        return said(network.eval(), rows)
    finally:
        inner.forward, inner.config._attn_implementation = ours, attention


def _packed(network: Any) -> Packed:
    """Return the 4-bit matrices of a PEFT model, by the names they have in the base."""
    found: Packed = {}
    for name, part in network.get_base_model().named_modules():
        if name.endswith("base_layer") and (state := getattr(part.weight, "quant_state", None)) is not None:
            found[name.removesuffix("base_layer") + "weight"] = part.weight.data, state
    return found


def _unpacked(weight: torch.Tensor, state: Any) -> torch.Tensor:
    """Return the values that a 4-bit matrix stands for."""
    from bitsandbytes import functional

    values: torch.Tensor = functional.dequantize_4bit(weight, state)
    return values
