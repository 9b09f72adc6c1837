"""How a plan is started: by torchrun on each machine, as a Slurm job, or on a Ray cluster."""

from __future__ import annotations

import shlex

from metier.train.plan.choose import Plan
from metier.train.plan.table import explain

_PORT = 29500
_RAY = 'ray job submit -- python "$PWD/ray_train.py"'  # with --working-dir it would run in a copy of the folder


def environment_script(variables: dict[str, str]) -> str:
    """Return a file to be sourced before torchrun. Paths are relative to where it is sourced."""
    lines = ["# What accelerate has to know when it is not started by `accelerate launch`."]
    return "\n".join([*lines, *(f"export {name}={shlex.quote(value)}" for name, value in variables.items())]) + "\n"


def torchrun_line(plan: Plan, command: str, head: str = "HEAD_NODE") -> str:
    """Return the line that is run on every machine."""
    machine = plan.machine
    processes = min(machine.devices, plan.layout.devices)
    words = [f"torchrun --nproc-per-node {processes}"]
    if machine.nodes > 1:
        words.append(f"--nnodes {machine.nodes} --rdzv-backend c10d --rdzv-endpoint {head}:{_PORT} --rdzv-id metier")
    else:
        words.append("--standalone")
    return " ".join([*words, f"-m metier.cli {command}"])


def accelerate_line(plan: Plan, command: str, head: str = "HEAD_NODE") -> str:
    """Return the same for accelerate, which reads its configuration itself."""
    several = f" --machine_rank RANK --main_process_ip {head} --main_process_port {_PORT}"
    more = several if plan.machine.nodes > 1 else ""
    return f"accelerate launch --config_file accelerate.yaml{more} -m metier.cli {command}"


def slurm_script(plan: Plan, command: str) -> str:
    """Return a script for `sbatch`, with one task a machine.

    Two minutes before its time is up the job is told (USR1), passes it on to the training as SIGTERM, which saves a
    checkpoint, and queues itself again: the next job goes on from there. A training that fails is not queued again.
    """
    machine = plan.machine
    devices = min(machine.devices, plan.layout.devices)
    resources = "" if machine.on_cores else f"#SBATCH --gpus-per-node={devices}\n"
    line = torchrun_line(plan, command, head="$head")
    return f"""#!/bin/bash
#SBATCH --job-name=metier
#SBATCH --nodes={machine.nodes}
#SBATCH --ntasks-per-node=1
{resources}#SBATCH --exclusive
#SBATCH --time={_time_limit(plan)}
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
source ./environment.sh
export OMP_WAIT_POLICY=PASSIVE
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
again=
trap 'again=yes; scancel --signal=TERM "$SLURM_JOB_ID.0"' USR1
srun {line} &
wait $!  # ends with the training, or when the signal came
wait $!
status=$?
if [ -n "$again" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $status
"""


def ray_script(plan: Plan, variables: dict[str, str], command: str) -> str:
    """Return a program for `ray job submit`: Ray starts the processes and tells each its rank.

    It is run where it lies: Ray Train takes each worker to a folder of its own session first, in which neither the
    recipe nor the workshop is.
    """
    resources = "use_gpu=False" if plan.machine.on_cores else "use_gpu=True"
    return f'''"""Start `metier {command}` on {plan.layout.devices} workers of a Ray cluster.

{_RAY}
"""

import os

import ray.train
from ray.train.torch import TorchTrainer

FOLDER = os.path.dirname(os.path.abspath(__file__))  # all machines see it under this path
ENVIRONMENT = {variables!r}


def work() -> None:
    os.chdir(FOLDER)
    from metier.cli import group

    os.environ.update(ENVIRONMENT)
    group({command.split()!r}, standalone_mode=False)


if __name__ == "__main__":
    scaling = ray.train.ScalingConfig(num_workers={plan.layout.devices}, {resources})
    TorchTrainer(work, scaling_config=scaling).fit()
'''


def readme(plan: Plan, command: str, files: list[str]) -> str:
    """Return the plan's page: the table, and the ways to start it."""
    head = "HEAD_NODE stands for the name of the first machine, RANK for 0, 1, … on each.\n" * (plan.machine.nodes > 1)
    return f"""# Plan

```
{explain(plan)}
```

## Start

In this folder: the files name each other by their names alone. The path of the recipe stands last in each line.
{head}
With accelerate: `{accelerate_line(plan, command)}`

With torchrun: `source ./environment.sh && {torchrun_line(plan, command)}`

With Slurm: `sbatch train.sbatch`

With Ray: `{_RAY}`

Files: {", ".join(files)}. The folder has to be seen by all machines under the same path.
"""


def _time_limit(plan: Plan) -> str:
    """Return half as much again as was planned, at most two days; a day where nothing is known."""
    seconds = 86400.0 if plan.seconds is None else plan.seconds
    hours = min(48, max(1, -(-int(1.5 * seconds) // 3600)))
    return f"{hours}:00:00"
