"""What a plan writes is what accelerate, DeepSpeed, a shell and Ray can read."""

from __future__ import annotations

import ast
import json
import os
import runpy
import signal as signals
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from metier.core import Mistake
from metier.train.plan import Job, Layout, Plan, find_shape, lay_out, machine_of, plan_for
from metier.train.plan.launch import torchrun_line
from metier.train.plan.write import deepspeed_config, environment, write_plan

LAYOUTS = {
    "one": ("1xA100-80G", Layout()),
    "ddp": ("8xA100-80G", Layout(sharding="ddp", data=8)),
    "zero-2": ("8xA100-80G", Layout(sharding="zero-2", data=8, optimizer_at="cpu")),
    "nvme": ("8xA100-80G", Layout(sharding="zero-3", data=8, optimizer_at="nvme", parameters_at="nvme")),
    "fsdp2": ("8xA100-80G", Layout(sharding="fsdp2", data=8)),
    "tensor": ("2x8xH100-80G", Layout(sharding="fsdp2", data=4, tensor=4)),
    "context": ("2x8xH100-80G", Layout(sharding="fsdp2", data=8, context=2)),
    "hybrid": ("2x8xH100-80G", Layout(sharding="fsdp2", data=16, replicas=2)),
    "cores": ("cpu:2x2x24G", Layout(sharding="ddp", data=2)),
}


def plan(name: str) -> Plan:
    host, layout = LAYOUTS[name]
    return lay_out(Job(find_shape("8b"), rows=64), layout, machine_of(host))


@pytest.mark.parametrize("name", LAYOUTS)
def test_accelerate_reads_its_configuration(name: str, tmp_path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    write_plan(plan(name), tmp_path)
    config = load_config_from_file(str(tmp_path / "accelerate.yaml"))  # refuses a key that it does not know
    assert config.num_processes == LAYOUTS[name][1].devices


def launch_arguments(file: Path) -> Any:
    """Return what `accelerate launch` makes of a configuration file, after its own checks."""
    from accelerate.commands import launch

    parser = launch.launch_command_parser()
    arguments = parser.parse_args(["--config_file", str(file), "train.py"])
    return launch._validate_launch_command(arguments)[0]


@pytest.mark.parametrize("name", ["fsdp2", "tensor", "context", "hybrid"])
def test_accelerate_takes_from_its_file_what_the_environment_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.utils.launch import prepare_multi_gpu_env

    write_plan(plan(name), tmp_path)
    arguments = launch_arguments(tmp_path / "accelerate.yaml")
    arguments.num_machines, arguments.main_process_ip = 1, None
    made = prepare_multi_gpu_env(arguments)
    for variable, value in environment(plan(name)).items():
        assert made[variable].lower() == value.lower(), variable


@pytest.mark.parametrize("name", ["zero-2", "nvme"])
def test_accelerate_takes_deepspeeds_own_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands import launch
    from accelerate.utils import DeepSpeedPlugin

    write_plan(plan(name), tmp_path)
    launched: list[Any] = []
    monkeypatch.setattr(launch, "deepspeed_launcher", launched.append)
    parser = launch.launch_command_parser()
    launch.launch_command(parser.parse_args(["--config_file", str(tmp_path / "accelerate.yaml"), "train.py"]))
    monkeypatch.setenv("ACCELERATE_CONFIG_DS_FIELDS", launched[0].deepspeed_fields_from_accelerate_config)
    DeepSpeedPlugin._deepspeed_config_checks(None)  # raises ValueError where both files say the same thing


def test_accelerate_starts_processes_on_cores_by_torchs_own_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.commands import launch

    write_plan(plan("cores"), tmp_path)
    launched: list[Any] = []
    monkeypatch.setattr(launch, "multi_gpu_launcher", launched.append)
    parser = launch.launch_command_parser()
    launch.launch_command(parser.parse_args(["--config_file", str(tmp_path / "accelerate.yaml"), "train.py"]))
    assert (launched[0].num_processes, launched[0].num_machines) == (2, 2)


def test_a_buffer_holds_a_devices_part_of_the_largest_matrix() -> None:
    shape = find_shape("405b")
    layout = Layout(sharding="zero-3", optimizer_at="nvme", parameters_at="nvme", data=8)
    zero = deepspeed_config(lay_out(Job(shape), layout, machine_of("8xH100-80G,nvme=9000")))["zero_optimization"]
    assert zero["offload_param"]["buffer_size"] >= shape.vocabulary * shape.width / 8 > 10**8


def test_files_that_were_changed_are_not_written_over(tmp_path: Path) -> None:
    write_plan(plan("nvme"), tmp_path)
    write_plan(plan("nvme"), tmp_path)
    (tmp_path / "deepspeed.json").write_text("{}")
    with pytest.raises(Mistake, match=r"deepspeed\.json"):
        write_plan(plan("nvme"), tmp_path)
    assert (tmp_path / "deepspeed.json").read_text() == "{}"
    (tmp_path / "file").touch()
    with pytest.raises(Mistake, match="cannot be written"):
        write_plan(plan("nvme"), tmp_path / "file" / "plan")


@pytest.mark.parametrize("name", ["zero-2", "nvme"])
def test_deepspeed_gets_the_stage_and_the_places(name: str) -> None:
    layout = LAYOUTS[name][1]
    zero = deepspeed_config(plan(name))["zero_optimization"]
    assert zero["stage"] == int(layout.sharding[-1])
    assert zero["offload_optimizer"]["device"] == layout.optimizer_at
    assert ("offload_param" in zero) == (layout.parameters_at != "device")


def test_without_bf16_instructions_the_mixed_format_is_fp16() -> None:
    volta = lay_out(Job(find_shape("1b")), Layout(sharding="zero-2", data=8), machine_of("8xV100-32G"))
    assert environment(volta)["ACCELERATE_MIXED_PRECISION"] == "fp16"
    assert deepspeed_config(volta)["fp16"]["enabled"] and not deepspeed_config(volta)["bf16"]["enabled"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_files_are_there_and_can_be_read(name: str, tmp_path: Path) -> None:
    written = {path.name: path.read_text() for path in write_plan(plan(name), tmp_path / "plan", "run law.yaml sft")}
    yaml.safe_load(written["accelerate.yaml"])
    assert ("deepspeed.json" in written) == LAYOUTS[name][1].sharding.startswith("zero")
    if "deepspeed.json" in written:
        json.loads(written["deepspeed.json"])
    ast.parse(written["ray_train.py"])
    for script in ("train.sbatch", "environment.sh"):
        subprocess.run(["bash", "-n", tmp_path / "plan" / script], check=True)
    assert "run law.yaml sft" in written["train.sbatch"] and "sbatch train.sbatch" in written["README.md"]


@pytest.mark.parametrize("name", ["nvme", "cores"])
def test_rays_workers_go_into_the_folder_of_the_plan_first(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []
    folder, session = tmp_path / "plan", tmp_path / "session"
    session.mkdir()

    class Trainer:
        """Calls its function where Ray Train 2.60 does: in its session's folder."""

        def __init__(self, work: Any, scaling_config: dict[str, Any]) -> None:
            self.work, self.scaling = work, scaling_config

        def fit(self) -> None:
            for _ in range(self.scaling["num_workers"]):
                os.chdir(session)
                self.work()

    def group(arguments: list[str], standalone_mode: bool) -> None:
        seen = {variable: os.environ.get(variable) for variable in environment(plan(name))}
        started.append({"at": Path.cwd(), "arguments": arguments, "recipe": Path("law.yaml").read_text(), **seen})

    ray = SimpleNamespace(train=SimpleNamespace(ScalingConfig=dict))
    for module, stub in (("ray", ray), ("ray.train", ray.train), ("ray.train.torch", None)):
        monkeypatch.setitem(sys.modules, module, stub or SimpleNamespace(TorchTrainer=Trainer))
    monkeypatch.setattr("metier.cli.group", group)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.chdir(tmp_path)
    write_plan(plan(name), Path("plan"), "run law.yaml sft")
    (folder / "law.yaml").write_text("the recipe")
    runpy.run_path("plan/ray_train.py", run_name="__main__")
    assert len(started) == LAYOUTS[name][1].devices
    for one in started:
        assert one["at"] == folder and one["recipe"] == "the recipe" and one["arguments"] == ["run", "law.yaml", "sft"]
        assert all(one[variable] == value for variable, value in environment(plan(name)).items())
        file = one.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
        assert file is None or (one["at"] / file).is_file()
    assert "--working-dir" not in (folder / "README.md").read_text() + (folder / "ray_train.py").read_text()


def test_torchrun_starts_a_process_on_every_device() -> None:
    several = torchrun_line(plan("tensor"), "run metier.yaml")
    assert "--nproc-per-node 8" in several and "--nnodes 2" in several
    assert "--standalone" in torchrun_line(plan("fsdp2"), "run metier.yaml")


def test_slurm_asks_for_half_as_much_time_again_as_was_planned(tmp_path: Path) -> None:
    made = plan_for(Job(find_shape("8b"), rows=64, tokens=2 * 10**9), machine_of("8xH100-80G"))
    assert made.seconds is not None
    hours = -(-int(1.5 * made.seconds) // 3600)
    write_plan(made, tmp_path)
    assert f"--time={hours}:00:00" in (tmp_path / "train.sbatch").read_text()


STUBS = {
    "scontrol": """if [ "$1" = show ]; then echo node-a; else echo "$@" >> told; fi""",
    "scancel": """echo "$@" >> told; kill -TERM $(cat pid)""",
    "srun": """echo "$@" >> told; echo $$ > pid; trap 'echo saved >> told; exit 143' TERM; eval "$ENDS" """,
}


def slurm_job(folder: Path, ends: str, signal: bool) -> tuple[int, list[str]]:
    """Run the script with commands that only note what they are told; return its exit status and the notes."""
    write_plan(plan("tensor"), folder)
    (folder / "bin").mkdir()
    for name, body in STUBS.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_JOB_ID": "17",
        "ENDS": ends,
    }
    job = subprocess.Popen(["bash", "train.sbatch"], cwd=folder, env=environment, start_new_session=True)
    if signal:
        while not (folder / "pid").is_file():
            time.sleep(0.01)
        time.sleep(0.1)  # until the training listens
        job.send_signal(signals.SIGUSR1)
    status = job.wait(timeout=30)
    return status, (folder / "told").read_text().splitlines()


def test_a_slurm_job_whose_time_is_up_saves_and_is_queued_again(tmp_path: Path) -> None:
    status, told = slurm_job(tmp_path, "while true; do sleep 0.05; done", signal=True)
    assert told[0].startswith("torchrun --nproc-per-node 8 --nnodes 2") and "node-a:29500" in told[0]
    assert told[1:] == ["--signal=TERM 17.0", "saved", "requeue 17"] and status == 143


@pytest.mark.parametrize("code", [0, 1])
def test_a_slurm_job_that_ends_by_itself_is_not_queued_again(code: int, tmp_path: Path) -> None:
    status, told = slurm_job(tmp_path, f"exit {code}", signal=False)
    assert status == code and len(told) == 1
