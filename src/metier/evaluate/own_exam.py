"""The step that makes an exam from a team's own questions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from metier.core import Artifact, LocalPath, Mistake, Step, Work
from metier.core.files import write_text_atomic
from metier.core.types import Conversation, Documents, Exam
from metier.evaluate import bias
from metier.evaluate.leak_check import (
    INDEX,
    LEAKS,
    TRAINED_ON,
    item_texts,
    look,
    row_texts,
    training_texts,
    write_leaks,
)
from metier.evaluate.material import Conditions, Material
from metier.evaluate.multiple_choice import Item
from metier.evaluate.open_questions import SHEET, sheet
from metier.evaluate.own_rows import Answers, Bad, Placed, duplicates, is_column, own_row
from metier.evaluate.own_table import lines

BAD_ROWS = "bad_rows.tsv"
_SHOWN = 10
_NO_KNOWLEDGE = "write wrong options that look like right ones, or raise bias_bound"


class OwnExam(Step[Exam]):
    """Make an exam from files of questions: with options, with a reference answer, or with a check that is run.

    CSV, TSV or JSON lines with a column `question` and: options (`A`, `B`, `C` ..., or `options`) and `answer`; or a
    `reference`; or `tests`, `gold` with `databases`, or a `check`. `dimension`, `task`, `source` and `id` may stand
    beside them. Every bad row is named with its line; nothing is guessed.
    """

    name: ClassVar[str] = "own-exam"
    version: ClassVar[int] = 2  # questions.csv begins with a byte order mark
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    files: tuple[LocalPath, ...] = Field(min_length=1, description="The questions: .csv, .tsv or .jsonl.")
    bad_rows: Literal["refuse", "drop"] = Field(
        "refuse", description="Whether a bad row stops the step, or is left out, counted and listed in bad_rows.tsv."
    )
    answers: Answers = Field("any", description="How right options are named, where that could be read in two ways.")
    encoding: str = Field("utf-8", description="Encoding of the files; UTF-16 is seen by itself.")
    shuffle: bool = Field(False, description="Mix the options of each question.")
    trained_on: tuple[Step[Artifact], ...] = Field((), description=TRAINED_ON)
    index: tuple[Step[Documents], ...] = Field((), description=INDEX)
    leaks: Literal["drop", "refuse", "keep"] = Field("drop", description="What becomes of questions that leak.")
    bias_bound: float = Field(
        0.2, gt=0, le=1, description="Surely so much above guessing, a rule without knowledge makes the exam useless."
    )
    max_tokens: int = Field(64, ge=1, description="Most tokens of an answer.")
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="Arithmetic of the examination.")
    seed: int = Field(0, description="Another seed mixes options otherwise.")

    def run(self, work: Work) -> None:
        """Read the rows, say what is wrong with them, and write the exam."""
        rows = self._rows(work)
        kept = self._without_leaks(work, rows)
        items = [row for row in kept if isinstance(row, Item)]
        if self.shuffle:
            items = [shuffled(item, random.Random(f"{self.seed} {item.id}")) for item in items]
        tasks = [row for row in kept if isinstance(row, Conversation)]
        if not kept:
            raise Mistake("the exam would be empty", found=f"{len(rows)} rows, all of which leak")
        check_bias(work, items, tasks, self.bias_bound, "set shuffle: true" if not self.shuffle else None)
        conditions = Conditions(max_tokens=self.max_tokens, precision=self.precision)
        material = Material(conditions, [], items, tasks, [])
        material.write(work.folder)
        write_text_atomic(work.folder / SHEET, sheet(items, tasks))
        work.figure("digest", material.digest)
        work.figure("counts", material.card()["counts"])

    def _rows(self, work: Work) -> list[Item | Conversation]:
        read = {place: row for file in self.files for place, row in self._read(work, file)}
        if not read:
            raise Mistake("the files hold no questions", found=", ".join(file.path.name for file in self.files))
        twice = duplicates((place, row) for place, row in read.items() if not isinstance(row, Bad))
        wrong = {place: row for place, row in read.items() if isinstance(row, Bad)} | twice
        bad = [Placed(place, wrong[place]) for place in read if place in wrong]
        if bad and self.bad_rows == "refuse":
            more = f"\n         and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
            raise Mistake(
                f"{len(bad)} of {len(read)} rows are no questions that can be graded",
                found="\n         ".join(map(str, bad[:_SHOWN])) + more,
                hint="mend them, or leave them out with bad_rows: drop",
            )
        listed = "".join("\t".join(_cell(cell) for cell in (one.place, *one.bad)) + "\n" for one in bad)
        write_text_atomic(work.folder / BAD_ROWS, f"place\tfield\twhat\tfound\n{listed}")
        reasons = Counter(one.bad.reason for one in bad)
        kept = [row for place, row in read.items() if place not in wrong and not isinstance(row, Bad)]
        work.count("row", len(read), len(kept), reasons)
        if not kept:
            raise Mistake("no row is a question that can be graded", found="\n         ".join(map(str, bad[:_SHOWN])))
        return kept

    def _read(self, work: Work, file: LocalPath) -> Iterator[tuple[str, Item | Conversation | Bad]]:
        unknown: set[str] = set()
        named_so = [other for other in self.files if other.path.name == file.path.name]
        shown = file.path.name if len(named_so) == 1 else file.written  # rows are known by their place
        for number, row in lines(file.path, self.encoding):
            if not isinstance(row, Bad):
                unknown |= {name for name in row if not is_column(name)}
            yield f"{shown}:{number}", row if isinstance(row, Bad) else own_row(row, self.answers)
        if unknown:
            work.warn(f"{file.path.name}: columns without a meaning are passed over: {', '.join(sorted(unknown))}")

    def _without_leaks(self, work: Work, rows: list[Item | Conversation]) -> list[Item | Conversation]:
        if not self.trained_on and not self.index:
            work.warn("the exam was not held against any training data: give it trained_on, or run leak-check")
            return rows
        exam = {row.id: item_texts(row) if isinstance(row, Item) else row_texts(row) for row in rows}
        found = look(work, exam, training_texts(work, self.trained_on, self.index))
        write_leaks(work.folder / LEAKS, found.leaks.values())
        if found.too_short:
            work.warn(f"{len(found.too_short)} of {len(rows)} questions are too short to look for in training data")
        if found.leaks and self.leaks == "refuse":
            raise Mistake(
                f"{len(found.leaks)} of {len(rows)} questions leak",
                found="\n         ".join(f"{one.kind}, {one.where}: {one.exam[:80]}" for one in found.leaks.values()),
                hint="leave them out with leaks: drop, or the texts with a decontaminate step",
            )
        kept = [row for row in rows if row.id not in found.leaks or self.leaks == "keep"]
        kinds = Counter(f"leaked, {found.leaks[row.id].kind}" for row in rows if row.id in found.leaks)
        work.count("question", len(rows), len(kept), kinds if self.leaks == "drop" else {})
        work.figure("leaks", dict(kinds))
        if found.leaks and self.leaks == "keep":
            work.warn(f"{len(found.leaks)} of {len(rows)} questions leak and are asked all the same: see {LEAKS}")
        return kept


def check_bias(work: Work, items: list[Item], rows: list[Conversation], bound: float, remedy: str | None) -> None:
    """Keep in the record what rules without knowledge score, and warn of those that beat guessing.

    Args:
        remedy: what helps where an option's place gives it away, None where nothing is to be said of that.

    Raises:
        Mistake: one is surely more than `bound` above guessing.
    """
    found = bias.rules(items)
    work.figure("bias", [rule._asdict() for rule in found])
    if (echoed := bias.echo(rows)) is not None:
        work.figure("agreement_of_the_question_itself", round(echoed, 4))
    places = {f"option {at + 1}" for at in range(max((len(item.options) for item in items), default=0))}
    for rule in found:
        told = f"{rule.name} is right in {rule.accuracy:.0%} of {rule.n} questions; guessing gives {rule.chance:.0%}"
        if rule.excess > bound:
            raise Mistake(
                "the exam can be passed without knowing anything",
                found=told,
                hint=remedy if remedy and rule.name in places else _NO_KNOWLEDGE,
            )
        if rule.beats_chance:
            work.warn(f"{told}: such questions measure less than they seem to")


def shuffled(item: Item, rng: random.Random) -> Item:
    """Return a question with its options mixed."""
    options = rng.sample(item.options, len(item.options))
    return item._replace(options=options, answer=options.index(item.options[item.answer]))


def _cell(text: str) -> str:
    return " ".join(text.split())[:200]
