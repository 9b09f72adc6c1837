"""Predicted against measured peak memory: `python -m benchmarks.train.memory [NAME ...]`, on a CPU.

Each configuration is trained for three steps in a process of its own, on random weights. The measured figure is the
largest resident set minus that of the same process with all libraries imported and nothing loaded
(`benchmarks.train.gpu` does the same on a GPU). In the plain loops glibc is told to give freed blocks of over 128 KB
back to the system: otherwise the holes between the small blocks of such small models are measured, up to a fifth of the
whole. A step sees to its own heap (`metier.train.allocator`), and its holes are planned for. The planner was looked
over on the configurations whose `role` is "fit"; what is reported are the others. Each row is recorded as soon as it is
measured.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from typing import NamedTuple

from benchmarks.record import Row, results_of, save
from metier.core import Host
from metier.train.plan import Job, Layout, Memory, Shape, check, machine_of, memory_of
from metier.train.plan.memory import INTERPRETER

THREADS = 1
_TITLE = "peak memory on CPU, predicted against measured"


class Case(NamedTuple):
    """One training. engine: "step" is the house's own `cpt`, "loop" a plain loop over transformers and PEFT.

    micro: rows of a pass, for "loop"; a step packs its rows into windows of 1024 tokens. passes: of an optimizer step.
    """

    role: str
    engine: str
    shape: Shape
    method: str = "full"
    precision: str = "fp32"
    length: int = 512
    micro: int = 2
    checkpointing: bool = False
    passes: int = 1
    rank: int = 16

    @property
    def name(self) -> str:
        """What was trained, in a few words."""
        words = [self.engine, self.shape.name, self.method, self.precision, f"{self.micro}x{self.length}"]
        words += ["checkpointing"] * self.checkpointing + [f"{self.passes} passes"] * (self.passes > 1)
        return " ".join(words)

    @property
    def job(self) -> Job:
        """The same, as the planner takes it."""
        step = self.engine == "step"
        return Job(
            self.shape,
            self.method,  # type: ignore[arg-type]
            self.precision,  # type: ignore[arg-type]
            self.length,
            rows=self.micro * self.passes,
            rank=self.rank,
            attention="packed" if step else "sdpa",
            head="chunked" if step else "whole",
        )

    def predicted(self, host: Host | str) -> Memory:
        """Return what the planner says."""
        layout = Layout(self.micro, "full" if self.checkpointing else "none")
        return memory_of(self.job, layout, machine_of(host))


def _shape(name: str, layers: int, width: int, inner: int, heads: int, groups: int, vocabulary: int) -> Shape:
    return Shape(name, layers, width, inner, heads, groups, width // heads, vocabulary, tied=True)


_30M = _shape("30M", 8, 384, 1024, 6, 3, 32000)
_45M = _shape("45M", 12, 512, 1536, 8, 4, 8000)
_110M = _shape("110M", 12, 768, 2048, 12, 4, 32000)
_135M = _shape("135M", 30, 576, 1536, 9, 3, 49152)
_150M = _shape("150M", 6, 640, 1792, 10, 2, 151936)
_200M = _shape("200M", 16, 1024, 2816, 16, 8, 8000)
_12M = _shape("12M", 6, 320, 896, 5, 5, 8000)
_70M = _shape("70M", 10, 640, 1728, 10, 5, 16000)

CASES = (
    Case("fit", "step", _30M, precision="mixed", length=512),
    Case("fit", "loop", _30M, length=256, micro=1),
    Case("fit", "loop", _45M, precision="bf16", length=128),
    Case("fit", "loop", _45M, "lora", "bf16", length=128),
    Case("fit", "loop", _110M, "lora", length=128, micro=1),
    Case("fit", "loop", _30M, length=256, checkpointing=True),
    Case("report", "loop", _12M, length=512),
    Case("report", "loop", _70M, length=128, micro=1),
    Case("report", "loop", _135M, length=64, micro=1),
    Case("report", "loop", _150M, length=128, micro=1),
    Case("report", "loop", _200M, precision="bf16", length=64, micro=1),
    Case("report", "loop", _70M, precision="bf16", length=128, micro=1, passes=2),
    Case("report", "loop", _12M, precision="bf16", length=1024),
    Case("report", "loop", _135M, "lora", length=96, micro=1),
    Case("report", "loop", _200M, "lora", "bf16", length=64, micro=1),
    Case("report", "loop", _70M, "lora", length=128, checkpointing=True),
    Case("report", "loop", _12M, length=512, micro=4, checkpointing=True),
    Case("report", "step", _12M, precision="mixed", length=256),
    Case("report", "step", _45M, precision="mixed", length=256, micro=1),
    Case("report", "step", _70M, precision="mixed", length=128),
)


def main() -> None:
    """Measure, compare, and record the cases that nothing was set on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only cases whose name has one of these words")
    given = parser.parse_args()
    from benchmarks.train.memory_case import measured_apart

    reported = False
    for case in CASES:
        if given.names and not any(word in f"{case.role} {case.name}" for word in given.names):
            continue
        start = time.monotonic()
        found = (case, *_compared(case, measured_apart(case, THREADS)), time.monotonic() - start)
        print(_line(*found), flush=True)
        if case.role == "report":
            save("train", [_row(*found)])
            reported = True
    if reported:
        save("train", _summary())


def _compared(case: Case, measured: dict[str, int]) -> tuple[int, int]:
    """Return predicted and measured bytes above what is there before a model is loaded."""
    memory = case.predicted(Host(THREADS, THREADS, 64 << 30))
    return memory.peak - INTERPRETER, measured["peak"] - measured["baseline"]


def _line(case: Case, predicted: int, measured: int, seconds: float) -> str:
    told = check(predicted, measured)
    figures = f"{predicted / 1e9:6.3f} {measured / 1e9:6.3f} GB {told.error:+6.1%} {seconds:4.0f} s"
    return f"{case.role:6} {case.name:52} {figures}"


def _row(case: Case, predicted: int, measured: int, seconds: float) -> Row:
    note = f"measured {measured / 1e9:.4f} GB, {check(predicted, measured).error:+.1%}"
    return Row(_TITLE, None, round(predicted / 1e9, 4), None, None, "GB", case.name, seconds, "within 10%", note)


def _summary() -> list[Row]:
    """Return the row that sums up all reported configurations once each was measured, be it over several runs."""
    stored = json.loads(results_of("train").read_text()) if results_of("train").is_file() else []
    rows = {row["input"]: row for row in stored if row["name"] == _TITLE}
    cases = [case for case in CASES if case.role == "report"]
    if any(case.name not in rows for case in cases):
        return []
    told = [rows[case.name] for case in cases]
    errors = [abs(float(re.split(r"[ ,%]+", row["note"])[3])) for row in told]
    return [
        Row(
            "peak memory on CPU, predictions within 10%",
            None,
            sum(error <= 10 for error in errors),
            None,
            None,
            f"of {len(errors)} configurations",
            "random weights, three steps; constants set on other shapes, formulas mended after some of these",
            sum(row["seconds"] for row in told),
            "12 or more",
            f"worst {max(errors):.1f}%, mean {sum(errors) / len(errors):.1f}%",
        )
    ]


if __name__ == "__main__":
    main()
