"""Training speed beside TRL and LLaMA-Factory: `python -m benchmarks.train.speed [--again] [NAME ...]`.

SmolLM2-135M on one core: the same weights, rows, effective batch, longest row and learning rate for all; tokens of real
text (padding is none, a prompt counts with each of its answers) by CPU second of a whole optimizer step. Each case
takes four steps on the same rows, and the mean of the last two counts: the first two set libraries and memory up, with
2 to 3.5 seconds of page faults on any side that none of the later steps has. Peers' "defaults" are those of the
library, in batches of 4 rows and 2 passes, which pads less than its own 8 rows; "best" is what was found fastest among
its settings. Each case runs in a process of its own. What was measured is kept in `benchmarks/.material/speed`, under
the number of steps that it was measured with, and measured anew when asked for: about 40 minutes for all on an idle
core, most of them those of the defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import FOLDER as PEERS
from benchmarks.peers import NotInstalled, peer, version
from benchmarks.record import Row, save, versus
from benchmarks.train.speed_material import FOLDER, LENGTH, MICRO, PAIRS, ROWS, Material, material

CORE = os.environ.get("METIER_BENCH_CORE", "1")
RATE = 1e-5
TRL_EPOCHS = 3  # its default; ours is 1
_SCRIPTS = Path(__file__).parent / "peer_scripts"
_SECONDS, _STEPS = 1200, 4  # of a case: the slowest took 5 minutes on an idle core
_STEADY = 2  # last steps whose mean counts
_VERSIONS = {"trl": "TRL", "llamafactory": "LLaMA-Factory"}
_PACKED = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
_PADDED = {"per_device_train_batch_size": MICRO, "gradient_accumulation_steps": ROWS // MICRO}
_PAIRED = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": PAIRS // 2}
_TRL_BEST = {**_PACKED, "packing": True, "max_length": LENGTH, "gradient_checkpointing": False, "bf16": True}
_LF_BEST = {**_PACKED, "neat_packing": True, "cutoff_len": LENGTH, "disable_gradient_checkpointing": True, "bf16": True}


class Case(NamedTuple):
    """One measured training. engine: "ours", "trl" or "llamafactory"; arguments: what differs from its defaults."""

    name: str
    engine: str
    task: str
    method: str
    arguments: dict[str, Any]


CASES = tuple(
    Case(f"{task} {method} {name}", engine, task, method, arguments)
    for task, method, name, engine, arguments in (
        ("sft", "full", "trl as shipped, bf16", "trl", {**_PADDED, "max_length": LENGTH}),
        ("sft", "full", "trl best, bf16", "trl", _TRL_BEST),
        ("sft", "full", "llamafactory best, bf16", "llamafactory", _LF_BEST),
        ("sft", "full", "ours", "ours", {}),
        ("sft", "lora", "trl best, bf16", "trl", _TRL_BEST),
        ("sft", "lora", "llamafactory best, bf16", "llamafactory", _LF_BEST),
        ("sft", "lora", "ours", "ours", {}),
        ("sft", "lora", "trl as shipped, bf16", "trl", {**_PADDED, "max_length": LENGTH}),
        ("dpo", "full", "trl as shipped, bf16", "trl", _PAIRED),
        ("dpo", "full", "ours", "ours", {}),
        ("sft", "full", "llamafactory defaults, fp32", "llamafactory", {**_PADDED, "cutoff_len": LENGTH}),
        ("sft", "full", "trl defaults, fp32", "trl", {**_PADDED, "max_length": LENGTH, "bf16": False}),
        (
            "dpo",
            "full",
            "trl precomputed, no checkpointing, bf16",
            "trl",
            {**_PAIRED, "precompute_ref_log_probs": True, "gradient_checkpointing": False},
        ),
        ("sft", "full", "ours, fp32", "ours", {"precision": "fp32"}),
        ("sft", "lora", "llamafactory defaults, fp32", "llamafactory", {**_PADDED, "cutoff_len": LENGTH}),
        ("sft", "lora", "trl defaults, fp32", "trl", {**_PADDED, "max_length": LENGTH, "bf16": False}),
        ("dpo", "full", "trl defaults, fp32", "trl", {**_PAIRED, "bf16": False}),
        ("dpo", "full", "ours, fp32", "ours", {"precision": "fp32"}),
    )
)


class Measured(NamedTuple):
    """CPU and wall seconds of a steady optimizer step, and the losses of the last step and of the first.

    prepared: CPU seconds before the first step, of the reference's pass over the pairs where it is done once.
    """

    cpu: float
    wall: float
    loss: float
    first_loss: float
    prepared: float


def main() -> None:
    """Measure what is asked for, and record every comparison whose two sides are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="only these cases; a star at the end takes all whose name has the word in it"
    )
    parser.add_argument("--again", action="store_true", help="measure cases anew that were measured before")
    given = parser.parse_args()
    what = material()
    found: dict[str, Measured | NotInstalled] = {}
    for case in CASES:
        kept = FOLDER / "measured" / f"{_file(case)}-{_STEPS}-steps.json"
        wanted = not given.names or any(
            name == case.name or ("*" in name and name.rstrip("*") in case.name) for name in given.names
        )
        if kept.is_file() and not (given.again and wanted):
            found[case.name] = Measured(**json.loads(kept.read_text()))
        elif wanted:
            found[case.name] = one = measure(case, what)
            if isinstance(one, Measured):
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(one._asdict()))
            print(f"{time.strftime('%H:%M')} {case.name}: {_said(one, tokens_of(case, what))}", flush=True)
    save("train", rows(found, what))


def _file(case: Case) -> str:
    return case.name.replace(" ", "-").replace(",", "")


def _said(one: Measured | NotInstalled, tokens: int) -> str:
    if isinstance(one, NotInstalled):
        return one.reason
    return f"{tokens / one.cpu:.1f} tokens/CPU s, {tokens / one.wall:.1f}/s, loss {one.first_loss:.4f} {one.loss:.4f}"


def tokens_of(case: Case, what: Material) -> int:
    """Return the tokens of real text of a case's optimizer step."""
    return what.pair_tokens if case.task == "dpo" else what.row_tokens


def measure(case: Case, what: Material) -> Measured | NotInstalled:
    """Train `case` in a process of its own on one core."""
    told = {
        **case._asdict(),
        "model": str(what.model),
        "rows": str(what.pairs if case.task == "dpo" else what.rows),
        "steps": _STEPS,
        "rate": RATE,
        "length": LENGTH,
        "batch": PAIRS if case.task == "dpo" else ROWS,
    }
    path = FOLDER / f"case-{_file(case)}.json"
    path.write_text(json.dumps(told))
    if case.engine == "ours":
        command = [sys.executable, "-m", "benchmarks.train.speed_ours", str(path)]
    else:
        python = peer(case.engine)
        if isinstance(python, NotInstalled):
            return python
        command = [str(python), str(_SCRIPTS / f"train_{case.engine}.py"), str(path)]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        ["taskset", "-c", CORE, *command],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env={**os.environ, **threads},
    )
    if done.returncode:
        return NotInstalled(f"failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    if len(answer["cpu"]) != _STEPS:
        return NotInstalled(f"took {len(answer['cpu'])} optimizer steps, not {_STEPS}")
    losses = answer["losses"]
    cpu, wall = (sum(answer[clock][-_STEADY:]) / _STEADY for clock in ("cpu", "wall"))
    return Measured(cpu, wall, losses[-1], losses[0], answer.get("prepared", 0.0))


def rows(found: dict[str, Measured | NotInstalled], what: Material) -> list[Row]:
    """Return a row for each peer's case beside ours in the same number format and in ours by default."""
    made = []
    for case in CASES:
        theirs = found.get(case.name)
        if case.engine == "ours" or theirs is None:
            continue
        fp32 = case.name.endswith("fp32")
        for ours_name in {f"{case.task} {case.method} ours", f"{case.task} {case.method} ours, fp32" * fp32} - {""}:
            ours = found.get(ours_name)
            if isinstance(ours, Measured):
                precision = "fp32" if ours_name.endswith("fp32") else "auto"
                for epochs in (1, TRL_EPOCHS) if case.task == "dpo" else (1,):
                    made.append(_row(case, theirs, ours, precision, what, epochs))
    return made


def _row(
    case: Case, theirs: Measured | NotInstalled, ours: Measured, precision: str, what: Material, epochs: int
) -> Row:
    tokens = tokens_of(case, what)
    setting = case.name.split(" ", 3)[3]
    name = f"training speed, {case.task} {case.method}, ours in {precision} beside {_VERSIONS[case.engine]} {setting}"
    name += f", {epochs} epochs" if epochs > 1 else ""
    once = case.task == "dpo"
    text = (
        what.told if not once else f"{PAIRS} preference pairs, {what.pair_tokens} tokens with the prompt counted twice"
    )
    unit, bar = "tokens/CPU second", _bar(case, precision)
    if isinstance(theirs, NotInstalled):
        return Row(name, case.engine, round(tokens / ours.cpu, 1), None, None, unit, text, ours.cpu, bar, theirs.reason)
    # What is done once before the first step serves all epochs: the reference's log-probabilities.
    seconds = (
        ours.cpu + ours.prepared * once / epochs,
        theirs.cpu + theirs.prepared * ("precomputed" in case.name) / epochs,
    )
    note = f"loss {ours.first_loss:.4f} and {theirs.first_loss:.4f} at the first step"
    if once:
        note += f"; without the reference's pass {tokens / ours.cpu:.1f} and {tokens / theirs.cpu:.1f}"
    rates = tokens / seconds[0], tokens / seconds[1]
    told = version(case.engine) if (PEERS / case.engine / "ready").is_file() else None
    return versus(name, case.engine, *rates, unit, text, seconds[0], bar=bar, note=note, peer_version=told)


def _bar(case: Case, precision: str) -> str | None:
    if precision != "auto":
        return None
    if "best" in case.name:
        return "≥ 1.5×"
    return ("≥ 3×" if case.task == "dpo" else "≥ 4×") if "precomputed" not in case.name else None


if __name__ == "__main__":
    main()
