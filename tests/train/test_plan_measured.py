"""The planner against the memory of a real training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_peak_of_a_training_is_predicted_within_a_tenth() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("the largest resident set is read from /proc")
    command = [sys.executable, "-m", "benchmarks.train.memory", "fit loop 30M", "fit loop 110M lora"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0, told.stderr
    lines = [line for line in told.stdout.splitlines() if line.startswith("fit")]
    errors = [float(word.rstrip("%")) for line in lines for word in line.split() if word.endswith("%")]
    assert len(errors) == len(lines) == 3
    assert all(abs(error) <= 10 for error in errors), told.stdout
