"""Tensors read and written as a stream: exactness, bounded shards, resuming, and files that are not whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from metier.core import Failure, Mistake, Progress
from metier.models.tiny import make_tiny_model
from metier.train.weights.folder import ModelFolder, check_alike, check_vocabularies
from metier.train.weights.reading import Span, Weights, spans
from metier.train.weights.writing import Plan, cut, write_model


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tiny models of one shape and one tokenizer. Do not write to them."""
    folder = tmp_path_factory.mktemp("family")
    return [make_tiny_model(folder / f"m{seed}", seed=seed) for seed in range(3)]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def cast(folder: Path, target: Path, dtype: torch.dtype) -> Path:
    """Copy a model folder with its weights in another number format."""
    shutil.copytree(folder, target)
    save_file({name: value.to(dtype) for name, value in tensors(folder).items()}, target / "model.safetensors")
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "dtype": str(dtype).removeprefix("torch.")}))
    return target


def copy_of(folder: Path, target: Path, shard_bytes: int) -> Path:
    model = ModelFolder(folder, "it")
    with Progress().bar("x") as bar:
        write_model(target, model.plans(), lambda name: iter([model.weights.read(name)]), bar, shard_bytes)
    return target


def test_what_is_read_is_what_safetensors_reads(family: list[Path]) -> None:
    weights = Weights(family[0])
    for name, value in load_file(family[0] / "model.safetensors").items():
        assert torch.equal(weights.read(name), value)
        pieces = [weights.read(name, span) for span in spans(weights.shape(name), values=300)]
        assert torch.equal(torch.cat(pieces), value) and (value.numel() <= 300 or len(pieces) > 1)


def test_rows_that_a_tensor_has_not_are_never_those_of_the_next_one(family: list[Path]) -> None:
    weights = Weights(family[0])
    name = "model.embed_tokens.weight"
    rows = weights.shape(name)[0]
    assert len(weights.read(name, Span(rows, rows))) == 0
    for span in (Span(rows, rows + 1), Span(rows - 1, rows + 1), Span(-1, 1), Span(2, 1)):
        with pytest.raises(ValueError, match=r"of model\.embed_tokens\.weight, which has"):
            weights.read(name, span)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_written_is_read_by_safetensors_in_its_own_format(
    family: list[Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    source = cast(family[0], tmp_path / "source", dtype)
    target = copy_of(source, tmp_path / "target", 1 << 30)
    with safe_open(target / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    before, after = tensors(source), tensors(target)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and after[name].dtype == dtype for name in before)


def test_shards_are_bounded_and_their_index_loads(family: list[Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    target = tmp_path / "target"
    shutil.copytree(family[0], target, ignore=shutil.ignore_patterns("*.safetensors"))
    largest = max(value.nbytes for value in tensors(family[0]).values())
    copy_of(family[0], target, largest)
    shards = sorted(target.glob("*.safetensors"))
    assert len(shards) > 2 and shards[0].name == f"model-00001-of-{len(shards):05d}.safetensors"
    assert all(sum(value.nbytes for value in load_file(shard).values()) <= largest for shard in shards)
    network = AutoModelForCausalLM.from_pretrained(target)
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in tensors(family[0]).items())


def test_a_tensor_larger_than_a_shard_is_refused_by_name() -> None:
    plans = {"a": Plan("F32", (10,)), "b": Plan("F32", (100,))}
    assert cut(plans, 400) == [["a"], ["b"]] and cut(plans, 440) == [["a", "b"]]
    with pytest.raises(Mistake, match="b does not fit"):
        cut(plans, 399)


def test_a_killed_write_goes_on_at_the_next_shard(family: list[Path], tmp_path: Path) -> None:
    model = ModelFolder(family[0], "it")
    largest = max(plan.size for plan in model.plans().values())
    made: list[str] = []

    def produce(name: str) -> Iterator[torch.Tensor]:
        made.append(name)
        if dying and len(made) == 8:
            raise KeyboardInterrupt
        yield model.weights.read(name)

    dying = True
    with Progress().bar("x") as bar, pytest.raises(KeyboardInterrupt):
        write_model(tmp_path, model.plans(), produce, bar, largest)
    whole = {file.name for file in tmp_path.glob("model*.safetensors")}
    assert whole and (tmp_path / "model.safetensors.index.json").exists() is False
    kept = [name for file in whole for name in load_file(tmp_path / file)]
    dying, made = False, []
    with Progress().bar("x") as bar:
        write_model(tmp_path, model.plans(), produce, bar, largest)
    assert not set(kept) & set(made) and {*kept, *made} == set(model.names)
    assert not list(tmp_path.glob(".*.partial"))
    after = tensors(tmp_path)
    assert all(torch.equal(value, after[name]) for name, value in tensors(family[0]).items())


def test_what_does_not_fit_the_format_is_not_saved(tmp_path: Path) -> None:
    with Progress().bar("x") as bar, pytest.raises(Failure, match="a does not fit F16"):
        write_model(tmp_path, {"a": Plan("F16", (1,))}, lambda _: iter([torch.tensor([1e6])]), bar)
    assert not list(tmp_path.glob("*.safetensors"))


def broken(family: list[Path], folder: Path, name: str, value: float) -> Path:
    shutil.copytree(family[0], folder)
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[7] = value
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_named_by_tensor(family: list[Path], tmp_path: Path, value: float) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    weights = Weights(broken(family, tmp_path / "m", name, value), "the base")
    with pytest.raises(Mistake) as caught:
        weights.read(name)
    assert "the base" in caught.value.what and name in str(caught.value.found)


@pytest.mark.parametrize("kept", [0, 5, 4000, -1])
def test_a_cut_file_is_told_before_any_tensor_is_read(family: list[Path], tmp_path: Path, kept: int) -> None:
    shutil.copytree(family[0], tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(Mistake, match="damaged or cut short"):
        Weights(tmp_path / "m")


def test_a_missing_shard_is_named(family: list[Path], tmp_path: Path) -> None:
    shutil.copytree(family[0], tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors"))
    copy_of(family[0], tmp_path / "m", 200_000)
    shards = sorted((tmp_path / "m").glob("*.safetensors"))
    shards[1].unlink()
    with pytest.raises(Mistake, match=f"lacks 1 of its {len(shards)} shards") as caught:
        ModelFolder(tmp_path / "m", "the base")
    assert shards[1].name in str(caught.value.found)


def test_pickled_weights_are_not_read(family: list[Path], tmp_path: Path) -> None:
    shutil.copytree(family[0], tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "m" / "pytorch_model.bin").touch()
    with pytest.raises(Mistake) as caught:
        ModelFolder(tmp_path / "m", "the base")
    assert "runs code" in str(caught.value.hint)


def test_quantised_weights_are_refused(family: list[Path], tmp_path: Path) -> None:
    shutil.copytree(family[0], tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    quantised = {**config, "quantization_config": {"quant_method": "bitsandbytes"}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(quantised))
    with pytest.raises(Mistake, match="quantised") as caught:
        ModelFolder(tmp_path / "m", "the base")
    assert "bitsandbytes" in str(caught.value.found)


def test_models_of_other_shapes_are_told_by_the_first_difference(family: list[Path], tmp_path: Path) -> None:
    one = ModelFolder(family[0], "base")
    wider = ModelFolder(make_tiny_model(tmp_path / "wide", hidden=96), "chat")
    deeper = ModelFolder(make_tiny_model(tmp_path / "deep", layers=3), "chat")
    with pytest.raises(Mistake) as caught:
        check_alike(one, wider)
    assert "is [" in str(caught.value.found) and "embed_tokens" in str(caught.value.found)
    with pytest.raises(Mistake) as caught:
        check_alike(one, deeper)
    assert "base has no model.layers.2." in str(caught.value.found)


def test_another_vocabulary_is_told_by_the_first_token(family: list[Path], tmp_path: Path) -> None:
    shutil.copytree(family[0], tmp_path / "m")
    file = tmp_path / "m" / "tokenizer.json"
    told = json.loads(file.read_text())
    by_id = sorted(told["model"]["vocab"].items(), key=lambda pair: pair[1])
    (first, one), (second, other) = by_id[300], by_id[301]
    told["model"]["vocab"] |= {first: other, second: one}
    file.write_text(json.dumps(told))
    with pytest.raises(Mistake) as caught:
        check_vocabularies(ModelFolder(family[0], "base"), ModelFolder(tmp_path / "m", "chat"))
    assert repr(first) in str(caught.value.found) and "300" in str(caught.value.found)


def test_a_head_that_is_tied_is_not_counted_twice(family: list[Path], tmp_path: Path) -> None:
    shutil.copytree(family[0], tmp_path / "m")
    weights = load_file(family[0] / "model.safetensors")
    save_file(
        {**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()}, tmp_path / "m/model.safetensors"
    )
    model = ModelFolder(tmp_path / "m", "it")
    assert model.tied and "lm_head.weight" not in model.names
    assert check_alike(ModelFolder(family[0], "other"), model) == []
