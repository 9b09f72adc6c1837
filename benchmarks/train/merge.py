"""Merging beside mergekit: processor time, peak memory, equality. `python -m benchmarks.train.merge [METHOD ...]`.

SmolLM2-135M in bfloat16 and two copies of it in float32 with noise on every weight. Each merge runs in a process of its
own, on one core, import time included on both sides. mergekit (LGPL) is in an environment of its own and only run.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from benchmarks.peers import NotInstalled, peer, version
from benchmarks.record import Row, save
from metier.core import Step, Work, Workshop
from metier.core.types import Model
from metier.models.packaged import PackagedGguf
from metier.train import MergeModels

MATERIAL = Path(__file__).parents[1] / ".material"
_CORE = 1
_TOLD = "SmolLM2-135M (bfloat16) and two noisy copies (float32, 538 MB each) to float32, one core"
METHODS: dict[str, dict[str, Any]] = {
    "linear": {"weights": (0.6, 0.4)},
    "slerp": {"t": 0.3},
    "task-arithmetic": {"weights": (0.6, 0.4), "base": True},
    "ties": {"weights": (0.6, 0.4), "density": 0.3, "base": True},
}


class Copied(Step[Model]):
    """A model folder that is there already."""

    name: ClassVar[str] = "benchmark-copied"
    at: str

    def run(self, work: Work) -> None:
        """Point to it."""
        (work.folder / "model").symlink_to(self.at)


class Ran(NamedTuple):
    """A process: its processor time, and the most memory that it held."""

    cpu_seconds: float
    peak_bytes: int


def noisy(source: Path, target: Path, seed: int) -> Path:
    """Return a copy of a model with noise of a tenth of each tensor's spread, made once."""
    if (target / "model.safetensors").is_file():
        return target.absolute()
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    weights = load_file(source / "model.safetensors")
    for name, value in weights.items():
        noise = torch.empty(value.shape).normal_(0, 0.1 * float(value.float().std()), generator=generator)
        weights[name] = noise.add_(value)
    save_file(weights, target / "part", {"format": "pt"})
    (target / "part").rename(target / "model.safetensors")
    return target.absolute()


def ran(command: list[str], log: Path) -> Ran:
    """Run a process on one core to its end. Raises RuntimeError with its last lines if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("w") as out:
        process = subprocess.Popen(["taskset", "-c", str(_CORE), *command], stdout=out, stderr=out, env=environment)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError("\n".join(log.read_text().splitlines()[-5:]))
    return Ran(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def fields_of(method: str, folders: list[Path]) -> dict[str, Any]:
    """Return the fields of our step for one method."""
    fields = dict(METHODS[method])
    base = {"base": Copied(at=str(folders[0]))} if fields.pop("base", False) else {}
    return {
        "method": method,
        "dtype": "float32",
        "models": tuple(Copied(at=str(at)) for at in folders[1:]),
        **fields,
        **base,
    }


def mergekit_config(method: str, folders: list[Path]) -> str:
    """Return mergekit's configuration of the same merge; JSON is YAML."""
    fields = METHODS[method]
    told: dict[str, Any] = {"dtype": "float32", "out_dtype": "float32", "merge_method": method.replace("-", "_")}
    if method == "slerp":
        models: list[dict[str, Any]] = [{"model": str(at)} for at in folders[1:]]
        told |= {"base_model": str(folders[1]), "parameters": {"t": fields["t"]}}
    else:
        density = {"density": fields["density"]} if "density" in fields else {}
        pairs = zip(folders[1:], fields["weights"], strict=True)
        models = [{"model": str(at), "parameters": {"weight": weight, **density}} for at, weight in pairs]
        told |= {"base_model": str(folders[0])} if fields.get("base") else {}
    return json.dumps({**told, "models": models})


def largest_difference(one: Path, other: Path) -> float:
    """Return the largest difference between the weights of two folders."""
    a, b = ({k: v for file in at.glob("*.safetensors") for k, v in load_file(file).items()} for at in (one, other))
    b.pop("lm_head.weight", None)  # tied
    assert a.keys() == b.keys(), sorted(a.keys() ^ b.keys())[:3]
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def rows(scratch: Path, methods: Sequence[str]) -> Iterator[Row]:
    """Merge by each method, ours and theirs."""
    base = Workshop(MATERIAL / "pipeline" / "model").make(PackagedGguf()).model_folder.absolute()
    folders = [base, noisy(base, MATERIAL / "merge" / "one", 1), noisy(base, MATERIAL / "merge" / "two", 2)]
    python = peer("mergekit")
    for method in methods:
        (scratch / "ours.json").write_text(json.dumps([method, [str(at) for at in folders], str(scratch / "workshop")]))
        mine = ran([sys.executable, "-m", "benchmarks.train.merge", str(scratch / "ours.json")], scratch / "log")
        merged = json.loads((scratch / "made.json").read_text())
        if isinstance(python, NotInstalled):
            yield Row(f"merge: {method}", "mergekit", mine.cpu_seconds, None, None, "CPU s", _TOLD, mine.cpu_seconds,
                      note=python.reason)  # fmt: skip
            continue
        (scratch / "config.yml").write_text(mergekit_config(method, folders))
        shutil.rmtree(scratch / "theirs", ignore_errors=True)
        script = str(python.with_name("mergekit-yaml"))
        theirs = ran(
            [script, str(scratch / "config.yml"), str(scratch / "theirs"), "--no-copy-tokenizer"], scratch / "log"
        )
        apart = largest_difference(Path(merged), scratch / "theirs")
        told: dict[str, Any] = {"input": _TOLD, "seconds": mine.cpu_seconds, "peer_version": version("mergekit")}
        note = f"largest difference of a weight {apart:.1e}"
        yield Row(f"merge: {method}", "mergekit", round(mine.cpu_seconds, 2), round(theirs.cpu_seconds, 2),
                  round(theirs.cpu_seconds / mine.cpu_seconds, 2), "CPU s", note=note, **told)  # fmt: skip
        yield Row(f"merge, peak memory: {method}", "mergekit", round(mine.peak_bytes / 1e9, 2),
                  round(theirs.peak_bytes / 1e9, 2), round(theirs.peak_bytes / mine.peak_bytes, 2), "GB",
                  note="resident, libraries included", **told)  # fmt: skip
        shutil.rmtree(scratch / "workshop", ignore_errors=True)


def ours(task: Path) -> None:
    """Make one merge in this process, and say where it is."""
    method, folders, workshop = json.loads(task.read_text())
    model = Workshop(workshop).make(MergeModels(**fields_of(method, [Path(at) for at in folders])))
    task.with_name("made.json").write_text(json.dumps(str(model.model_folder.absolute())))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    """Run all, or one of ours where a task is given."""
    if sys.argv[1:] and sys.argv[1].endswith(".json"):
        ours(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory(dir=MATERIAL, prefix="merge-") as folder:
        for method in sys.argv[1:] or METHODS:
            save("train", rows(Path(folder), [method]))


if __name__ == "__main__":
    main()
