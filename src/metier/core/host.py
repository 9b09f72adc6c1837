"""What the machine offers. Never part of a step's identity: the same plan runs on a laptop and on a cluster."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
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
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = (line.rsplit(",", 1) for line in answer.splitlines() if "," in line)
    return tuple(Gpu(name.strip(), int(float(mebibytes)) << 20) for name, mebibytes in rows)
