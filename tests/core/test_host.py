from __future__ import annotations

import subprocess

import psutil
import pytest

from metier.core import Host, Mistake


@pytest.mark.parametrize(
    ("said", "cluster"), [(None, None), ("", None), ("ray", "auto"), ("ray://head:10001", "ray://head:10001")]
)
def test_the_cluster_is_what_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, said: str | None, cluster: str | None
) -> None:
    monkeypatch.delenv("METIER_CLUSTER", raising=False)
    if said is not None:
        monkeypatch.setenv("METIER_CLUSTER", said)
    assert Host.here().cluster == cluster


def test_the_environment_lowers_the_number_of_threads_and_never_raises_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METIER_THREADS", "1")
    assert Host.here().threads == 1
    monkeypatch.setenv("METIER_THREADS", "100000")
    here = Host.here()
    assert here.threads == here.cores
    monkeypatch.setenv("METIER_THREADS", "two")
    with pytest.raises(Mistake, match="METIER_THREADS is not a positive number"):
        Host.here()


_ANSWER = """GPU-1f, NVIDIA H200, 143771
GPU-2a, NVIDIA H100 80GB HBM3, 81559
GPU-2b, NVIDIA GB10, [N/A]
"""


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        (None, "H200 H100 GB10"),
        ("", ""),
        ("-1", ""),
        ("NoDevFiles", ""),
        ("1", "H100"),
        ("1,0", "H100 H200"),
        ("0,7,1", "H200"),  # CUDA stops at the first that is not there
        ("GPU-2b,GPU-1", "GB10 H200"),
        ("GPU-2", ""),  # two begin so
        ("MIG-3c", "H200 H100 GB10"),
    ],
)
def test_gpus_are_those_that_cuda_lets_a_program_see(
    monkeypatch: pytest.MonkeyPatch, told: str | None, seen: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: "nvidia-smi")
    monkeypatch.setattr(
        "subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 0, stdout=_ANSWER, stderr="")
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if told is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    gpus = Host.here().gpus
    assert " ".join(gpu.name.split()[1] for gpu in gpus) == seen
    memory = {"H200": 143771 << 20, "H100": 81559 << 20, "GB10": psutil.virtual_memory().total}
    assert [gpu.memory_bytes for gpu in gpus] == [memory[gpu.name.split()[1]] for gpu in gpus]
