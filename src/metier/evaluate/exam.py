"""The step that makes an exam before any training, and checks that nothing of it is trained on."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple, TypeVar

from pydantic import Field

from metier.core import Mistake, Step, Work
from metier.core.types import HELD_OUT, TRAIN, Conversation, Conversations, Document, Documents, Exam, Model
from metier.evaluate import execution
from metier.evaluate.forgetting import general_requests, replies_to
from metier.evaluate.leaks import LEAK_SHARE, found_in_training
from metier.evaluate.material import Conditions, GeneralPrompt, Material, Passage, passages, sample_rows
from metier.evaluate.multiple_choice import Item, items

_LEAST_OF_A_DOCUMENT = 600  # characters: shorter stretches are read almost without context
_SPARE = 1.25  # so much more is drawn than asked for, to make up for what the leak check takes away

T = TypeVar("T", Passage, Item, Conversation)


class MakeExam(Step[Exam]):
    """Make an exam from held-out documents and held-out tasks, checked word for word against what is trained on.

    It holds passages, multiple-choice questions, tasks graded by their own scorers, and general requests with the
    origin model's replies. Its digest goes with every result; results of unlike exams are not compared.
    """

    name: ClassVar[str] = "exam"
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    corpus: Step[Documents] = Field(description="Documents of the trade, split; only those held out are asked about.")
    origin: Step[Model] = Field(
        description="The model whose replies to general requests are the measure of forgetting."
    )
    tasks: tuple[Step[Conversations], ...] = Field((), description="Conversations; their splits but `train` are asked.")
    general: Step[Documents] | None = Field(None, description="General texts, to see what is forgotten of them.")
    characters: int = Field(40_000, ge=0, description="Characters of the trade's texts whose perplexity is measured.")
    general_characters: int = Field(16_000, ge=0, description="Characters of general texts, likewise.")
    choices: int = Field(120, ge=0, description="Multiple-choice questions at the most.")
    executed_per_split: int = Field(100, ge=0, description="Executed tasks of each split at the most.")
    prose_per_split: int = Field(40, ge=0, description="Tasks of each split graded by agreement, at the most.")
    general_prompts: int = Field(48, ge=0, le=64, description="General requests, of the 64 there are.")
    max_tokens: int = Field(64, ge=1, description="Most tokens of an answer.")
    window: int = Field(512, ge=16, description="Tokens read at once when perplexity is measured.")
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="Arithmetic of the examination.")
    seed: int = Field(0, description="Another seed draws another exam.")

    def run(self, work: Work) -> None:
        """Draw the parts, drop what stands in the training data, and let the origin reply to the general requests."""
        drawn = self._draw(work)
        kept = self._without_leaks(work, drawn)
        conditions = Conditions(max_tokens=self.max_tokens, window=self.window, precision=self.precision)
        material = Material(
            conditions, kept.passages + drawn.general, kept.items, kept.rows, self._general_prompts(work)
        )
        if not any(material[1:]):
            raise Mistake("the exam would be empty", hint="give it `tasks`, or a corpus with held-out documents")
        material.write(work.folder)
        work.figure("digest", material.digest)
        work.figure("counts", material.card()["counts"])

    def _draw(self, work: Work) -> Drawn:
        held_out = list(work.made(self.corpus).rows(HELD_OUT))
        if not held_out and (self.characters or self.choices):
            raise Mistake(
                "no document of the corpus is held out, so there is nothing to ask about",
                hint="give the exam the result of a `split` step",
            )
        rng = random.Random(self.seed)
        texts = passages(held_out, HELD_OUT, int(self.characters * _SPARE), _LEAST_OF_A_DOCUMENT, rng)
        asked = items(held_out, random.Random(self.seed + 1))
        asked = sorted(rng.sample(asked, min(len(asked), int(self.choices * _SPARE))), key=lambda item: item.id)
        rows = [row for step in self.tasks for row in self._rows(work, step)]
        general = self._general_documents(work)
        return Drawn(
            texts, passages(general, "general", self.general_characters, _LEAST_OF_A_DOCUMENT, rng), asked, rows
        )

    def _rows(self, work: Work, step: Step[Conversations]) -> list[Conversation]:
        splits: dict[tuple[str, str], list[Conversation]] = {}
        for row in work.made(step).rows():
            if row.split != TRAIN:
                splits.setdefault((execution.name_of(row), row.split), []).append(row)
        rng = random.Random(self.seed)
        return [
            row
            for (name, _), rows in splits.items()
            for row in sample_rows(rows, self.executed_per_split if name == "execution" else self.prose_per_split, rng)
        ]

    def _general_documents(self, work: Work) -> list[Document]:
        if self.general is None:
            return []
        documents = list(work.made(self.general).rows())
        held_out = [document for document in documents if document.split == HELD_OUT]
        if not held_out and any(document.split == TRAIN for document in documents):
            raise Mistake("no general text is held out", hint="give the exam general texts that are not trained on")
        return held_out or documents

    def _without_leaks(self, work: Work, drawn: Drawn) -> Drawn:
        texts = {f"passage {at}": passage.text for at, passage in enumerate(drawn.passages)}
        texts |= {f"item {at}": _asked(item) for at, item in enumerate(drawn.items)}
        texts |= {f"row {at}": _words(row) for at, row in enumerate(drawn.rows)}
        with work.progress("looking for leaks", None, "training texts") as bar:

            def counted() -> Iterator[str]:
                for text in self._training_texts(work):
                    bar.advance()
                    yield text

            shares = found_in_training(texts, counted())
        rows: list[Conversation] = []
        for name, group in _by_split(drawn.rows).items():
            rows += _clean(work, f"{name} task", group, shares)
        return Drawn(
            _clean(
                work, "passage", [(p, f"passage {at}") for at, p in enumerate(drawn.passages)], shares, self.characters
            ),
            drawn.general,
            _clean(work, "question", [(i, f"item {at}") for at, i in enumerate(drawn.items)], shares, self.choices),
            rows,
        )

    def _training_texts(self, work: Work) -> Iterator[str]:
        for document in work.made(self.corpus).rows(TRAIN):
            yield document.text
        for step in self.tasks:
            for row in work.made(step).rows(TRAIN):
                yield _words(row)

    def _general_prompts(self, work: Work) -> list[GeneralPrompt]:
        from metier.core.engine import EngineChat

        requests = general_requests("examination", self.general_prompts, random.Random(self.seed))
        if not requests:
            return []
        chat = EngineChat(work.made(self.origin).model_folder, work.host, self.precision)
        with work.progress("asking the origin", len(requests), "requests") as bar:
            replies = replies_to(chat, requests, self.max_tokens, bar.advance)
        return [GeneralPrompt(*request, reply) for request, reply in zip(requests, replies, strict=True)]


class Drawn(NamedTuple):
    """The parts of an exam before the origin has replied."""

    passages: list[Passage]
    general: list[Passage]
    items: list[Item]
    rows: list[Conversation]


def _asked(item: Item) -> str:
    """Return what of a question comes from the documents: what it quotes, and the right option; its frame does not."""
    quoted = re.findall(r'"(.+?)(?: \.\.\.)?"', item.question, re.DOTALL)
    return " ".join([*(quoted or [item.question]), item.options[item.answer]])


def _words(row: Conversation) -> str:
    return "\n".join(message.content for message in row.messages)


def _by_split(rows: list[Conversation]) -> dict[str, list[tuple[Conversation, str]]]:
    found: dict[str, list[tuple[Conversation, str]]] = {}
    for at, row in enumerate(rows):
        found.setdefault(row.split, []).append((row, f"row {at}"))
    return found


def _clean(
    work: Work, unit: str, drawn: list[tuple[T, str]], shares: dict[str, float], limit: int | None = None
) -> list[T]:
    """Return what does not stand in the training data, up to `limit` (characters of passages, or items)."""
    clean = [item for item, id in drawn if shares[id] < LEAK_SHARE]
    kept: list[T] = []
    size = 0
    for item in clean:
        if limit is not None and size >= limit:
            break
        kept.append(item)
        size += len(item.text) if isinstance(item, Passage) else 1
    reasons = {"stands in the training data": len(drawn) - len(clean), "spare": len(clean) - len(kept)}
    dropped = {reason: count for reason, count in reasons.items() if count}
    work.count(unit, len(drawn), len(kept), dropped, made={f"exam {unit}": len(kept)})
    return kept
