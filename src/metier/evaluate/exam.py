"""The step that makes an exam before any training, and checks that nothing of it is trained on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple, TypeVar

from pydantic import Field

from metier.core import Artifact, Mistake, Step, Work
from metier.core.files import write_json_atomic, write_text_atomic
from metier.core.types import HELD_OUT, TRAIN, Conversation, Conversations, Document, Documents, Exam, Model
from metier.evaluate import choices, execution
from metier.evaluate.forgetting import general_requests, replies_to
from metier.evaluate.leak_check import (
    GENERATED,
    INDEX,
    LEAKS,
    TRAINED_ON,
    item_texts,
    look,
    row_texts,
    training_texts,
    write_leaks,
)
from metier.evaluate.leaks import Leak
from metier.evaluate.material import Conditions, GeneralPrompt, Material, Passage, passages, read_material, sample_rows
from metier.evaluate.multiple_choice import Item, items
from metier.evaluate.open_questions import SHEET, open_questions, sheet
from metier.evaluate.own_exam import check_bias

_LEAST_OF_A_DOCUMENT = 600  # characters: shorter stretches are read almost without context
_SPARE = 1.5  # so much more is drawn than asked for, to make up for what the leak check takes away

T = TypeVar("T", Passage, Item, Conversation)


class MakeExam(Step[Exam]):
    """Make an exam from held-out documents and held-out tasks, held against what is trained on.

    It holds passages, multiple-choice and open questions, tasks graded by their own scorers, and general requests with
    the origin model's replies. Its digest goes with every result; results of unlike exams are not compared.

    What stands in the training data is left out: of passages and tasks what is there word for word, of questions made
    here also what is there in other words. `leaks.jsonl` shows both side by side. questions.csv is for people to read.
    """

    name: ClassVar[str] = "exam"
    version: ClassVar[int] = 3  # orders to the system are not looked for in training data
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
    open_questions: int = Field(0, ge=0, description="Open questions at the most, beside those among the tasks.")
    own: tuple[Step[Exam], ...] = Field((), description="Exams of one's own, whose questions are asked too.")
    trained_on: tuple[Step[Artifact], ...] = Field((), description=TRAINED_ON)
    index: tuple[Step[Documents], ...] = Field((), description=INDEX)
    bias_bound: float = Field(
        0.2, gt=0, le=1, description="Surely so much above guessing, a rule without knowledge makes the exam useless."
    )
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
        check_bias(work, kept.items, kept.rows, self.bias_bound, None)
        _check_places(material)
        material.write(work.folder)
        write_json_atomic(
            work.folder / GENERATED, sorted({row.id for row in kept.rows} & {row.id for row in drawn.rows})
        )
        write_text_atomic(work.folder / SHEET, sheet(kept.items, kept.rows))
        work.figure("digest", material.digest)
        work.figure("counts", material.card()["counts"])

    def _draw(self, work: Work) -> Drawn:
        held_out = list(work.made(self.corpus).rows(HELD_OUT))
        if not held_out and (self.characters or self.choices or self.open_questions):
            raise Mistake(
                "no document of the corpus is held out, so there is nothing to ask about",
                hint="give the exam the result of a `split` step",
            )
        rng = random.Random(self.seed)
        texts = passages(held_out, HELD_OUT, int(self.characters * _SPARE), _LEAST_OF_A_DOCUMENT, rng)
        asked = items(held_out, random.Random(self.seed + 1))
        asked = sorted(rng.sample(asked, min(len(asked), int(self.choices * _SPARE))), key=lambda item: item.id)
        rows = [row for step in self.tasks for row in self._rows(work, step)]
        told = open_questions(held_out, rows, self.seed) if self.open_questions else []
        told = sample_rows(told, int(self.open_questions * _SPARE), random.Random(self.seed + 2))
        own = [read_material(work.made(step).folder) for step in self.own]
        general = passages(self._general_documents(work), "general", self.general_characters, _LEAST_OF_A_DOCUMENT, rng)
        return Drawn(
            texts,
            general,
            asked,
            rows,
            told,
            [item for material in own for item in material.items],
            [row for material in own for row in material.rows],
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
        exam = {f"passage {at}": [passage.text] for at, passage in enumerate(drawn.passages)}
        exam |= {f"item {at}": item_texts(item) for at, item in enumerate(drawn.items)}
        exam |= {f"row {at}": row_texts(row) for at, row in enumerate(drawn.rows)}
        exam |= {f"open {at}": row_texts(row) for at, row in enumerate(drawn.open)}
        exam |= {f"own item {at}": item_texts(item) for at, item in enumerate(drawn.own_items)}
        exam |= {f"own row {at}": row_texts(row) for at, row in enumerate(drawn.own_rows)}
        training = training_texts(work, (self.corpus, *self.tasks, *self.trained_on), self.index)
        # A generated task may be as like those trained on as its split says, and a passage as like its neighbours.
        leaks = look(work, exam, training, lambda id: id.split()[0] not in ("passage", "row")).leaks
        write_leaks(work.folder / LEAKS, leaks.values())
        tasks: list[Conversation] = []
        for name, group in _by_split(drawn.rows).items():
            tasks += _clean(work, f"{name} task", group, leaks)
        kept_passages = _clean(work, "passage", _named("passage", drawn.passages), leaks, self.characters)
        kept_items = _clean(work, "question", _named("item", drawn.items), leaks, self.choices)
        told: list[Conversation] = []
        if drawn.open:
            told = _clean(work, "open question", _named("open", drawn.open), leaks, self.open_questions)
        for what, wanted, field, got in (
            ("multiple-choice question", self.choices, "choices", kept_items),
            ("open question", self.open_questions, "open_questions", told),
        ):
            if wanted and not got:
                work.warn(
                    f"the exam has no {what} of its own: the held-out documents gave none, or all stand in training "
                    f"data (`metier show` counts them); hold more documents out, or set {field}: 0"
                )
        if self.own:
            kept_items += _clean(work, "own question", _named("own item", drawn.own_items), leaks)
            told += _clean(work, "own task", _named("own row", drawn.own_rows), leaks)
        return drawn._replace(passages=kept_passages, items=kept_items, rows=tasks + told)

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
    open: list[Conversation]
    own_items: list[Item]
    own_rows: list[Conversation]


def _check_places(material: Material) -> None:
    """Raise Mistake if two parts would be answered under one id: one of them would not be counted."""
    asked = Counter([*map(choices.place, material.items), *map(execution.place, material.rows)])
    twice = [place for place, times in asked.items() if times > 1]
    if twice:
        raise Mistake(
            f"{len(twice)} questions of the exam have the id of another one",
            found=f"{twice[0].name} '{twice[0].id}'",
            hint="two steps in `own` or `tasks` share ids or questions: change the column `id` of one of them",
        )


def _named(name: str, parts: list[T]) -> list[tuple[T, str]]:
    return [(part, f"{name} {at}") for at, part in enumerate(parts)]


def _by_split(rows: list[Conversation]) -> dict[str, list[tuple[Conversation, str]]]:
    found: dict[str, list[tuple[Conversation, str]]] = {}
    for at, row in enumerate(rows):
        found.setdefault(row.split, []).append((row, f"row {at}"))
    return found


def _clean(
    work: Work, unit: str, drawn: list[tuple[T, str]], leaks: Mapping[str, Leak], limit: int | None = None
) -> list[T]:
    """Return what does not stand in the training data, up to `limit` (characters of passages, or items)."""
    clean = [item for item, id in drawn if id not in leaks]
    copied = sum(id in leaks and leaks[id].kind == "verbatim" for _, id in drawn)
    kept: list[T] = []
    size = 0
    for item in clean:
        if limit is not None and size >= limit:
            break
        kept.append(item)
        size += len(item.text) if isinstance(item, Passage) else 1
    reasons = {
        "stands in the training data": copied,
        "stands there in other words": len(drawn) - len(clean) - copied,
        "spare": len(clean) - len(kept),
    }
    dropped = {reason: count for reason, count in reasons.items() if count}
    work.count(unit, len(drawn), len(kept), dropped, made={f"exam {unit}": len(kept)})
    return kept
