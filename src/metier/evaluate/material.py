"""What an exam holds, on disk and in memory: everything that is needed to examine any model in the same way."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from metier.core.chat import Decoding, Message
from metier.core.errors import Failure
from metier.core.files import write_json_atomic, write_text_atomic
from metier.core.types import Conversation, Document
from metier.evaluate.multiple_choice import Item

HARNESS = 1
"""Raised when the same exam would give another figure: results of unlike harnesses are not compared."""

_PARTS = ("passages", "items", "rows", "prompts")


class Passage(NamedTuple):
    """A stretch of a held-out document whose likelihood is measured. `split` is "held_out" or "general"."""

    id: str
    split: str
    source: str
    text: str


class GeneralPrompt(NamedTuple):
    """A request that has nothing to do with the trade, and what the origin model replied to it."""

    id: str
    subject: str
    prompt: str
    reply: str


class Conditions(BaseModel):
    """How every model is examined: the decoding record that the figures belong to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    harness: int = HARNESS
    temperature: float = 0.0
    max_tokens: int = 64
    window: int = 512
    executed_answers_end: Literal["after the line of the first whole statement"] = (
        "after the line of the first whole statement"
    )
    precision: Literal["bfloat16", "float32"] = "bfloat16"

    @property
    def decoding(self) -> Decoding:
        """How answers are drawn."""
        return Decoding(temperature=self.temperature, max_tokens=self.max_tokens)


class Material(NamedTuple):
    """An exam."""

    conditions: Conditions
    passages: list[Passage]
    items: list[Item]
    rows: list[Conversation]
    prompts: list[GeneralPrompt]

    @property
    def digest(self) -> str:
        """SHA-256 of all that the exam holds: two exams are one exact when their digests are equal."""
        parts = {name: [plain(row) for row in getattr(self, name)] for name in _PARTS}
        whole = json.dumps([self.conditions.model_dump(), parts], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(whole.encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write the exam into an artifact's folder."""
        for name in _PARTS:
            lines = (json.dumps(plain(row), ensure_ascii=False) + "\n" for row in getattr(self, name))
            write_text_atomic(folder / f"{name}.jsonl", "".join(lines))
        write_json_atomic(folder / "exam.json", self.card())

    def card(self) -> dict[str, Any]:
        """Return what identifies the exam, kept beside every result made with it."""
        counts = {name: len(getattr(self, name)) for name in _PARTS}
        return {"digest": self.digest, "conditions": self.conditions.model_dump(), "counts": counts}


def read_material(folder: Path) -> Material:
    """Read what `write` wrote. Raises Failure if it is not whole, or was changed since."""
    try:
        card = json.loads((folder / "exam.json").read_text())
        parts: dict[str, list[dict[str, Any]]] = {
            # Only "\n" ends a row: JSON leaves other ends of lines (U+2028, U+0085) in a text as they are.
            name: [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().split("\n") if line]
            for name in _PARTS
        }
        material = Material(
            Conditions(**card["conditions"]),
            [Passage(**row) for row in parts["passages"]],
            [Item(**row) for row in parts["items"]],
            [_conversation(row) for row in parts["rows"]],
            [GeneralPrompt(**row) for row in parts["prompts"]],
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Failure(
            f"the exam in {folder} cannot be read", found=str(error), hint=f"remove {folder} and run again"
        ) from error
    if material.digest != card["digest"]:
        raise Failure(
            f"the exam in {folder} was changed after it was made",
            found=f"digest {material.digest[:12]} instead of {card['digest'][:12]}",
            hint=f"remove {folder} and run again; change the recipe to change the exam",
        )
    return material


def plain(row: Any) -> dict[str, Any]:
    """Return a named tuple as JSON values."""
    found: dict[str, Any] = row._asdict()
    if isinstance(row, Conversation):
        found["messages"] = [message._asdict() for message in row.messages]
    return found


def _conversation(row: Mapping[str, Any]) -> Conversation:
    return Conversation(**{**row, "messages": [Message(**message) for message in row["messages"]]})


def passages(
    documents: Iterable[Document], split: str, characters: int, least: int, rng: random.Random
) -> list[Passage]:
    """Return about `characters` of text: of each document a stretch of at least `least`, or all of a shorter one.

    Many documents are worth more than long stretches: the interval is over documents. A stretch begins with a paragraph
    and ends with a word.
    """
    found, taken = [], 0
    pool = sorted(documents, key=lambda document: document.id)
    rng.shuffle(pool)
    share = max(least, characters // max(1, len(pool)))
    for document in pool:
        if taken >= characters:
            break
        text = _stretch(document.text, share, rng)
        if text:
            found.append(Passage(document.id, split, document.id, text))
            taken += len(text)
    return sorted(found, key=lambda passage: passage.id)


def _stretch(text: str, share: int, rng: random.Random) -> str:
    starts = [0, *(match.end() for match in re.finditer(r"\n\s*\n", text) if len(text) - match.end() >= share)]
    start = rng.choice(starts)
    piece = text[start : start + share]
    if start + share < len(text):
        piece = piece.rsplit(None, 1)[0] if len(piece.split()) > 1 else piece
    return piece.strip()


def sample_rows(rows: Sequence[Conversation], limit: int, rng: random.Random) -> list[Conversation]:
    """Return at most `limit` of the rows, in their order, taken evenly from the clusters."""
    clusters: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        clusters.setdefault(row.cluster or row.id, []).append(at)
    queues = [rng.sample(members, len(members)) for members in clusters.values()]
    rng.shuffle(queues)
    turns = (queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue))
    chosen = [at for _, at in zip(range(limit), turns, strict=False)]
    return [rows[at] for at in sorted(chosen)]
