"""How the processes of this training lie on the devices: read from what torchrun and accelerate set for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metier.core import Host
from metier.train.plan.job import Checkpointing, Layout, Place, Sharding
from metier.train.plan.machine import Machine, machine_of


def machine_here(host: Host, variables: Mapping[str, str]) -> Machine:
    """Return the machine as one of the processes on it sees it: on cores they share its memory."""
    machine = machine_of(host)
    processes = _number(variables, "WORLD_SIZE")
    local = min(processes, _number(variables, "LOCAL_WORLD_SIZE", processes))
    nodes = -(-processes // local)
    if machine.on_cores:
        return machine._replace(nodes=processes, memory=machine.memory // local)
    return machine._replace(nodes=nodes, devices=local)


def layout_here(variables: Mapping[str, str], micro_batch: int, checkpointing: Checkpointing) -> Layout:
    """Return the layout that accelerate will make of the running processes.

    Args:
        variables: the environment: WORLD_SIZE, ACCELERATE_USE_DEEPSPEED, ACCELERATE_USE_FSDP and what goes with them.
    """
    processes = _number(variables, "WORLD_SIZE")
    sharding: Sharding = "ddp" if processes > 1 else "none"
    optimizer_at: Place = "device"
    parameters_at: Place = "device"
    data, replicas, all_read = processes, 1, False
    if _yes(variables, "ACCELERATE_USE_DEEPSPEED"):
        zero = _zero(variables)
        stages: dict[int, Sharding] = {1: "zero-1", 2: "zero-2", 3: "zero-3"}
        sharding = stages.get(int(zero.get("stage", 0)), sharding)
        optimizer_at, parameters_at = (_place(zero.get(name)) for name in ("offload_optimizer", "offload_param"))
        all_read = sharding == "zero-3" and not _yes(variables, "ACCELERATE_DEEPSPEED_ZERO3_INIT")
    elif _yes(variables, "ACCELERATE_USE_FSDP"):
        sharding = "fsdp2"
        if _yes(variables, "FSDP_OFFLOAD_PARAMS"):
            optimizer_at = parameters_at = "cpu"
        replicas = _number(variables, "PARALLELISM_CONFIG_DP_REPLICATE_SIZE")
    parts = micro_batch, checkpointing, sharding, optimizer_at, parameters_at, data
    return Layout(*parts, replicas=replicas, all_read=all_read)


def _zero(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return DeepSpeed's own configuration of ZeRO, or what accelerate's variables say of it."""
    file = variables.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "")
    if file and file != "none":
        try:
            told = json.loads(Path(file).read_text())["zero_optimization"]
        except (OSError, ValueError, KeyError, TypeError):  # DeepSpeed will say what is wrong with it
            return {}
        return told if isinstance(told, dict) else {}
    found: dict[str, Any] = {"stage": _number(variables, "ACCELERATE_DEEPSPEED_ZERO_STAGE", 2)}
    for name in ("offload_optimizer", "offload_param"):
        found[name] = {"device": variables.get(f"ACCELERATE_DEEPSPEED_{name.upper()}_DEVICE", "none")}
    return found


def _place(told: Any) -> Place:
    device = told.get("device") if isinstance(told, dict) else None
    return device if device in ("cpu", "nvme") else "device"


def _number(variables: Mapping[str, str], name: str, otherwise: int = 1) -> int:
    word = variables.get(name, "")
    return max(1, int(word)) if word.isdigit() else otherwise


def _yes(variables: Mapping[str, str], name: str) -> bool:
    return variables.get(name, "").lower() in ("true", "1", "yes")
