"""Answer the same prompts greedily with Metier's engine and with transformers' `generate`, in turn, in one process.

`python benchmarks/generation.py MODEL_FOLDER [PROMPTS]` prints both in answer tokens per CPU-second, and the ratio.
The prompts are the demo's SQL tasks: 100 questions on 20 schemas, so many share their system message; the peer runs
them in their order, in batches of 16, padded on the left, in the same number format.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Host
from metier.core.chat import Decoding
from metier.core.engine import EngineChat
from metier.instruct.sql.tasks import Sizes, generate

MAX_TOKENS = 64


class Timed(NamedTuple):
    result: Any
    cpu_seconds: float


def timed(work: Callable[[], Any]) -> Timed:
    start = time.process_time()
    return Timed(work(), time.process_time() - start)


def peer(engine: EngineChat, conversations: list[Any]) -> list[list[int]]:
    """Return the answers of transformers' `generate`, as ids up to the end token."""
    import torch

    tokenizer, model = engine.tokenizer, engine.network.model
    tokenizer.padding_side = "left"
    answers = []
    with torch.inference_mode():
        for start in range(0, len(conversations), 16):
            texts = [engine.template.render(turns, generate=True).text for turns in conversations[start : start + 16]]
            batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
            made = model.generate(**batch, max_new_tokens=MAX_TOKENS, do_sample=False)
            for row in made[:, batch["input_ids"].shape[1] :].tolist():
                end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
                answers.append(row[:end])
    return answers


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100
    rows = [row for row in generate(0, Sizes(1, 1, 0.0, 20, count)) if row.split == "new_wording"]
    conversations = [row.messages[:-1] for row in rows][:count]
    engine = EngineChat(folder, Host.here())
    ours = timed(lambda: engine.complete(conversations, Decoding(max_tokens=MAX_TOKENS)))
    engine.network.model.set_attn_implementation("sdpa")
    theirs = timed(lambda: peer(engine, conversations))
    our_rate = sum(replies[0].tokens for replies in ours.result) / ours.cpu_seconds
    their_rate = sum(map(len, theirs.result)) / theirs.cpu_seconds
    texts = [engine.tokenizer.decode(ids, skip_special_tokens=True) for ids in theirs.result]
    equal = sum(text == replies[0].text for text, replies in zip(texts, ours.result, strict=True))
    print(
        json.dumps(
            {
                "name": "greedy answers",
                "peer": "transformers generate, batch 16",
                "ours": round(our_rate, 1),
                "theirs": round(their_rate, 1),
                "ratio": round(our_rate / their_rate, 2),
                "unit": "answer tokens per CPU-second",
                "input": f"{len(conversations)} prompts, {equal} answers equal to the letter",
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
