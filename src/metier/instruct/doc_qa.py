"""Questions and answers from documents, without a teacher: what the documents' own structure asks and answers."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.core import Mistake, Step, Work
from metier.core.chat import Endpoint, Message
from metier.core.entries import entries
from metier.core.questions import Asked, Pair, Rejected, pair, vocabulary
from metier.core.types import HELD_OUT, TRAIN, Conversation, Conversations, Document, Documents

if TYPE_CHECKING:
    from metier.instruct.teacher import Teacher


class DocQa(Step[Conversations]):
    """Draw question and answer pairs from documents: functions, settings, terms, tables, sections and listed questions.

    The answer is always the document's own sentences. Task labels are doc-qa/function, /definition, /question, /section
    and /document; conversations take the split of their document. With a `teacher`, an endpoint is asked for further
    pairs, labelled doc-qa/teacher, and what it answers is kept only where the document says it word for word.
    """

    name: ClassVar[str] = "doc-qa"
    extras: ClassVar[tuple[str, ...]] = ()

    corpus: Step[Documents] = Field(description="The documents, split.")
    per_document: int = Field(60, ge=1, description="Pairs from one document at the most.")
    phrasings: int = Field(1, ge=1, le=4, description="Differently worded questions for each answer.")
    seed: int = Field(0, ge=0, description="Another seed words the questions differently.")
    teacher: Endpoint | None = Field(None, description="A model to ask for further pairs; none by default.")
    teacher_pairs: int = Field(3, ge=1, le=10, description="Pairs asked of the teacher for each part of a document.")

    def run(self, work: Work) -> None:
        """Write the conversations."""
        documents = work.made(self.corpus)
        total = documents.record.ledger.made("document")
        rejected: Counter[str] = Counter()
        silent = seen = 0
        known: set[str] = set()
        by_task: Counter[str] = Counter()
        teacher = self._teacher(work)
        with work.progress("asking", total, "documents") as bar:

            def conversations() -> Iterator[Conversation]:
                nonlocal seen, silent
                for document in documents.rows():
                    bar.advance()
                    seen += 1
                    found = structural_pairs(document, self.per_document, self.phrasings, self.seed)
                    pairs = found.pairs
                    if teacher is not None:
                        taught = teacher(document)
                        pairs = pairs + taught.pairs
                        rejected.update(taught.rejected)
                    rejected.update(found.rejected)
                    made = list(as_conversations(document, pairs, known, rejected))
                    silent += not made
                    by_task.update(conversation.task for conversation in made)
                    yield from made

            count = Conversations.write(work.folder, conversations())
        if teacher is not None:
            teacher.tell(work)
        if count == 0:
            raise Mistake(
                "the documents gave no question and answer pair",
                found="; ".join(f"{many}: {reason}" for reason, many in rejected.most_common(3)) or "no structure",
                hint="documents with headings, definitions or tables are needed",
            )
        dropped = {"no question found": silent} if silent else {}
        work.count("document", seen, seen - silent, dropped, source="corpus")
        work.count("candidate pair", count + rejected.total(), count, rejected, made={"conversation": count})
        work.figure("tasks", dict(sorted(by_task.items())))

    def _teacher(self, work: Work) -> Teacher | None:
        if self.teacher is None:
            return None
        from metier.core.chat import OpenAIChat
        from metier.instruct.teacher import Teacher

        return Teacher(OpenAIChat(self.teacher), self.teacher.model, self.teacher_pairs, work.folder / "replies.jsonl")


def structural_pairs(document: Document, most: int, phrasings: int = 1, seed: int = 0) -> Asked:
    """Return what a document's structure asks and answers: at most `most` answers, named things first."""
    words = vocabulary(document.text)
    rejected: Counter[str] = Counter()
    answers: dict[str, list[Pair]] = {}
    for entry in entries(document.text, document.title):
        rng = random.Random(_digest(str(seed), document.id, entry.kind, entry.name))
        worded = [pair(entry, document.title, words, rng) for _ in range(phrasings)]
        first = worded[0]
        if isinstance(first, Rejected):
            rejected[first.reason] += 1
        elif first.answer in answers:
            rejected["answer is used already"] += 1
        else:
            answers[first.answer] = [one for one in dict.fromkeys(worded) if isinstance(one, Pair)]
    # Named things before sections: they have one right answer.
    order = sorted(answers, key=lambda answer: (answers[answer][0].kind == "section", _digest(document.id, answer)))
    chosen = set(order[:most])
    rejected["document has given enough"] += len(answers) - len(chosen)
    return Asked([one for answer, pairs in answers.items() if answer in chosen for one in pairs], +rejected)


def as_conversations(
    document: Document, pairs: Iterable[Pair], known: set[str], rejected: Counter[str]
) -> Iterator[Conversation]:
    """Yield pairs as conversations with a check. A question in `known` is rejected; the others are added to it."""
    for one in pairs:
        question = " ".join(one.question.lower().split())
        if question in known:
            rejected["question is asked already"] += 1
            continue
        known.add(question)
        yield Conversation(
            id=_digest(document.id, one.question)[:16],
            messages=[Message("user", one.question), Message("assistant", one.answer)],
            task=f"doc-qa/{one.kind}",
            split=HELD_OUT if document.split == HELD_OUT else TRAIN,
            source=document.id,
            cluster=document.id,
            check={"scorer": "agreement", "reference": one.answer},
        )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
