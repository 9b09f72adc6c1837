"""Run every benchmark of the evaluation room, one after the other: `python -m benchmarks.evaluate [NAME ...]`."""

import sys

from benchmarks.corpus import material
from benchmarks.run import run

NAMES = ("choices", "perplexity", "leaks", "doctor", "power", "passk", "sandbox")

if __name__ == "__main__":
    material.documents(None)
    sys.exit(run("evaluate", sys.argv[1:] or NAMES))
