"""What the machine offers. Never part of a step's identity: the same plan runs on a laptop and on a cluster."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from metier.core.errors import Mistake


class Gpu(NamedTuple):
    """One accelerator: its name and its memory in bytes."""

    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Host:
    """The cores, memory and accelerators that a run may use.

    `threads` is how many a numeric library should start: more than the free cores makes it many times slower.
    `cluster` is the address of a Ray cluster on which steps over many documents run, or None for this machine alone.
    """

    cores: int
    threads: int
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    system: str = ""
    cluster: str | None = None

    @classmethod
    def here(cls) -> Host:
        """Describe this machine.

        METIER_THREADS lowers the number of threads. METIER_CLUSTER names a Ray cluster: `ray` for the one that this
        machine belongs to, or its address. Raises Mistake if METIER_THREADS is not a number.
        """
        import psutil

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
        wish = os.environ.get("METIER_THREADS")
        if wish is not None and not (wish.isdigit() and int(wish) > 0):
            raise Mistake("METIER_THREADS is not a positive number", found=repr(wish), hint="METIER_THREADS=2")
        return cls(
            cores=cores,
            threads=min(int(wish), cores) if wish else cores,
            memory_bytes=psutil.virtual_memory().total,
            gpus=_gpus(),
            system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            cluster={"": None, "ray": "auto"}.get(address := os.environ.get("METIER_CLUSTER", ""), address),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the description as plain JSON values."""
        return asdict(self) | {"gpus": [gpu._asdict() for gpu in self.gpus]}


def _gpus() -> tuple[Gpu, ...]:
    # nvidia-smi rather than torch: `plan` and `ls` must not import torch to look at the machine.
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = ([cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.count(",") >= 2)
    found = [(row[0], Gpu(", ".join(row[1:-1]), _bytes(row[-1]))) for row in rows]
    return _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _bytes(mebibytes: str) -> int:
    """Return a GPU's memory. One that shares the memory of the machine, as GB10, tells none of its own: "[N/A]"."""
    import psutil

    return int(float(mebibytes)) << 20 if mebibytes.replace(".", "").isdigit() else int(psutil.virtual_memory().total)


def _visible(found: Sequence[tuple[str, Gpu]], told: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves to a program, in its order.

    It names them by number or by the beginning of their UUID, and what stands behind a name that is not there is not
    seen either (CUDA Programming Guide, "CUDA environment variables"). The memory of a MIG slice is in no answer of
    nvidia-smi that can be asked for: where one is named, all whole GPUs are returned.
    """
    if told is None or "MIG-" in told:
        return tuple(gpu for _, gpu in found)
    left: list[Gpu] = []
    for name in (word.strip() for word in told.split(",")):
        if name.isdigit():
            matching = [gpu for at, (_, gpu) in enumerate(found) if at == int(name)]
        else:
            matching = [gpu for uuid, gpu in found if name and uuid.startswith(name)]
        if len(matching) != 1:
            break
        left += matching
    return tuple(left)
