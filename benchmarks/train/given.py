"""Steps that hold what the benchmarks train: a model folder that is there already, and random text."""

from __future__ import annotations

import random
from typing import ClassVar

from pydantic import Field

from metier.core import Step, Work
from metier.core.types import Document, Documents, Model
from metier.models.tiny import SENTENCES


class BaseModel(Step[Model]):
    """A model folder that is there already."""

    name: ClassVar[str] = "benchmark-model"
    at: str = Field(description="the folder")

    def run(self, work: Work) -> None:
        """Point at it."""
        (work.folder / "model").symlink_to(self.at)


class Texts(Step[Documents]):
    """Documents of shuffled sentences, each longer than a row."""

    name: ClassVar[str] = "benchmark-texts"
    tokens: int = Field(description="tokens in all, at least")
    length: int = Field(description="tokens of a row")

    def run(self, work: Work) -> None:
        """Write them: a token of the tiny tokenizer is at most six characters of this text on average."""
        rng = random.Random(0)
        made = []
        for index in range(-(-self.tokens // self.length) + 2):
            text = ""
            while len(text) < 6 * self.length:
                text += rng.choice(SENTENCES) + " "
            made.append(Document(f"d{index}", text, "random", split="train"))
        work.count("document", len(made), Documents.write(work.folder, made), made={"document": len(made)})
