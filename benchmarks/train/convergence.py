"""Does bf16 train as well as float32? `python -m benchmarks.train.convergence [--tiny]`.

SmolLM2-135M is fine-tuned twice on the same alpaca rows in the same order, all weights: once with matrix products in
bf16 under autocast, which is what `precision: auto` takes where processors or GPUs have the instructions, and once in
float32. The learning rate, 1e-4, is large enough that the validation loss moves. Reported are that loss before the
first step, on the way and after the last, and the largest difference between the two curves.

In both the weights themselves are float32, and so are gradients and moments: bf16 has 8 significant bits, so near 0.05
neighbouring weights lie 4e-4 apart, and a step of AdamW at 1e-5 moves a weight by 1e-5. Rounded back to bf16, most
steps would be lost (Micikevicius et al. 2018, "Mixed Precision Training", §3.1). What bf16 saves is the time of the
products, not the bytes of the weights.

On one core of 2024 it takes about five minutes; `--tiny` trains a small random model instead, in half a minute, to see
that it runs, and records nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import ClassVar, NamedTuple

from benchmarks.record import Row, save
from benchmarks.train.given import BaseModel
from benchmarks.train.speed_material import alpaca, material
from metier.core import Host, Step, Work, Workshop
from metier.core.chat import Message
from metier.core.types import Conversation, Conversations
from metier.models.tiny import make_tiny_model
from metier.train import Sft
from metier.train.checkpoint import EVERY_MINUTES
from metier.train.options import Precision
from metier.train.watch.options import Watch

RATE, BATCH, LOOKS = 1e-4, 4, 5
_ROWS, _LONGEST = 56, 900  # rows drawn, and the most characters of one: ten optimizer steps and a sixth set aside
_VALIDATED = 1 / 6
_BOUND = 0.01  # nats


class Alpaca(Step[Conversations]):
    """Short alpaca rows, as they come."""

    name: ClassVar[str] = "benchmark-convergence-rows"
    rows: int = _ROWS

    def run(self, work: Work) -> None:
        """Write them."""
        short = [row for row in alpaca() if row["output"].strip() and len(_question(row) + row["output"]) < _LONGEST]
        made = [
            Conversation(f"a{at}", [Message("user", _question(row)), Message("assistant", row["output"])], "alpaca")
            for at, row in enumerate(short[: self.rows])
        ]
        work.count("conversation", len(made), Conversations.write(work.folder, made), made={"conversation": len(made)})


def _question(row: dict[str, str]) -> str:
    return row["instruction"] + ("\n" + row["input"] if row.get("input") else "")


class Curve(NamedTuple):
    """Validation loss by optimizer step, in nats a token; tokens that carry loss; CPU seconds of it all."""

    losses: dict[int, float]
    tokens: int
    seconds: float


def main() -> None:
    """Train twice, compare, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a small random model: to see that it runs")
    tiny = parser.parse_args().tiny
    os.environ[EVERY_MINUTES] = "60"  # nothing is resumed here, and a checkpoint has 1.6 GB
    with tempfile.TemporaryDirectory() as folder:
        base = make_tiny_model(Path(folder) / "base") if tiny else material().model
        curves = {precision: train(base, Path(folder) / precision, precision) for precision in ("bf16", "fp32")}
    for precision, curve in curves.items():
        print(f"{precision}: {told(curve)}, {curve.seconds:.0f} CPU s", flush=True)
    if not tiny:
        save("train", rows(curves["bf16"], curves["fp32"]))


def train(base: Path, folder: Path, precision: Precision) -> Curve:
    """Fine-tune `base` in a number format and return its curve."""
    step = Sft(
        base=BaseModel(at=str(base)),
        data=(Alpaca(),),
        epochs=1,
        batch_rows=BATCH,
        sequence_length=512,
        learning_rate=RATE,
        precision=precision,
        validation_share=_VALIDATED,
        evaluations=LOOKS,
        watch=Watch(looks=0),  # they draw answers, which takes time and changes no weight
    )
    start = time.process_time()
    made = Workshop(folder, host=Host(1, 1, Host.here().memory_bytes)).make(step)
    looks = {int(event["step"]): float(event["loss"]) for event in made.events("validation")}
    return Curve(dict(sorted(looks.items())), made.record.figures["trained_tokens"], time.process_time() - start)


def told(curve: Curve) -> str:
    """Return a curve in a line."""
    return "validation loss " + ", ".join(f"{loss:.4f} at step {step}" for step, loss in curve.losses.items())


def rows(bf16: Curve, fp32: Curve) -> list[Row]:
    """Return what is recorded. Raises ValueError if the two were not looked at after the same steps."""
    if bf16.losses.keys() != fp32.losses.keys():
        raise ValueError(f"looked at after steps {list(bf16.losses)} and {list(fp32.losses)}")
    apart = {step: abs(loss - fp32.losses[step]) for step, loss in bf16.losses.items()}
    first, last = min(apart), max(apart)
    text = f"SmolLM2-135M, {last} optimizer steps of {BATCH} alpaca rows at {RATE:g}, {bf16.tokens} trained tokens"
    worst = max(apart, key=lambda step: apart[step])
    note = f"bf16: {told(bf16)}; fp32: {told(fp32)}; furthest apart at step {worst}"
    fell = [curve.losses[first] - curve.losses[last] for curve in (bf16, fp32)]
    seconds = bf16.seconds + fp32.seconds
    return [
        Row(
            "bf16 beside fp32, largest difference of the validation loss",
            None,
            round(apart[worst], 5),
            None,
            None,
            "nats a token",
            text,
            seconds,
            f"≤ {_BOUND}",
            note,
        ),
        Row(
            "bf16 beside fp32, fall of the validation loss in bf16",
            None,
            round(fell[0], 5),
            None,
            None,
            "nats a token",
            text,
            seconds,
            None,
            f"in fp32 {fell[1]:.5f}",
        ),
    ]


if __name__ == "__main__":
    main()
