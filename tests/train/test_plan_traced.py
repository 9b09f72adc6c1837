"""The plan of a GPU held against the bytes that live while the trainer's own network computes, without a GPU.

Tensors are fake: they have shapes and lifetimes, and no numbers. Every block is counted as torch's allocator on a GPU
rounds it, from the first forward pass to the last step of the optimizer, with the kernel for GPUs in the attention.
"""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.train.gpu_cases import Case, allocated, predicted
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as trees
from torch.utils._python_dispatch import TorchDispatchMode

import metier.train.attention as attention
import metier.train.loss
import metier.train.network
from metier.core import Host
from metier.core.host import Gpu
from metier.train import adapt
from metier.train.collate import collate
from metier.train.packing import Group, Row, windows_of
from metier.train.plan import Shape

HOST = Host(16, 16, 128 << 30, (Gpu("NVIDIA H200", 143771 << 20),))
SHAPE = Shape("small", 6, 1024, 2816, 16, 8, 64, 32000)
ROUNDED = 512  # bytes


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.most: int = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        trees.tree_map_only(torch.Tensor, self._add, made)
        return made

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            size = -(-storage.nbytes() // ROUNDED) * ROUNDED
            self._seen.add(storage)
            weakref.finalize(storage, self._free, size)
            self.now += size
            self.most = max(self.most, self.now)

    def _free(self, size: int) -> None:
        self.now -= size


@pytest.fixture
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the network attend and score as on a GPU; what would read a number of a fake tensor is left out."""
    from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

    def load(folder: Path, dtype: torch.dtype, attn_implementation: str, **_: Any) -> Any:
        config = AutoConfig.from_pretrained(folder)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attn_implementation)

    def attend(_module: Any, query: Any, key: Any, value: Any, *_: Any, **named: Any) -> Any:
        dtype, blocks = attention._dtype(query, value), named["blocks"]
        edges = torch.tensor([0, *(end for _, end, _ in blocks.parts)], dtype=torch.int32)
        blocks, scale = blocks._replace(edges=edges), named["scaling"]
        return attention._flash(query.to(dtype), key.to(dtype), value.to(dtype), blocks, scale), None

    def score(self: Any, input_ids: Any, position_ids: Any, targets: Any, blocks: Any, **_: Any) -> Any:
        blocks = attention.prepared(blocks, input_ids.device)
        found = self.base_model(input_ids=input_ids, position_ids=position_ids, use_cache=False, blocks=blocks)
        trained = torch.arange(len(targets) - len(blocks.parts))  # as many as are trained: which ones is in the numbers
        return self.get_output_embeddings()(found.last_hidden_state[0][trained], targets[trained])

    def register() -> str:
        AttentionInterface.register("metier_traced", attend)
        return "metier_traced"

    network = metier.train.network
    monkeypatch.setattr(network, "load_whole", load)
    monkeypatch.setattr(network, "check_finite", lambda _network: None)
    monkeypatch.setattr(network, "register", register)
    monkeypatch.setattr(network, "_trained_log_probabilities", score)
    monkeypatch.setattr(metier.train.loss, "CACHED_ROWS", 1 << 30)  # on a GPU a chunk is not cut any further
    monkeypatch.setattr(adapt, "precision_on", lambda _host, _wish: "bf16")
    monkeypatch.setattr(
        torch.nn.Module, "to", lambda module, *_args, **_named: module
    )  # fake weights cannot be swapped


def traced(case: Case, folder: Path) -> int:
    """Return the most bytes that two optimizer steps of a case need at once."""
    (folder / "config.json").write_text(json.dumps(case.config))
    rows = [Row(f"r{at}", [5] * case.length, [True] * case.length) for at in range(case.rows)]
    (window,) = windows_of([Group((row,), 0) for row in rows], 1)
    live = Live()
    with FakeTensorMode(allow_non_fake_inputs=True), live:
        network = adapt.network_for(folder, case.settings, HOST)
        if case.settings.gradient_checkpointing:
            network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            if case.settings.adapter:
                network.enable_input_require_grads()
        network.train()
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.data = parameter.data.float()
        optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
        live.most = live.now
        for _ in range(2):
            for _ in range(case.passes):
                inputs = collate([window])
                given = {name: inputs[name] for name in ("input_ids", "position_ids", "targets", "blocks")}
                with torch.autocast("cpu", torch.bfloat16):
                    loss = -network(**given).sum() / window.trained
                loss.backward()
                del loss
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            network.zero_grad(set_to_none=True)
    return live.most


@pytest.mark.slow
@pytest.mark.usefixtures("_as_on_a_gpu")
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("passes", "checkpointing"), [(1, False), (2, False), (1, True), (2, True)])
def test_the_peak_of_a_gpu_is_planned_from_a_twentieth_below_to_an_eighth_above_the_bytes_alive(
    method: Any, passes: int, checkpointing: bool, tmp_path: Path
) -> None:
    case = Case("memory", "ours", SHAPE, method, {"gradient_checkpointing": checkpointing}, "", 4, 1024, passes)
    alive = traced(case, tmp_path)
    # Most above it with an adapter and checkpointing, where the one layer that is computed again is much of so little:
    # the plan has its keys repeated for all heads, as rows with a common beginning need it.
    assert 0.95 * alive < allocated(predicted(case, HOST)) < 1.125 * alive
