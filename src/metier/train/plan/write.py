"""The files of a plan: accelerate's and DeepSpeed's configuration, and how to start it with torchrun, Slurm or Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from metier.core import Mistake
from metier.core.files import write_text_atomic
from metier.train.plan.choose import Plan
from metier.train.plan.launch import environment_script, ray_script, readme, slurm_script
from metier.train.plan.table import autocast_of

ACCELERATE, DEEPSPEED, ENVIRONMENT = "accelerate.yaml", "deepspeed.json", "environment.sh"


def write_plan(plan: Plan, folder: Path, command: str = "run metier.yaml") -> list[Path]:
    """Write what a plan needs into `folder`, and return the files.

    Args:
        command: what is started, as arguments of `metier`.

    Raises:
        Mistake: a file of another text is there, or the folder cannot be written.
    """
    files = {ACCELERATE: yaml.safe_dump(accelerate_config(plan), sort_keys=False)}
    if plan.layout.sharding.startswith("zero"):
        files[DEEPSPEED] = json.dumps(deepspeed_config(plan), indent=2) + "\n"
    files[ENVIRONMENT] = environment_script(environment(plan))
    files["train.sbatch"] = slurm_script(plan, command)
    files["ray_train.py"] = ray_script(plan, environment(plan), command)
    files["README.md"] = readme(plan, command, sorted(files))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            if (folder / name).exists() and (folder / name).read_text() != text:
                raise Mistake(f"{folder / name} is there and says something else", hint="give another folder")
        for name, text in files.items():
            write_text_atomic(folder / name, text)
    except OSError as error:
        raise Mistake(f"{folder} cannot be written", found=str(error), hint="give another folder") from error
    return [folder / name for name in files]


def accelerate_config(plan: Plan) -> dict[str, Any]:
    """Return the configuration that `accelerate launch --config_file` takes."""
    layout, machine = plan.layout, plan.machine
    # On cores too: of what it calls MULTI_CPU accelerate starts one process, or has mpirun start the others.
    kind = {"none": "NO", "ddp": "MULTI_GPU", "fsdp2": "FSDP"}
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": kind.get(layout.sharding, "DEEPSPEED"),
        "use_cpu": machine.on_cores,
        "mixed_precision": autocast_of(plan),
        "num_machines": machine.nodes,
        "num_processes": layout.devices,
        "machine_rank": 0,
        "same_network": True,
        "rdzv_backend": "c10d" if machine.nodes > 1 else "static",
        "main_training_function": "main",
    }
    if layout.sharding.startswith("zero"):
        del config["mixed_precision"]  # deepspeed.json says it; accelerate refuses to read it twice
    if layout.sharding == "fsdp2":
        config["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_reshard_after_forward": True,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
            "fsdp_cpu_ram_efficient_loading": True,  # without it each device holds all weights before they are cut
            "fsdp_offload_params": layout.parameters_at == "cpu",
            # The step's `gradient_checkpointing` does it: the trainers refuse both at once.
            "fsdp_activation_checkpointing": False,
        }
        if layout.tensor > 1 or layout.context > 1 or layout.replicas > 1:
            config["parallelism_config"] = {
                "parallelism_config_dp_replicate_size": layout.replicas,
                "parallelism_config_dp_shard_size": layout.data // layout.replicas,
                "parallelism_config_tp_size": layout.tensor,
                "parallelism_config_cp_size": layout.context,
            }
    elif layout.sharding.startswith("zero"):
        config["deepspeed_config"] = {
            "deepspeed_config_file": DEEPSPEED,
            "zero3_init_flag": layout.sharding == "zero-3",
            "deepspeed_multinode_launcher": "standard",
        }
    return config


def deepspeed_config(plan: Plan) -> dict[str, Any]:
    """Return DeepSpeed's configuration; "auto" is what the trainers' arguments say."""
    layout, shape = plan.layout, plan.job.shape
    stage = int(layout.sharding.rpartition("-")[2])
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": layout.optimizer_at == "device",
        "contiguous_gradients": True,
        "reduce_bucket_size": 200_000_000,
    }
    if stage < 3:
        zero["allgather_bucket_size"] = 200_000_000
    else:
        zero |= {
            "stage3_prefetch_bucket_size": shape.layer_parameters,
            "stage3_param_persistence_threshold": 10 * shape.width,
            # Two layers and a table, as the plan counts them.
            "stage3_max_live_parameters": 2 * shape.layer_parameters + shape.vocabulary * shape.width,
            "stage3_max_reuse_distance": 2 * shape.layer_parameters,
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    for what, place in (("offload_optimizer", layout.optimizer_at), ("offload_param", layout.parameters_at)):
        if place != "device":
            zero[what] = {"device": place, "pin_memory": True}
        if place == "nvme":
            zero[what] |= {"nvme_path": "/local_nvme", "buffer_count": 5}
    if layout.parameters_at == "nvme":  # numbers: a buffer has to hold a device's part of the largest matrix
        zero["offload_param"]["buffer_size"] = max(10**8, -(-shape.vocabulary * shape.width // layout.shards))
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": autocast_of(plan) == "bf16"},
        "fp16": {"enabled": autocast_of(plan) == "fp16"},
        "zero_optimization": zero,
    }
    if layout.optimizer_at == "cpu":
        # torch's fused AdamW: DeepSpeed's own would be compiled on every machine when the training begins.
        config["zero_force_ds_cpu_optimizer"] = False
    if "nvme" in (layout.optimizer_at, layout.parameters_at):
        config["aio"] = {"block_size": 1 << 20, "queue_depth": 32, "single_submit": False, "overlap_events": True}
    return config


def environment(plan: Plan) -> dict[str, str]:
    """Return the variables by which accelerate knows the same under torchrun, Slurm and Ray."""
    config, layout = accelerate_config(plan), plan.layout
    told = {"ACCELERATE_MIXED_PRECISION": autocast_of(plan)}
    if config["distributed_type"] == "DEEPSPEED":
        told["ACCELERATE_USE_DEEPSPEED"] = "true"
        told["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = DEEPSPEED
        told["ACCELERATE_DEEPSPEED_ZERO3_INIT"] = str(layout.sharding == "zero-3").lower()
    if config["distributed_type"] == "FSDP":
        told["ACCELERATE_USE_FSDP"] = "true"
        told |= {name.upper(): _word(value) for name, value in config["fsdp_config"].items()}
    if parallel := config.get("parallelism_config"):
        told["ACCELERATE_USE_PARALLELISM_CONFIG"] = "true"
        told |= {name.upper(): _word(value) for name, value in parallel.items()}
    return told


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
