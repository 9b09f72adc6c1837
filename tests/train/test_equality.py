"""Packed training is training on separate rows: the same losses, the same gradients."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from metier.core import Mistake
from metier.train.attention import tails_mask
from metier.train.collate import collate
from metier.train.network import load_network, score_trained_only
from metier.train.packing import Group, Row, share_prefixes, window_of
from tests.train.bench import rows_with_prefixes


def separately(folder: Path, rows: list[Row]) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """Return per-token log-probabilities by row, and the gradients of their sum, by transformers' own forward."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    found = {}
    for row in rows:
        log_p_TV = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        values = [log_p_TV[at - 1, row.ids[at]] for at in range(1, len(row.ids)) if row.mask[at]]
        torch.stack(values).sum().backward()  # type: ignore[no-untyped-call]
        found[row.name] = torch.stack(values).tolist()
    return found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def packed(folder: Path, groups: list[Group]) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    network = load_network(folder)
    inputs = collate([window_of(groups)])
    log_p_N = forward(network, inputs)
    log_p_N.sum().backward()  # type: ignore[no-untyped-call]
    rows_N = inputs["rows"][inputs["targets"] >= 0].tolist()
    found: dict[str, list[float]] = {name: [] for name in inputs["names"]}
    for row, value in zip(rows_N, log_p_N.tolist(), strict=True):
        found[inputs["names"][row]].append(value)
    return found, {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def forward(network: Any, inputs: dict[str, Any]) -> torch.Tensor:
    result: torch.Tensor = network(**{k: inputs[k] for k in ("input_ids", "position_ids", "targets", "blocks")})
    return result


def assert_equal(folder: Path, rows: list[Row], groups: list[Group]) -> None:
    want, want_grads = separately(folder, rows)
    got, got_grads = packed(folder, groups)
    for name in want:
        assert got[name] == pytest.approx(want[name], abs=1e-5)
    assert want_grads.keys() == got_grads.keys()
    for name in want_grads:
        error = (want_grads[name] - got_grads[name]).norm() / want_grads[name].norm().clamp(min=1e-12)
        assert error < 1e-4, name


def test_rows_that_share_a_prefix_train_as_if_they_were_alone(tiny_model_folder: Path) -> None:
    rows = rows_with_prefixes(0)
    groups = share_prefixes(rows, 256, 8, random.Random(0))
    assert any(group.prefix for group in groups)
    assert sum(group.tokens for group in groups) < 0.7 * sum(len(row.ids) for row in rows)
    assert_equal(tiny_model_folder, rows, groups)


def test_rows_packed_without_a_prefix_train_as_if_they_were_alone(tiny_model_folder: Path) -> None:
    rows = rows_with_prefixes(1, 5)
    assert_equal(tiny_model_folder, rows, [Group((row,), 0) for row in rows])


def test_documents_trained_on_every_token_train_as_if_they_were_alone(tiny_model_folder: Path) -> None:
    rows = [row._replace(mask=[True] * len(row.ids)) for row in rows_with_prefixes(2, 4)]
    assert_equal(tiny_model_folder, rows, share_prefixes(rows, 256, 8, random.Random(0)))


def test_no_tail_sees_another() -> None:
    mask = tails_mask(2, (2, 1), torch.device("cpu")).int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],  # the second tail sees the prefix and itself
    ]


def test_a_head_that_rescales_its_logits_is_refused(tiny_model_folder: Path) -> None:
    network = load_network(tiny_model_folder)
    network.config.final_logit_softcapping = 30.0
    with pytest.raises(Mistake, match="head"):
        score_trained_only(network)


def test_a_model_with_nan_in_it_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(Mistake, match="not finite"):
        load_network(tmp_path)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="cannot be loaded"):
        load_network(tmp_path)
