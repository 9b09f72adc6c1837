"""Merging an adapter: the weights are PEFT's own merge, the words are those of base + adapter, and lies are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from metier.core import Failure, Mistake, Workshop
from metier.core.types import Model
from metier.train import MergeAdapter
from metier.train.weights.four_bit import rounded
from tests.train.bench import HOST, Given, Talks
from tests.train.test_weights import cast, family, tensors

__all__ = ["family"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # PEFT's, on tied embeddings

ATTENTION = ["q_proj", "v_proj", "down_proj"]


def adapter(base: Path, folder: Path, size: float = 0.05, **settings: Any) -> Path:
    """Save a random adapter of `base`, and PEFT's own merge of it beside it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ATTENTION, **settings}
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * (size if "magnitude" not in name else 0.1 * size))
    network.save_pretrained(str(folder))
    merged = network.merge_and_unload()
    torch.save({name: value.clone() for name, value in merged.state_dict().items()}, folder / "merged.pt")
    return folder


def merge(base: Path, folder: Path, workshop: Path, **fields: Any) -> Model:
    return Workshop(workshop, HOST).make(MergeAdapter(base=Given(at=str(base)), adapter_folder=folder, **fields))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "r": 6},
        {"use_dora": True},
        {"alpha_pattern": {"layers.1.self_attn.q_proj": 32, "v_proj": 3}, "rank_pattern": {"down_proj": 2}},
        {"modules_to_save": ["post_attention_layernorm"]},
    ],
    ids=["plain", "rslora", "dora", "patterns", "whole modules"],
)
def test_the_merged_weights_are_those_of_pefts_own_merge(
    family: list[Path], tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = adapter(family[0], tmp_path / "a", **settings)
    model = merge(family[0], folder, tmp_path / "w")
    wanted = torch.load(folder / "merged.pt")
    found = tensors(model.model_folder)
    base = tensors(family[0])
    assert all(torch.allclose(value, wanted[name], atol=1e-6) for name, value in found.items())
    assert any(not torch.equal(value, base[name]) for name, value in found.items())
    figures = model.record.figures
    assert figures["divergence"] < 1e-6 < 1e-4 < figures["effect"] and figures["lost_by_rounding"] < 1e-6


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_tied_embeddings_of_which_one_was_trained_are_parted(family: list[Path], tmp_path: Path, target: str) -> None:
    from transformers import AutoModelForCausalLM

    folder = adapter(family[0], tmp_path / "a", target_modules=["q_proj", target])
    model = merge(family[0], folder, tmp_path / "w")
    network = AutoModelForCausalLM.from_pretrained(model.model_folder)
    assert network.config.tie_word_embeddings is False
    assert not torch.equal(network.lm_head.weight, network.model.embed_tokens.weight)
    assert "a head of its own" in model.record.warnings[0] and model.record.figures["divergence"] < 1e-6


def test_a_16_bit_base_keeps_its_format_and_the_rounding_is_told(family: list[Path], tmp_path: Path) -> None:
    base = cast(family[0], tmp_path / "base", torch.bfloat16)
    model = merge(base, adapter(base, tmp_path / "a"), tmp_path / "w", rows=Talks())
    assert {value.dtype for value in tensors(model.model_folder).values()} == {torch.bfloat16}
    assert 1e-4 < model.record.figures["lost_by_rounding"] < 0.2


def test_a_change_that_rounding_eats_is_refused_and_float32_saves_it(family: list[Path], tmp_path: Path) -> None:
    base = cast(family[0], tmp_path / "base", torch.bfloat16)
    folder = adapter(base, tmp_path / "a", size=1e-4)
    with pytest.raises(Failure) as caught:
        merge(base, folder, tmp_path / "w")
    assert "rounding lost 7" in str(caught.value.found) and "dtype: float32" in str(caught.value.hint)
    model = merge(base, folder, tmp_path / "w", dtype="float32")
    assert model.record.figures["lost_by_rounding"] == 0


def test_a_merge_that_lost_the_adapter_is_refused(
    family: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metier.train.weights.adapter import Adapter

    folder = adapter(family[0], tmp_path / "a", size=0.02)
    monkeypatch.setattr(Adapter, "merged", lambda self, name, start, span: start.float())
    with pytest.raises(Failure, match="does not say what base and adapter say"):
        merge(family[0], folder, tmp_path / "w", bound=1e9)
    assert not list((tmp_path / "w").glob("merge-adapter-*/model"))


def test_an_adapter_of_another_model_is_refused_by_its_first_module(family: list[Path], tmp_path: Path) -> None:
    from metier.models.tiny import make_tiny_model

    wide = make_tiny_model(tmp_path / "wide", hidden=96)
    deep = make_tiny_model(tmp_path / "deep", layers=3)
    with pytest.raises(Mistake, match="does not fit the base") as caught:
        merge(family[0], adapter(wide, tmp_path / "a"), tmp_path / "w")
    assert "proj" in str(caught.value.found) and "[" in str(caught.value.found)
    with pytest.raises(Mistake, match="does not fit the base") as caught:
        merge(family[0], adapter(deep, tmp_path / "b"), tmp_path / "w")
    assert "model.layers.2." in str(caught.value.found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type IA3"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
    ],
)
def test_what_cannot_be_merged_is_named(family: list[Path], tmp_path: Path, change: dict[str, Any], said: str) -> None:
    folder = adapter(family[0], tmp_path / "a")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(Mistake) as caught:
        merge(family[0], folder, tmp_path / "w")
    assert said in str(caught.value.found)


def test_half_a_pair_of_factors_is_named(family: list[Path], tmp_path: Path) -> None:
    folder = adapter(family[0], tmp_path / "a")
    weights = load_file(folder / "adapter_model.safetensors")
    gone = next(name for name in weights if "q_proj.lora_B" in name)
    save_file({name: value for name, value in weights.items() if name != gone}, folder / "adapter_model.safetensors")
    with pytest.raises(Mistake) as caught:
        merge(family[0], folder, tmp_path / "w")
    assert "self_attn.q_proj lacks lora_B" in str(caught.value.found)


def test_a_folder_without_an_adapter_is_named(family: list[Path], tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="holds no adapter"):
        merge(family[0], family[1], tmp_path / "w")


def test_a_4_bit_base_is_merged_both_ways_and_the_nearer_is_kept(family: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder = adapter(family[0], tmp_path / "a")
    model = merge(family[0], folder, tmp_path / "w", trained_on="nf4")
    told = json.loads((model.folder / "merge.json").read_text())
    by_way = {one["way"]: one["closeness"]["divergence"] for one in told["tried"]}
    # The weights that the training saw, plus the adapter, are what was trained; the 16-bit ones are not.
    assert by_way["4-bit"] < 1e-6 < by_way["16-bit"] and told["kept"] == "4-bit" == model.record.figures["kept"]
    name = "model.layers.0.self_attn.k_proj.weight"  # not in the adapter: what is saved is the rounded base
    assert torch.equal(tensors(model.model_folder)[name], rounded(tensors(family[0])[name], "nf4"))
    embeddings = "model.embed_tokens.weight"
    assert torch.equal(tensors(model.model_folder)[embeddings], tensors(family[0])[embeddings])


def test_with_rows_the_lower_loss_on_their_answers_decides() -> None:
    from metier.train.weights.closeness import Closeness
    from metier.train.weights.merge_adapter import Tried, better

    near, far = Closeness(0.001, 0.1, 1.0, 0.1, 10), Closeness(0.01, 0.1, 1.0, 0.1, 10)
    ways = [Tried("16-bit", 0, far, 1.20), Tried("4-bit", 0, near, 1.25)]
    assert min(ways, key=better).way == "16-bit"
    assert min([one._replace(loss=1.2) for one in ways], key=better).way == "4-bit"
    assert min([one._replace(loss=None) for one in ways], key=better).way == "4-bit"


def test_nf4_rounds_to_sixteen_levels_of_a_block_of_64() -> None:
    pytest.importorskip("bitsandbytes")
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    back = rounded(weight, "nf4")
    # Dettmers et al. 2023, appendix E: the quantiles of a normal distribution, normalised to ±1.
    below, above = (
        (-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911),
        (0.0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0),
    )
    levels = torch.tensor([*below, *above])
    for row, found in zip(weight, back, strict=True):
        scale = row.abs().max()
        nearest = levels[(row[:, None] / scale - levels).abs().argmin(dim=1)] * scale
        assert torch.allclose(found, nearest, atol=2e-3)


def test_a_merge_goes_on_after_a_kill(family: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.train.weights import closeness

    folder = adapter(family[0], tmp_path / "a")
    monkeypatch.setattr(closeness, "said", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        merge(family[0], folder, tmp_path / "w")
    left = next((tmp_path / "w").glob("merge-adapter-*/.merged-16-bit/model.safetensors"))
    written = left.stat().st_mtime_ns
    monkeypatch.undo()
    model = merge(family[0], folder, tmp_path / "w")
    assert (model.model_folder / "model.safetensors").stat().st_mtime_ns == written
    assert model.record.figures["effect"] > 0 and model.record.figures["lost_by_rounding"] < 1e-6
    assert not [path.name for path in model.folder.iterdir() if path.name.startswith(".merged")]
    shutil.rmtree(model.folder)
