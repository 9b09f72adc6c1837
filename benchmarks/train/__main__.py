"""Run every benchmark of the training room, one after the other: `python -m benchmarks.train [NAME ...]`."""

import sys

from benchmarks.run import run

NAMES = ("memory", "merge", "vocabulary", "speed", "convergence", "injection_speed", "injection", "gpu")

if __name__ == "__main__":
    sys.exit(run("train", sys.argv[1:] or NAMES))
