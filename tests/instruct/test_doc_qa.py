from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core import Artifact, Mistake, Step, Work, Workshop
from metier.core.entries import Entry
from metier.core.markdown import blocks, plain
from metier.core.questions import MAX_WORDS, Pair, Rejected, in_sentence_case, own_sentences, pair, vocabulary
from metier.core.types import Document, Documents
from metier.instruct.doc_qa import DocQa, as_conversations, structural_pairs

TEXT = """# Locks

A lock keeps two writers of a database file apart, so that each sees the file whole.

**unlock(F)**

The unlock(F) function gives up the lock on the file F and tells all who wait for it.

## Waiting For Locks

Waiting for locks ends when the time limit is over, and the statement then fails with an error.

## Notes

These are notes.

## Examples

The following example shows how it is done:

| Option | Meaning |
| --- | --- |
| LOCK_SHARED | Several readers may hold the lock at once, but no writer. |

**(1) Can a lock be lost?**

No. A lock is lost only if the process that holds the lock comes to an end.
"""
MANUAL = Document("d1", TEXT, "locks.md", "Locks", split="train")


class Given(Step[Documents]):
    """Documents for a test, by text and split."""

    name = "given-documents-for-doc-qa"
    rows: tuple[tuple[str, str], ...]

    def run(self, work: Work) -> None:
        made = [
            Document(f"d{n}", text, f"{n}.md", f"Title {n}", split=split) for n, (text, split) in enumerate(self.rows)
        ]
        work.count("document", len(made), Documents.write(work.folder, made), made={"document": len(made)})


def test_each_structure_gives_its_kind_of_question() -> None:
    found = structural_pairs(MANUAL, most=99)
    assert sorted(one.kind for one in found.pairs) == ["definition", "document", "function", "question", "section"]
    by_kind = {one.kind: one for one in found.pairs}
    assert "unlock(" in by_kind["function"].question
    assert "LOCK_SHARED" in by_kind["definition"].question
    assert by_kind["question"].question == "Can a lock be lost?"
    assert "waiting for locks" in by_kind["section"].question.lower()


def test_every_answer_stands_in_its_document() -> None:
    text = " ".join(plain(block.text).replace("|", " ") for block in blocks(TEXT))
    for one in structural_pairs(MANUAL, most=99).pairs:
        assert one.answer in " ".join(text.split()) and len(one.answer.split()) <= MAX_WORDS


def test_bad_pairs_are_counted_with_their_reasons() -> None:
    assert structural_pairs(MANUAL, most=99).rejected == {"heading says nothing": 2, "answer is used already": 2}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Entry("section", "Overview", "Locks are used everywhere in the library today."), "heading says nothing"),
        (Entry("section", "lock = one;", "Locks are used everywhere in the library today."), "heading is no name"),
        (Entry("section", "Git is slow", "Git is slow when it is used for large projects."), "heading is a sentence"),
        (Entry("section", "Lock Files", "It also works when lock files are on another disk."), "answer leans"),
        (Entry("section", "Lock Files", "This is also true of lock files on another disk."), "answer leans"),
        (Entry("section", "Lock Files", "Yes, always."), "answer is too short"),
        (Entry("section", "Lock Files", "Bananas are yellow and they grow in bunches."), "does not speak of"),
        (Entry("section", "Lock Files", "The kinds of lock files are as follows:"), "points elsewhere"),
        (Entry("section", "Lock Files", "as described, lock files are files that hold a lock."), "mid-sentence"),
        (Entry("section", "Lock Files", "Lock files " + "are long " * 40 + "files."), "too long"),
    ],
)
def test_a_bad_entry_is_rejected_with_its_reason(entry: Entry, reason: str) -> None:
    found = pair(entry, "Manual", frozenset(), random.Random(0))
    assert isinstance(found, Rejected) and reason in found.reason


def test_this_function_may_open_an_answer_about_a_function() -> None:
    entry = Entry("function", "step()", "This function runs the statement to its next row.")
    assert isinstance(pair(entry, "Manual", frozenset(), random.Random(0)), Pair)


@given(st.lists(st.sampled_from(["A lock is a lock.", "See below:", "It holds.", "Word " * 70 + "end."]), max_size=9))
def test_answers_are_whole_sentences_within_the_limit(parts: list[str]) -> None:
    answer = own_sentences(" ".join(parts))
    if isinstance(answer, str):
        assert answer in " ".join(parts) and answer.endswith(".") and len(answer.split()) <= MAX_WORDS


def test_headings_take_the_case_of_the_text() -> None:
    words = vocabulary("on Windows the file locks of an index are kept, and Windows knows no other way")
    assert in_sentence_case("File Locks On Windows With VACUUM", words) == "file locks on Windows with VACUUM"


def test_questions_are_worded_in_several_ways() -> None:
    entry = Entry("function", "abs(X)", "Returns the absolute value of the numeric argument X.")
    asked = {pair(entry, "M", frozenset(), random.Random(seed)).question for seed in range(60)}  # type: ignore[union-attr]
    assert len(asked) >= 8


def test_a_question_is_asked_once_and_named_things_come_first() -> None:
    known: set[str] = set()
    rejected: Counter[str] = Counter()
    pairs = [Pair("function", "What is a?", "One."), Pair("function", "What is  A?", "Two.")]
    assert len(list(as_conversations(MANUAL, pairs, known, rejected))) == 1
    assert rejected == {"question is asked already": 1}
    assert "section" not in {one.kind for one in structural_pairs(MANUAL, most=3).pairs}


def test_conversations_take_the_split_of_their_document_and_can_be_checked(tmp_path: Path) -> None:
    step = DocQa(corpus=Given(rows=((TEXT, "train"), (TEXT.replace("lock", "latch"), "held_out"), ("Hm.", "train"))))
    made = Workshop(tmp_path).make(step)
    rows = list(made.rows())
    assert {(row.source, row.split) for row in rows} == {("d0", "train"), ("d1", "held_out")}
    for row in rows:
        assert row.check == {"scorer": "agreement", "reference": row.messages[1].content}
        assert [message.role for message in row.messages] == ["user", "assistant"]
    lines = {line.unit: line for line in made.record.ledger.lines}
    assert lines["document"].dropped == {"no question found": 1}
    assert lines["candidate pair"].made == {"conversation": len(rows)}


def test_documents_without_structure_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="no question and answer pair"):
        Workshop(tmp_path).make(DocQa(corpus=Given(rows=(("Hm.", "train"),))))


def test_an_artifact_is_what_the_step_says() -> None:
    assert issubclass(DocQa.makes, Artifact) and DocQa.name == "doc-qa"
