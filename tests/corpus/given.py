"""Steps that hand out documents and conversations of known content, and the tiny model of the tests."""

from __future__ import annotations

import random
from pathlib import Path
from typing import ClassVar

from metier.core import Host, Step, Work
from metier.core.chat import Message
from metier.core.types import Conversation, Conversations, Document, Documents, Model
from metier.corpus.documents import text_digest

HOST = Host(cores=1, threads=1, memory_bytes=8 << 30)
TWO = Host(cores=2, threads=2, memory_bytes=8 << 30)
WORDS = [
    "table",
    "index",
    "row",
    "column",
    "key",
    "view",
    "page",
    "lock",
    "journal",
    "trigger",
    "schema",
    "cursor",
    "buffer",
    "cache",
    "log",
    "engine",
]


class GivenModel(Step[Model]):
    """A model folder that is there already."""

    name: ClassVar[str] = "given-model"
    at: str

    def run(self, work: Work) -> None:
        (work.folder / "model").symlink_to(self.at)


class GivenDocuments(Step[Documents]):
    """Documents of 1 to `words` random words in shards of `rows_per_shard`; every `held_out`th is held out."""

    name: ClassVar[str] = "given-documents"
    label: str = "d"
    documents: int = 100
    words: int = 40
    held_out: int = 0
    split: str | None = "train"
    rows_per_shard: int = 40
    seed: int = 0
    topics: int = 0

    def run(self, work: Work) -> None:
        rows = [self.document(number) for number in range(self.documents)]
        write_shards(work.folder, rows, self.rows_per_shard)
        work.count("document", len(rows), len(rows), made={"document": len(rows)})

    def document(self, number: int) -> Document:
        """Return one document; with topics, most of its words are those of topic `number % topics`."""
        rng = random.Random(f"{self.seed}/{self.label}/{number}")
        words = WORDS
        if self.topics:
            topic = number % self.topics
            words = [f"{word}{'abcdefghijklmnopqrstuvwxyz'[topic]}" for word in WORDS] + WORDS[:2]
        text = " ".join(rng.choice(words) for _ in range(rng.randint(1, self.words)))
        split = "held_out" if self.held_out and number % self.held_out == 0 else self.split
        return Document(f"{self.label}{number:04}", text, self.label, split=split, digest=text_digest(text))


class GivenConversations(Step[Conversations]):
    """Conversations, every tenth for the test."""

    name: ClassVar[str] = "given-conversations"
    rows: int = 30

    def run(self, work: Work) -> None:
        made = [
            Conversation(
                f"c{number}",
                [
                    Message("system", "Be brief."),
                    Message("user", f"What is {number}?"),
                    Message("assistant", f"It is {number}."),
                ],
                "test",
                split="test" if number % 10 == 9 else "train",
                source="talks",
            )
            for number in range(self.rows)
        ]
        work.count("conversation", len(made), Conversations.write(work.folder, made), made={"conversation": len(made)})


def write_shards(folder: Path, rows: list[Document], rows_per_shard: int) -> None:
    """Write documents in shards of so many."""
    from metier.core.tables import write_rows

    write_rows(folder / "documents", (row._asdict() for row in rows), Documents.columns, rows_per_shard)
