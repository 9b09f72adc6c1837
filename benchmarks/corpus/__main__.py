"""Run every benchmark of the corpus room, one after the other: `python -m benchmarks.corpus [NAME ...]`."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.corpus import material
from benchmarks.corpus.record import RESULTS, markdown

NAMES = (
    "near_dedup",
    "near_accuracy",
    "growth",
    "rules",
    "pii",
    "quality",
    "language",
    "comply",
    "reading",
    "packing",
    "pipeline",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; one that fails stops no other. Returns how many failed."""
    material.documents("tune")
    material.documents("report")
    failed = []
    for name in names or NAMES:
        start = time.monotonic()
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.corpus.{name}"]).returncode:
            failed.append(name)
        print(f"-- {name}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"\n{markdown()}\n{RESULTS}")
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
