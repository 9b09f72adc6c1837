"""Run every benchmark of the corpus room, one after the other: `python -m benchmarks.corpus [NAME ...]`."""

import sys

from benchmarks.corpus import material
from benchmarks.run import run

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

if __name__ == "__main__":
    material.documents("tune")
    material.documents("report")
    sys.exit(run("corpus", sys.argv[1:] or NAMES))
