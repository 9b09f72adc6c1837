"""Merging models: each method against arithmetic written out by hand on whole tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metier.core import Mistake, Workshop
from metier.train import MergeModels
from metier.train.weights import arithmetic, blocks
from metier.train.weights.folder import ModelFolder
from metier.train.weights.writing import Produce
from tests.train.bench import HOST, Given
from tests.train.test_weights import cast, family, tensors

__all__ = ["family"]


def merged(family: list[Path], tmp_path: Path, **fields: Any) -> dict[str, torch.Tensor]:
    fields.setdefault("models", tuple(Given(at=str(folder)) for folder in family[1:]))
    return tensors(Workshop(tmp_path / "workshop", HOST).make(MergeModels(**fields)).model_folder)


def as_arrays(folders: list[Path]) -> list[dict[str, np.ndarray[Any, Any]]]:
    return [{name: value.double().numpy() for name, value in tensors(folder).items()} for folder in folders]


def close(found: torch.Tensor, wanted: Any) -> bool:
    return bool(np.allclose(found.double().numpy(), wanted, rtol=1e-5, atol=1e-7))


def test_linear_is_the_weighted_mean(family: list[Path], tmp_path: Path) -> None:
    found = merged(family, tmp_path, weights=(3.0, 1.0))
    _, a, b = as_arrays(family)
    assert all(close(value, 0.75 * a[name] + 0.25 * b[name]) for name, value in found.items())


def test_slerp_keeps_to_the_arc(family: list[Path], tmp_path: Path) -> None:
    found = merged(family, tmp_path, method="slerp", t=0.3)
    _, a, b = as_arrays(family)
    for name, value in found.items():
        x, y = a[name].ravel(), b[name].ravel()
        omega = math.acos(max(-1, min(1, x @ y / np.linalg.norm(x) / np.linalg.norm(y))))
        if "norm" in name:  # both are all ones: on one line
            assert close(value, 0.7 * a[name] + 0.3 * b[name])
        else:
            wanted = (math.sin(0.7 * omega) * a[name] + math.sin(0.3 * omega) * b[name]) / math.sin(omega)
            assert close(value, wanted)


def test_slerp_of_equally_long_tensors_keeps_their_length() -> None:
    a, b = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([0.0, 0.0, 5.0])
    between = arithmetic.angle([(a, b)])
    assert float(arithmetic.slerp(a, b, 0.25, between).norm()) == pytest.approx(5.0)
    assert torch.allclose(arithmetic.slerp(a, b, 0.0, between), a)
    assert torch.allclose(arithmetic.slerp(a, torch.zeros(3), 0.5, arithmetic.angle([(a, torch.zeros(3))])), a / 2)


def test_task_arithmetic_adds_scaled_differences(family: list[Path], tmp_path: Path) -> None:
    base = Given(at=str(family[0]))
    found = merged(family, tmp_path, method="task-arithmetic", base=base, weights=(0.5, -0.25), scale=2.0)
    o, a, b = as_arrays(family)
    assert all(
        close(value, o[name] + 2 * (0.5 * (a[name] - o[name]) - 0.25 * (b[name] - o[name])))
        for name, value in found.items()
    )


def ties_by_hand(o: Any, parts: list[Any], weights: list[float], density: float, scale: float) -> Any:
    """Trim, elect, merge: value by value."""
    trimmed = []
    for part in parts:
        delta = (part - o).astype(np.float32).ravel()
        least = np.sort(np.abs(delta))[::-1][max(1, int(density * delta.size)) - 1]
        trimmed.append([d if abs(d) >= least else 0.0 for d in delta])
    result = []
    for start, values in zip(o.ravel(), zip(*trimmed, strict=True), strict=True):
        sign = 1 if sum(w * v for w, v in zip(weights, values, strict=True)) >= 0 else -1
        agree = [(w, v) for w, v in zip(weights, values, strict=True) if w * v * sign > 0]
        result.append(start + scale * (sum(w * v for w, v in agree) / sum(w for w, _ in agree) if agree else 0.0))
    return np.array(result).reshape(o.shape)


def test_ties_is_trim_elect_and_disjoint_mean(family: list[Path], tmp_path: Path) -> None:
    base = Given(at=str(family[0]))
    found = merged(family, tmp_path, method="ties", base=base, weights=(1.0, 0.5), density=0.3, scale=0.7)
    o, a, b = as_arrays(family)
    for name in ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"):
        assert close(found[name], ties_by_hand(o[name], [a[name], b[name]], [1.0, 0.5], 0.3, 0.7))


def test_ties_of_opposite_equal_vectors_is_the_positive_one() -> None:
    deltas = [torch.tensor([1.0, -1.0, 0.0]), torch.tensor([-1.0, 1.0, 0.0])]
    assert arithmetic.elected(deltas, [1.0, 1.0]).tolist() == [1.0, 1.0, 0.0]


def test_dare_keeps_its_share_and_the_mean(family: list[Path], tmp_path: Path) -> None:
    base, one = Given(at=str(family[0])), (Given(at=str(family[1])),)
    found = merged(family, tmp_path, method="dare", base=base, models=one, density=0.25, seed=4)
    again = merged(family, tmp_path / "again", method="dare", base=base, models=one, density=0.25, seed=4)
    other = merged(family, tmp_path, method="dare", base=base, models=one, density=0.25, seed=5)
    o, a = as_arrays(family[:2])
    name = "model.embed_tokens.weight"
    delta, wanted = found[name].double().numpy() - o[name], a[name] - o[name]
    kept = np.abs(delta) > 1e-9
    assert kept.mean() == pytest.approx(0.25, abs=0.01)
    assert np.allclose(delta[kept], 4 * wanted[kept], rtol=1e-4, atol=1e-6)
    assert torch.equal(found[name], again[name]) and not torch.equal(found[name], other[name])


def test_spans_of_rows_change_no_value(family: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    models = [ModelFolder(folder, "m") for folder in family]
    ways: list[Callable[[], Produce]] = [
        lambda: blocks.mean(models, [0.2, 0.3, 0.5]),
        lambda: blocks.arc(models[0], models[1], 0.4),
        lambda: blocks.sums(models[0], models[1:], [1, 1], 1.0, blocks.trim(models[0], models[1:], 0.4), True),
    ]
    name = "model.layers.0.mlp.up_proj.weight"
    whole = [torch.cat(list(way()(name))) for way in ways]
    from metier.train.weights.reading import Span

    monkeypatch.setattr(
        blocks, "spans", lambda shape: [Span(at, min(at + 10, shape[0])) for at in range(0, shape[0], 10)]
    )
    for way, wanted in zip(ways, whole, strict=True):
        pieces = list(way()(name))
        assert len(pieces) > 5 and torch.allclose(torch.cat(pieces), wanted, atol=1e-7)


def test_the_result_keeps_the_format_of_the_first_model_and_loads(family: list[Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    half = cast(family[1], tmp_path / "half", torch.bfloat16)
    step = MergeModels(models=(Given(at=str(half)), Given(at=str(family[2]))), shard_gigabytes=1e-4)
    model = Workshop(tmp_path / "workshop", HOST).make(step)
    network = AutoModelForCausalLM.from_pretrained(model.model_folder)
    assert network.dtype == torch.bfloat16 and len(list(model.model_folder.glob("*.safetensors"))) > 1
    assert network.lm_head.weight.data_ptr() == network.model.embed_tokens.weight.data_ptr()
    assert AutoTokenizer.from_pretrained(model.model_folder).chat_template
    assert (model.model_folder / "tokenizer.json").read_bytes() == (half / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "ties"}, "give `base`"),
        ({"method": "slerp", "models": 1}, "two models"),
        ({"weights": (1.0,)}, "1 weights for 2 models"),
        ({"weights": (1.0, -1.0)}, "add up to 0"),
    ],
)
def test_fields_that_do_not_fit_are_refused_before_anything_runs(
    family: list[Path], fields: dict[str, Any], said: str
) -> None:
    count = fields.pop("models", 2)
    with pytest.raises(ValueError, match=said):
        MergeModels(models=tuple(Given(at=str(folder)) for folder in family[:count]), **fields)


def test_a_nan_in_one_of_the_models_stops_the_merge(family: list[Path], tmp_path: Path) -> None:
    from tests.train.test_weights import broken

    bad = broken(family, tmp_path / "bad", "model.norm.weight", float("nan"))
    with pytest.raises(Mistake) as caught:
        merged(family, tmp_path, models=(Given(at=str(family[1])), Given(at=str(bad))))
    assert "models[1]" in caught.value.what and "model.norm.weight" in str(caught.value.found)
