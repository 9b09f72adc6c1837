"""Memory and speed on one GPU: `python -m benchmarks.train.gpu [--list] [--again] [--minutes N] [WORD ...]`.

Memory: configurations of 1B to 8B shapes with random weights, trained for three steps by the house's trainer; predicted
peak against `torch.cuda.max_memory_allocated`. Speed: LoRA on an 8B shape and all weights of a 3B shape (8B with
float32 weights and moments take 128 GB before the first activation), tokens of real text a second of ours, TRL and
Unsloth on the same rows; and the share of the peak of bf16 matrix products, measured in the same process.

A case runs in a process of its own. What runs out of memory, or fails, is a note in its row. Words choose cases whose
name has one of them: `memory 1B`, as one argument, or `speed`. What was measured is kept in `benchmarks/.material/gpu`
and measured anew when asked for, so that a run that was cut off goes on. With --minutes no case is begun that would end
later, by what such cases take. Without a GPU nothing is measured, and nothing is written.

METIER_BENCH_UNSLOTH: the Python that has Unsloth, if it is not this one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.corpus.material import FOLDER as _MATERIAL
from benchmarks.record import Row, save, versus
from benchmarks.train.gpu_cases import (
    BATCH_ROWS,
    CASES,
    LONGEST,
    SPEED,
    STEPS,
    WARM,
    Case,
    allocated,
    operations,
    predicted,
    rate,
    rows_of,
    sizes_of,
    timed,
)
from metier.core import Host
from metier.train.plan import check

UNSLOTH = "METIER_BENCH_UNSLOTH"
FOLDER = _MATERIAL / "gpu"
_SCRIPTS = {"trl": "train_on_gpu.py", "unsloth": "train_unsloth.py"}
_LIMIT = 420  # seconds of a case; the slowest are expected to take 150
_EXPECTED = {"memory": 45, "speed": 100}  # seconds of a case, for --minutes
_BARS = {"trl": "≥ 1.5× where Unsloth is not at hand", "unsloth": "≥ 1.0×"}
_NAMES = {"trl": "TRL", "unsloth": "Unsloth"}


class Failed(NamedTuple):
    """Why a case has no figures."""

    reason: str


Found = Mapping[str, "dict[str, Any] | Failed"]


def main() -> None:
    """Measure what is asked for on this machine's GPU, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only cases whose name has one of these in it")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--again", action="store_true", help="measure anew what was measured before")
    parser.add_argument("--minutes", type=float, help="begin no case that would end later")
    given = parser.parse_args()
    cases = [case for case in CASES if not given.words or any(word in case.name for word in given.words)]
    if given.list:
        print("\n".join(case.name for case in cases))
        return
    host = Host.here()
    if not host.gpus:
        print("no GPU at hand: nvidia-smi shows none, so nothing is measured and no row is written")
        return
    end = time.monotonic() + 60 * given.minutes if given.minutes else float("inf")
    found: dict[str, dict[str, Any] | Failed] = {}
    for case in cases:
        kept = FOLDER / host.gpus[0].name.replace(" ", "-") / f"{case.name.replace(' ', '-').replace(',', '')}.json"
        if kept.is_file() and not given.again:
            found[case.name] = json.loads(kept.read_text())
        elif time.monotonic() + _EXPECTED[case.kind] > end:
            print(f"{case.name}: left for another run", flush=True)
            continue
        else:
            start = time.monotonic()
            found[case.name] = one = measure(case, kept)
            print(f"{case.name}: {_said(one)}, {time.monotonic() - start:.0f} s", flush=True)
        save("train", rows(found, host))  # after each: what was measured stays, whatever ends the run


def measure(case: Case, kept: Path) -> dict[str, Any] | Failed:
    """Train a case in a process of its own; keep what it measured in a file."""
    python = sys.executable
    if case.engine == "unsloth":
        python = os.environ.get(UNSLOTH, python)
        look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('unsloth') is None)"
        if subprocess.run([python, "-c", look], capture_output=True).returncode:
            return Failed(f"Unsloth is not installed in {Path(python).name} ({UNSLOTH} names another Python)")
    kept.parent.mkdir(parents=True, exist_ok=True)
    told = kept.with_suffix(".case")
    told.write_text(json.dumps(_told(case)))
    script = ["-m", "benchmarks.train.gpu_ours"]
    if case.engine != "ours":
        script = [str(Path(__file__).parent / "peer_scripts" / _SCRIPTS[case.engine])]
    try:
        done = subprocess.run([python, *script, str(told)], capture_output=True, text=True, timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        return Failed(f"took over {_LIMIT} s")
    finally:
        told.unlink()
    if done.returncode:
        return Failed(reason_of(done.stderr))
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    kept.write_text(json.dumps(found))
    return found


def _told(case: Case) -> dict[str, Any]:
    if case.engine == "ours":
        return case._asdict()
    given = [{"ids": row.ids, "mask": row.mask} for row in rows_of(case)]
    return {
        "method": case.method,
        "config": case.config,
        "rows": given,
        "length": LONGEST,
        "steps": STEPS,
        "arguments": case.arguments,
    }


def reason_of(error: str) -> str:
    """Return in a few words why a process failed, from its standard error."""
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    if any("OutOfMemoryError" in line or "CUDA out of memory" in line for line in lines):
        return "out of memory"
    return f"failed: {lines[-1][:200] if lines else 'without a word'}"


def _said(one: dict[str, Any] | Failed) -> str:
    if isinstance(one, Failed):
        return one.reason
    return f"{one.get('allocated', 0) / 1e9:.2f} GB, losses {one['losses'][0]:.3f} to {one['losses'][-1]:.3f}"


def rows(found: Found, host: Host) -> list[Row]:
    """Return the rows of what was measured so far."""
    gpu = host.gpus[0].name
    return [*_memory_rows(found, host, gpu), *_speed_rows(found, gpu)]


def _memory_rows(found: Found, host: Host, gpu: str) -> list[Row]:
    made, errors = [], []
    for case in CASES:
        one = found.get(case.name)
        if case.kind != "memory" or one is None:
            continue
        plan = predicted(case, host)
        told = round(allocated(plan) / 1e9, 3)
        name, what = "peak memory on GPU, predicted against measured", f"{case.name.removeprefix('memory ')}, {gpu}"
        if isinstance(one, Failed):
            there = f"{plan.peak / 1e9:.1f} GB with the driver and fragments were predicted, there are"
            note = f"not measured: {one.reason}; {there} {host.gpus[0].memory_bytes / 1e9:.1f}"
            made.append(Row(name, None, told, None, None, "GB", what, 0.0, "within 10%", note))
            continue
        off = check(allocated(plan), one["allocated"]).error
        errors.append(abs(off))
        note = f"measured {one['allocated'] / 1e9:.3f} GB, {off:+.1%}; torch held {one['reserved'] / 1e9:.2f} GB"
        made.append(Row(name, None, told, None, None, "GB", what, one["ends"][-1] - one["ends"][0], "within 10%", note))
    if errors:
        within, worst = sum(error <= 0.1 for error in errors), f"worst {max(errors):.1%}"
        unit, what = f"of {len(errors)} configurations", f"random weights, three steps, {gpu}"
        name, mean = "peak memory on GPU, predictions within 10%", f"mean {sum(errors) / len(errors):.1%}"
        made.append(Row(name, None, within, None, None, unit, what, 0.0, "12 or more", f"{worst}, {mean}"))
    return made


def _speed_rows(found: Found, gpu: str) -> list[Row]:
    """Return our share of the peak, and a row for each peer beside the faster of ours, compiled or not."""
    made = []
    for size, method in dict.fromkeys((case.shape.name, case.method) for case in SPEED):
        same = [case for case in SPEED if (case.shape.name, case.method) == (size, method)]
        ours = [(case, one) for case in same if case.engine == "ours" and isinstance(one := found.get(case.name), dict)]
        if not ours:
            continue
        best, one = max(ours, key=lambda pair: _rate_of(*pair))
        what = (
            f"{BATCH_ROWS} rows of random tokens a step, {STEPS - WARM} steps after {WARM}, lengths as of instruction "
            f"data, at most {LONGEST}; random weights, {gpu}"
        )
        made += [_share_row(case, one, what) for case, one in ours]
        seconds = one["ends"][-1] - one["ends"][WARM - 1]
        for case in same:
            theirs = found.get(case.name)
            if case.engine == "ours" or theirs is None:
                continue
            more = f"ours {best.words}" if best.words else "ours as shipped"
            name = f"training speed on GPU, {size} {method} beside {_NAMES[case.engine]} {case.words}"
            bar = _BARS[case.engine] if case.engine == "unsloth" or case.words == "defaults" else None
            rate_ours = round(_rate_of(best, one), 1)
            if isinstance(theirs, Failed):
                row = Row(name, case.engine, rate_ours, None, None, "tokens/s", what, seconds, bar, theirs.reason)
            else:
                note = f"{more}; peak {one['allocated'] / 1e9:.1f} and {theirs['allocated'] / 1e9:.1f} GB"
                note += f"; {theirs['attention']}; loss {one['losses'][-1]:.3f} and {theirs['losses'][-1]:.3f}"
                told = theirs["versions"].get(case.engine)
                given = rate_ours, _rate_of(case, theirs), "tokens/s", what, seconds
                row = versus(name, case.engine, *given, bar=bar, note=note, peer_version=told)
            made.append(row)
    return made


def _rate_of(case: Case, one: dict[str, Any]) -> float:
    """Return tokens a second, padding left out."""
    if case.engine != "ours":
        return rate(one["tokens"], one["ends"])
    every = [size.tokens for size in sizes_of(case)]
    return rate([sum(every[at : at + BATCH_ROWS]) for at in range(0, len(every), BATCH_ROWS)], one["ends"])


def _share_row(case: Case, one: dict[str, Any], what: str) -> Row:
    """Return what share of the measured peak of matrix products was used, see `operations`."""
    seconds = one["ends"][-1] - one["ends"][WARM - 1]
    share = operations(case.shape, case.method, timed(case)) / seconds / one["matrix_peak"]
    name = f"share of the measured bf16 peak, {case.shape.name} {case.method}{', ' * bool(case.words)}{case.words}"
    times = 6 if case.method == "full" else 4
    note = (
        f"({times}N a token{' and 6 an adapter weight' * (times == 4)}, the head at trained positions, causal "
        f"attention; PaLM, appendix B) over {one['matrix_peak'] / 1e12:.0f} TFLOP/s of an 8192³ product in this "
        f"process; {_rate_of(case, one):.0f} tokens/s, passes of at most {one['window']:,} tokens, torch "
        f"{one['versions']['torch']}"
    )
    return Row(name, None, round(100 * share, 1), None, None, "%", what, seconds, "≥ 45%", note)


if __name__ == "__main__":
    main()
