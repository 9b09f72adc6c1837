"""Our side of `benchmarks.train.speed`, in a process of its own: `python -m benchmarks.train.speed_ours CASE.json`.

It makes the real steps, `Sft` and `Dpo`, in a workshop. The clock is a callback of transformers' trainer, the same as
for the peers; the trainers themselves are not touched.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.train.given import BaseModel
from benchmarks.train.peer_scripts.timed import Timed
from metier.core import Host, Step, Work, Workshop
from metier.core.chat import Message
from metier.core.types import Conversation, Conversations, Preference, Preferences
from metier.train import Dpo, Sft


class Rows(Step[Conversations]):
    """The alpaca rows."""

    name: ClassVar[str] = "benchmark-speed-rows"
    at: str

    def run(self, work: Work) -> None:
        """Write them."""
        made = [
            Conversation(
                f"a{at}", [Message("user", row["prompt"]), Message("assistant", row["answer"])], "alpaca", split="train"
            )
            for at, row in enumerate(json.loads(Path(self.at).read_text()))
        ]
        work.count("conversation", len(made), Conversations.write(work.folder, made), made={"conversation": len(made)})


class Pairs(Step[Preferences]):
    """The preference pairs."""

    name: ClassVar[str] = "benchmark-speed-pairs"
    at: str

    def run(self, work: Work) -> None:
        """Write them."""
        made = []
        for at, row in enumerate(json.loads(Path(self.at).read_text())):
            prompt = [Message(one["role"], one["content"]) for one in row["prompt"]]
            answers = row["chosen"][0]["content"], row["rejected"][0]["content"]
            made.append(Preference(f"p{at}", prompt, *answers, 1.0, 0.0, "pairs"))
        work.count("pair", len(made), Preferences.write(work.folder, made), made={"pair": len(made)})


def main() -> None:
    """Train for the case's steps and print seconds and losses."""
    import transformers.trainer

    from metier.train.preference import PreferenceTrainer

    case = json.loads(Path(sys.argv[1]).read_text())
    timed, prepared = Timed(), []
    transformers.trainer.DEFAULT_CALLBACKS.append(timed)
    plain = PreferenceTrainer.prepare

    def clocked(self: Any) -> None:
        start = time.process_time()
        plain(self)
        prepared.append(time.process_time() - start)

    PreferenceTrainer.prepare = clocked  # type: ignore[method-assign]
    base, host = BaseModel(at=case["model"]), Host(1, 1, Host.here().memory_bytes)
    common = {
        "learning_rate": case["rate"],
        "scheduler": "constant",
        "warmup": 0.0,
        "epochs": case["steps"],
        "method": case["method"],
        **case["arguments"],
    }
    step: Any
    if case["task"] == "dpo":
        step = Dpo(base=base, pairs=Pairs(at=case["rows"]), batch_pairs=case["batch"], **common)
    else:
        step = Sft(
            base=base, data=(Rows(at=case["rows"]),), batch_rows=case["batch"], sequence_length=case["length"], **common
        )
    with tempfile.TemporaryDirectory() as folder:
        Workshop(Path(folder), host=host).make(step)
    print(timed.told(prepared=sum(prepared)), flush=True)


if __name__ == "__main__":
    main()
