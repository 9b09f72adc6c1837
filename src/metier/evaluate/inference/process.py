"""The process that holds the model while it is measured, so that its memory is its own and its death is a finding.

`python -m metier.evaluate.inference.process` reads what to load as one line of JSON from standard input, answers
`{"ready": true}`, and then answers each line that names a cell with that cell's repeats.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metier.core.errors import Problem
from metier.core.host import Gpu, Host
from metier.evaluate.inference.cells import Cell, prompts
from metier.evaluate.inference.targets import EndpointTarget, EngineTarget, LlamaTarget, Target


def target(told: Mapping[str, Any]) -> Target:
    """Return what `told` describes, loaded. Raises Problem if it cannot be."""
    host = Host(**{**told["host"], "gpus": tuple(Gpu(**gpu) for gpu in told["host"]["gpus"])})
    if told["kind"] == "endpoint":
        key = os.environ.get(told["api_key_env"] or "")
        return EndpointTarget(told["base_url"], told["model"], key, told["timeout_seconds"], told["more"])
    if told["kind"] == "gguf":
        return LlamaTarget(Path(told["path"]), host, told["most"], told["context_tokens"])
    return EngineTarget(Path(told["path"]), host, told["precision"])


def _end_with(parent: int) -> None:
    # A cell may take minutes, and nobody would wait for it any more.
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Serve the parent until it closes our input, or dies."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # Libraries print what they like; the parent reads this copy of standard output alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: Mapping[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    told = json.loads(sys.stdin.readline())
    try:
        loaded = target(told)
    except Problem as problem:
        say({"problem": [problem.what, problem.found, problem.hint], "mistake": problem.exit_code == 2})
        return
    say({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        cell = Cell(*order["cell"])
        repeats = []
        for number in range(order["warm_up"] + order["repeats"]):
            asked = prompts(order["requests"], cell.prompt_tokens, f"{told['seed']} {line} {number}")
            repeats.append(loaded.repeat(asked, cell.concurrency, cell.output_tokens))
        kept = repeats[order["warm_up"] :]
        say({"repeats": [[repeat.seconds, [list(request) for request in repeat.requests]] for repeat in kept]})


if __name__ == "__main__":
    main()
