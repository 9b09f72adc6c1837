"""The tests of ``cluster_cases.py``, in a process of their own, because Ray may end it without a word."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CASES = Path(__file__).with_name("cluster_cases.py")
ATTEMPTS = 3


def test_the_engine_on_a_cluster(tmp_path: Path) -> None:
    results = tmp_path / "results.xml"  # pytest writes it at its end, whatever failed
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "slow",
        f"--junitxml={results}",
        f"--basetemp={tmp_path / 'cases'}",
    ]
    for attempt in range(1, ATTEMPTS + 1):
        run = subprocess.run([*command, str(CASES)], cwd=CASES.parents[2], capture_output=True, text=True)
        if results.exists():
            break
        # In pytest's summary, also where the next attempt passes.
        warnings.warn(f"Ray ended the tests' process, attempt {attempt}: exit code {run.returncode}", stacklevel=1)
    else:
        pytest.fail(f"Ray ended the tests' process {ATTEMPTS} times; see /tmp/ray/session_latest/logs\n{run.stderr}")
    suite = ElementTree.parse(results).getroot().find("testsuite")
    assert run.returncode == 0, run.stdout + run.stderr
    assert suite is not None and int(suite.get("tests", 0)) > int(suite.get("skipped", 0))
