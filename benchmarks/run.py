"""Run the benchmarks of a room one after the other."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.record import markdown, results_of


def run(room: str, names: Sequence[str]) -> int:
    """Run the named benchmarks, a process each; one that fails stops no other. Returns how many failed."""
    failed = []
    for name in names:
        start = time.monotonic()
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{room}.{name}"]).returncode:
            failed.append(name)
        print(f"-- {name}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"\n{markdown(room)}\n{results_of(room)}")
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return len(failed)
