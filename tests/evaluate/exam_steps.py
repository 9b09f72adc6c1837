"""Steps that give the evaluation's tests their documents, tasks and models."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import ClassVar

from metier.core import LocalPath, Step, Work
from metier.core.chat import Message
from metier.core.types import Conversation, Conversations, Document, Documents, Model

# Many nouns, so that no two sentences say the same with other figures: the exam would leave them out as leaks.
NOUNS = [
    a + b + c
    for a in ("bra", "del", "kil", "osc", "tan", "vic")
    for b in ("ta", "mo", "ri", "se")
    for c in ("ner", "log", "pus", "dic", "fan", "gom")
]
VERBS = ["opened", "closed", "changed", "copied", "deleted", "named", "locked", "counted"]


def sentence(rng: random.Random) -> str:
    """Return a sentence of 16 to 20 words, hardly ever twice the same."""
    one, two, three, four, five, six = rng.sample(NOUNS, 6)
    return (
        f"The {one} number {rng.randint(100, 999)} keeps a {two} {four} of its own that the {five} has "
        f"{rng.choice(VERBS)} before the {three} {six} {rng.randint(100, 999)} was {rng.choice(VERBS)}."
    )


def _titled(rng: random.Random) -> str:
    noun, *others = rng.sample(NOUNS, 7)
    return (
        f"# {noun} locks\n\nIn {noun} locks the {' '.join(others[:3])} opens {' '.join(others[3:])} for those who ask."
    )


class SomeDocuments(Step[Documents]):
    """Documents of random sentences; every third is held out."""

    name: ClassVar[str] = "test-some-documents"
    count: int = 12
    seed: int = 0
    leak: bool = False  # the first training document quotes the first held-out one
    titled: bool = False  # each begins with a heading and what it says

    def run(self, work: Work) -> None:
        rng = random.Random(self.seed)
        texts = ["\n\n".join(sentence(rng) for _ in range(8)) for _ in range(self.count)]
        if self.titled:
            texts = [f"{_titled(rng)}\n\n{text}" for text in texts]
        if self.leak:
            texts[0] += "\n\n" + texts[2]
        rows = [
            Document(f"doc{at}", text, "test", f"Title {at}", split="held_out" if at % 3 == 2 else "train")
            for at, text in enumerate(texts)
        ]
        made = Documents.write(work.folder, rows)
        work.count("document", made, made, made={"document": made})


class SomeTasks(Step[Conversations]):
    """SQL tasks on small schemas, and a few answered in prose."""

    name: ClassVar[str] = "test-some-tasks"
    schemas: int = 4

    def run(self, work: Work) -> None:
        rows = [
            task(split, schema, at) for split in ("train", "seen") for schema in range(self.schemas) for at in (1, 2)
        ]
        for at in range(3):
            check = {"scorer": "agreement", "reference": f"value {at} is a number"}
            messages = [Message("user", f"What is value {at}?"), Message("assistant", f"value {at} is a number")]
            rows.append(Conversation(f"qa{at}", messages, "doc-qa", "held_out", "test", f"doc{at}", check))
        made = Conversations.write(work.folder, rows)
        work.count("conversation", made, made, made={"conversation": made})


def task(split: str, schema: int, at: int) -> Conversation:
    """Return one SQL task with a check."""
    table = f"{split}_t{schema}"
    gold = f"SELECT a + {at} FROM {table};"
    check = {
        "scorer": "sqlite",
        "databases": [f"CREATE TABLE {table}(a INTEGER); INSERT INTO {table} VALUES (1), (2);"],
        "gold": gold,
        "accepts": [],
        "ordered": False,
        "probe": None,
    }
    messages = [
        Message("system", f"One statement. Tables: {table}(a)"),
        Message("user", f"What is a plus {at} in {table}?"),
        Message("assistant", gold),
    ]
    return Conversation(f"{split}/{schema}/{at}", messages, "text-to-sql", split, "test", table, check)


class GivenModel(Step[Model]):
    """A model folder as it is."""

    name: ClassVar[str] = "test-given-model"
    folder: LocalPath

    def run(self, work: Work) -> None:
        shutil.copytree(self.folder.path, work.folder / "model", dirs_exist_ok=True)


def given(folder: Path) -> GivenModel:
    """Return the step that hands `folder` on."""
    return GivenModel(folder=LocalPath(folder))
