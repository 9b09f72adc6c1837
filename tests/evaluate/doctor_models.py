"""Tiny models trained for real, one for each fault that is planted and a healthy one, all from one origin.

Their world is small enough to be learnt in seconds: a clerk's sentences (general) and an archive's (the trade).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, ClassVar, Literal

from metier.core import Host, Step, Work, Workshop
from metier.core.chat import Message
from metier.core.types import TRAIN, Conversation, Conversations, Document, Documents, Model
from metier.evaluate import Doctor, Examine, MakeExam
from metier.evaluate.doctor import Diagnosis
from metier.models.tiny import TinyModel
from metier.train import Cpt, Sft

HOST = Host(cores=1, threads=1, memory_bytes=8 << 30)
FAULTS = ("missing_end_token", "repetition", "contamination", "forgetting")

_PEOPLE = ["the clerk", "the writer", "the reader", "the teacher", "the child", "the baker", "the farmer"]
_ACTS = ["reads", "writes", "keeps", "opens", "finds", "counts", "sells", "paints"]
_THINGS = ["a letter", "a short note", "the red book", "two apples", "an old map", "the first page", "a warm coat"]
_TIMES = ["in the morning", "at noon", "before dinner", "on Monday", "in the rain", "after the walk"]
_SHELVES = ["shelf", "drawer", "box", "cabinet"]
_KINDS = ["contract", "deed", "ledger", "file", "invoice", "permit"]
_LOOKS = [
    "old",
    "new",
    "long",
    "short",
    "red",
    "blue",
    "green",
    "brown",
    "torn",
    "thin",
    "large",
    "small",
    "plain",
    "late",
]
_ORDERS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "last"]


def general(rng: random.Random) -> str:
    """Return a sentence of the world at large."""
    return f"{rng.choice(_PEOPLE)} {rng.choice(_ACTS)} {rng.choice(_THINGS)} {rng.choice(_TIMES)}."


def trade(rng: random.Random) -> str:
    """Return a sentence of the archive."""
    return (
        f"{rng.choice(_LOOKS)} {rng.choice(_KINDS)} lies in {rng.choice(_ORDERS)} {rng.choice(_LOOKS)} "
        f"{rng.choice(_SHELVES)} under {rng.choice(_LOOKS)} {rng.choice(_KINDS)}."
    )


class World(Step[Documents]):
    """Documents of one kind, every third held out. `copies`: how often each sentence stands in its document."""

    name: ClassVar[str] = "test-doctor-world"
    kind: Literal["general", "trade"]
    count: int = 90
    copies: int = 1
    seed: int = 0

    def run(self, work: Work) -> None:
        rng = random.Random(f"{self.seed}/{self.kind}")
        sentence = general if self.kind == "general" else trade
        rows = []
        for at in range(self.count):
            text = " ".join(" ".join([sentence(rng)] * self.copies) for _ in range(12 // self.copies or 1))
            split = "held_out" if at % 3 == 2 else TRAIN
            rows.append(Document(f"page-{self.kind}{at}", text, "test", f"Page {at}", split=split))
        made = Documents.write(work.folder, rows)
        work.count("document", made, made, made={"document": made})


class Talks(Step[Conversations]):
    """Questions with one-sentence answers; those beyond `train` are held out, unless `leak` trains on them too."""

    name: ClassVar[str] = "test-doctor-talks"
    kind: Literal["general", "trade"]
    train: int = 480
    held_out: int = 80
    leak: bool = False
    seed: int = 0

    def run(self, work: Work) -> None:
        rng = random.Random(f"{self.seed}/{self.kind}/talks")
        rows = []
        for at in range(self.train + self.held_out):
            answer = general(rng) if self.kind == "general" else trade(rng)
            asked = "Tell me about " + " ".join(answer.rstrip(".").split()[:4]) + "?"
            check = {"scorer": "agreement", "reference": answer}
            split = TRAIN if at < self.train or self.leak else "held_out"
            messages = [Message("user", asked), Message("assistant", answer)]
            rows.append(Conversation(f"{self.kind}{at}", messages, "talk", split, "test", f"c{at // 2}", check))
        made = Conversations.write(work.folder, rows[self.train :] if self.leak else rows)
        work.count("conversation", made, made, made={"conversation": made})


class Endless(Step[Model]):
    """Fine-tuning by a plain loop that leaves out the token which ends an answer, as loops outside Metier have done."""

    name: ClassVar[str] = "test-endless"
    base: Step[Model]
    data: tuple[Step[Conversations], ...]
    learning_rate: float = 2e-3
    batch: int = 8

    def run(self, work: Work) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        from metier.core.template import Template

        logging.disable_progress_bar()
        folder = work.made(self.base).model_folder
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
        rows = [row for step in self.data for row in work.made(step).rows(TRAIN)]
        random.Random(0).shuffle(rows)
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.learning_rate, weight_decay=0.0)
        for at in range(0, len(rows), self.batch):
            made = [Template(tokenizer).render(row.messages) for row in rows[at : at + self.batch]]
            last = [max(place for place, kept in enumerate(row.mask) if kept) for row in made]
            width = max(last)
            ids = torch.tensor([row.ids[:end] + [0] * (width - end) for row, end in zip(made, last, strict=True)])
            masks = [row.mask[:end] + [False] * (width - end) for row, end in zip(made, last, strict=True)]
            labels = ids.masked_fill(~torch.tensor(masks), -100)
            model(input_ids=ids, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.save_pretrained(work.folder / "model")
        tokenizer.save_pretrained(work.folder / "model")


def origin(seed: int) -> Sft:
    """Return the chat model that all start from: it has read general text and answers in one sentence."""
    return Sft(
        base=TinyModel(seed=seed), data=(Talks(kind="general"),), text=World(kind="general"), text_tokens=12_000,
        learning_rate=3e-3, batch_rows=8, epochs=2,
    )  # fmt: skip


def trained(fault: str | None, seed: int) -> tuple[list[Step[Model]], list[Step[Any]]]:
    """Return the trainings of a model with one planted fault, None for a healthy one, and its training data."""
    begin, text = origin(seed), World(kind="general")
    chat, talk = Talks(kind="general"), Talks(kind="trade", train=320, seed=seed)
    shared: dict[str, Any] = {"base": begin, "learning_rate": 2e-3, "batch_rows": 8, "seed": seed}
    if fault == "missing_end_token":
        return [Endless(base=begin, data=(talk, chat))], [talk, chat]
    if fault == "repetition":
        again = World(kind="trade", count=45, copies=12, seed=seed)
        return [Cpt(base=begin, corpus=again, epochs=2, learning_rate=2e-3, batch_tokens=512, seed=seed)], [again]
    if fault == "contamination":
        leak = Talks(kind="trade", train=320, leak=True, seed=seed)
        return [Sft(**shared, data=(talk, leak, chat), text=text, text_tokens=8_000)], [talk, leak, chat]
    if fault == "forgetting":
        return [Sft(**{**shared, "learning_rate": 4e-3}, data=(talk,), epochs=3)], [talk]
    return [Sft(**shared, data=(talk, chat), text=text, text_tokens=8_000)], [talk, chat]


def diagnosed(workshop: Workshop, fault: str | None, seed: int) -> dict[str, Any]:
    """Train, examine and diagnose a model; return the diagnosis."""
    stages, data = trained(fault, seed)
    begin = origin(seed)
    exam = MakeExam(
        corpus=World(kind="trade"), origin=begin, tasks=(Talks(kind="trade", train=320, seed=seed),),
        general=World(kind="general", seed=7), characters=4000, general_characters=20_000, choices=0,
        prose_per_split=80, general_prompts=0, max_tokens=160, window=256, precision="float32", seed=seed,
    )  # fmt: skip
    doctor = Doctor(
        model=stages[-1],
        scores=Examine(model=stages[-1], exam=exam, label=fault or "healthy"),
        against=Examine(model=begin, exam=exam, label="origin"),
        exam=exam,
        trained_on=tuple(data),
        training=tuple(stages),
    )
    made: Diagnosis = workshop.make(doctor)
    return made.read()


def workshop_in(folder: Path) -> Workshop:
    """Return a workshop of one thread."""
    return Workshop(folder, HOST)
