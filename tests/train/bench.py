"""What the tests of this room share: rows, a work to train in, weights to compare, steps that only hold rows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, ClassVar

import torch

from metier.core import Host, Progress, Step, Work
from metier.core.chat import Message
from metier.core.types import (
    Conversation,
    Conversations,
    Document,
    Documents,
    Judgement,
    Judgements,
    Model,
    Preference,
    Preferences,
)
from metier.train.packing import Row

HOST = Host(cores=1, threads=1, memory_bytes=8 << 30)
WORDS = ["the", "table", "holds", "one", "row", "for", "each", "order", "index", "name", "price", "city", "select"]


class Given(Step[Model]):
    """A model folder that is there already."""

    name: ClassVar[str] = "test-train-model"
    at: str

    def run(self, work: Work) -> None:
        (work.folder / "model").symlink_to(self.at)


class Texts(Step[Documents]):
    """Documents of random words, the last one held out."""

    name: ClassVar[str] = "test-texts"
    documents: int = 12
    words: int = 40
    seed: int = 0

    def run(self, work: Work) -> None:
        rng = random.Random(self.seed)
        made = [
            Document(f"d{i}", " ".join(rng.choices(WORDS, k=self.words)), "test", split="train")
            for i in range(self.documents)
        ]
        made[-1] = made[-1]._replace(split="held_out")
        work.count("document", len(made), Documents.write(work.folder, made), made={"document": len(made)})


def conversation(index: int, rng: random.Random) -> Conversation:
    """Return a conversation of which every fourth has the same system message."""
    system = f"You answer about table {index % 4}. " + "It has the columns id, name, price, city and year. " * 2
    question = " ".join(rng.choices(WORDS, k=4))
    answer = " ".join(rng.choices(WORDS, k=3 + index % 5))
    messages = [Message("system", system), Message("user", question), Message("assistant", answer)]
    return Conversation(f"c{index}", messages, "test", split="test" if index % 10 == 9 else "train")


class Channels(Step[Documents]):
    """Documents of 2 to 60 words from two channels, one of another kind of text."""

    name: ClassVar[str] = "test-channels"
    documents: int = 40

    def run(self, work: Work) -> None:
        rng = random.Random(0)
        made = []
        for i in range(self.documents):
            words = WORDS if i % 3 else ["SELECT", "FROM", "WHERE", "AND"]
            text = " ".join(rng.choices(words, k=rng.randrange(2, 60)))
            channel = "domain" if i % 3 else "general"
            made.append(Document(f"d{i}", text, "test", split="train", channel=channel))
        work.count("document", len(made), Documents.write(work.folder, made), made={"document": len(made)})


class Talks(Step[Conversations]):
    """Conversations, a tenth of them not for training."""

    name: ClassVar[str] = "test-talks"
    rows: int = 40

    def run(self, work: Work) -> None:
        rng = random.Random(0)
        made = [conversation(index, rng) for index in range(self.rows)]
        work.count("conversation", len(made), Conversations.write(work.folder, made), made={"conversation": len(made)})


class Thumbs(Step[Judgements]):
    """Judged answers to ten prompts."""

    name: ClassVar[str] = "test-thumbs"
    rows: int = 20

    def run(self, work: Work) -> None:
        rng = random.Random(0)
        made = []
        for index in range(self.rows):
            talk = conversation(index // 2, rng)
            made.append(Judgement("same", talk.messages[:-1], talk.messages[-1].content, index % 2 == 0, "test"))
        work.count("judgement", len(made), Judgements.write(work.folder, made), made={"judgement": len(made)})


class Pairs(Step[Preferences]):
    """Preference pairs, one of them with two equal answers."""

    name: ClassVar[str] = "test-pairs"
    pairs: int = 12

    def run(self, work: Work) -> None:
        rng = random.Random(0)
        made = []
        for index in range(self.pairs):
            talk = conversation(index, rng)
            rejected = " ".join(rng.choices(WORDS, k=4))
            chosen = rejected if index == 3 else talk.messages[-1].content
            made.append(Preference(f"p{index}", talk.messages[:-1], chosen, rejected, 1.0, 0.0, "test"))
        work.count("pair", len(made), Preferences.write(work.folder, made), made={"pair": len(made)})


def work_in(folder: Path, host: Host = HOST) -> Work:
    """Return a work without a workshop around it."""
    folder.mkdir(parents=True, exist_ok=True)
    return Work(Texts(), folder, host, {}, Progress())


def rows_with_prefixes(seed: int, count: int = 9) -> list[Row]:
    """Return rows of random ids in three families of a common prefix; answers of 3 to 9 tokens are trained."""
    rng = random.Random(seed)
    prefixes = [[rng.randrange(3, 200) for _ in range(24)] for _ in range(3)]
    rows = []
    for index in range(count):
        prompt = prefixes[index % 3] + [rng.randrange(3, 200) for _ in range(rng.randrange(2, 8))]
        answer = [rng.randrange(3, 200) for _ in range(rng.randrange(3, 10))]
        mask = [False] * len(prompt) + [True] * len(answer)
        rows.append(Row(f"r{index}", prompt + answer, mask))
    return rows


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the saved weights of a model folder."""
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether all weights are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def largest_difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Return the largest absolute difference between two sets of weights."""
    return max(float((a[name] - b[name]).abs().max()) for name in a)


class Interrupting:
    """Stands before a trainer's class: saves after every step, and dies before the end of its `last`."""

    last = 4

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.cadence.due = lambda *_: True  # type: ignore[attr-defined]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)  # type: ignore[misc]
        if self.state.global_step == self.last:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
