"""The step that holds an exam against what is trained on and what may be looked up, with the evidence side by side."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from metier.core import Artifact, Failure, Mistake, Step, Work
from metier.core.files import write_json_atomic, write_text_atomic
from metier.core.types import (
    HELD_OUT,
    TRAIN,
    Conversation,
    Conversations,
    Documents,
    Exam,
    Preferences,
    Report,
)
from metier.evaluate.leaks import Found, Leak, Text, find_leaks
from metier.evaluate.material import Material, read_material
from metier.evaluate.multiple_choice import Item

LEAKS = "leaks.jsonl"
"""The file with what was found, one leak a line: id, kind, share, where, exam, evidence."""

GENERATED = "generated.json"
"""The file of an exam with the ids of the tasks that a step has made for a split of their own."""

_FRAME = re.compile(r"Which (?:ending completes|name does|sentence opens)\b.*\"", re.DOTALL)  # of `multiple_choice`

TRAINED_ON = "Further documents, conversations and preferences that models of this exam are trained on."
INDEX = "Documents that a model may look up; what they answer word for word is no test of what was learnt."


class LeakCheck(Step[Report]):
    """Look for an exam's questions in training data and in an index: word for word, and in other words.

    Writes leaks.jsonl and report.html, a page with each question beside the text that gives it away. Nothing is changed
    in the exam: leave the questions out, or the texts (`decontaminate`).
    """

    name: ClassVar[str] = "leak-check"
    version: ClassVar[int] = 2  # generated tasks are looked for word for word only, as `exam` does
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    exam: Step[Exam] = Field(description="The exam.")
    trained_on: tuple[Step[Artifact], ...] = Field((), description=TRAINED_ON)
    index: tuple[Step[Documents], ...] = Field((), description=INDEX)
    reworded: bool = Field(True, description="Look for other wordings too, not only for copies.")

    def run(self, work: Work) -> None:
        """Write what was found."""
        if not self.trained_on and not self.index:
            raise Mistake(
                "there is nothing to look in", hint="give the step trained_on: [$corpus, $questions] or index"
            )
        folder = work.made(self.exam).folder
        material = read_material(folder)
        parts = sought(material, generated(folder))
        reworded = {id for id, part in parts.items() if part.reworded and self.reworded}
        exam, came = {id: part.texts for id, part in parts.items()}, len(parts)
        found = look(work, exam, training_texts(work, self.trained_on, self.index), reworded.__contains__)
        write_leaks(work.folder / LEAKS, found.leaks.values())
        write_text_atomic(work.folder / "report.html", page(found, came))
        kinds = {kind: sum(leak.kind == kind for leak in found.leaks.values()) for kind in ("verbatim", "reworded")}
        dropped = {f"leaked, {kind}": count for kind, count in kinds.items() if count}
        clean = came - len(found.leaks) - len(found.too_short)
        if found.too_short:
            dropped["too short to look for"] = len(found.too_short)
        work.count("question", came, clean, dropped)
        work.figure("exam", material.digest)
        work.figure("leaks", kinds)
        write_json_atomic(work.folder / "report.json", {"exam": material.digest, "questions": came, "leaks": kinds})
        if found.leaks:
            work.warn(f"{len(found.leaks)} of {came} questions of the exam leak: {work.folder / 'report.html'}")


def look(
    work: Work,
    exam: Mapping[str, Sequence[str]],
    training: Callable[[], Iterable[Text]],
    reworded: Callable[[str], bool] = lambda _: True,
) -> Found:
    """Return what leaks, with a bar that counts texts; each is read twice."""
    with work.progress("looking for leaks", None, "texts read") as bar:
        return find_leaks(exam, training, reworded, bar.advance)


def training_texts(
    work: Work, trained_on: Sequence[Step[Artifact]], index: Sequence[Step[Documents]] = ()
) -> Callable[[], Iterator[Text]]:
    """Return what gives the texts of some steps: those not held out, and all of an index.

    Raises:
        Mistake: a step makes neither documents nor conversations nor preferences.
    """
    for step in trained_on:
        if not issubclass(step.makes, Documents | Conversations | Preferences):
            raise Mistake(
                f"leaks cannot be looked for in what '{step.name}' makes",
                found=step.makes.__name__,
                hint="name the documents, conversations or preferences that it is made from",
            )

    def texts() -> Iterator[Text]:
        for step in trained_on:
            for text in _texts(work.made(step)):
                yield text._replace(where=f"{step.name}: {text.where}")
        for source in index:
            for document in work.made(source).rows():
                yield Text(f"index, {source.name}: {document.source or document.id}", document.text)

    return texts


def _texts(made: Artifact) -> Iterator[Text]:
    if isinstance(made, Documents):
        for document in made.rows():
            if document.split != HELD_OUT:
                yield Text(document.source or document.id, document.text)
    elif isinstance(made, Conversations):
        for row in made.rows(TRAIN):
            yield Text(row.id, words(row))
    elif isinstance(made, Preferences):
        for pair in made.rows():
            prompt = "\n".join(message.content for message in pair.prompt)
            yield Text(pair.id, f"{prompt}\n{pair.chosen}\n{pair.rejected}")


class Sought(NamedTuple):
    """One question's texts that should stand nowhere else, and whether their other wordings should not either."""

    texts: list[str]
    reworded: bool


def sought(material: Material, generated: Collection[str]) -> dict[str, Sought]:
    """Return what of an exam is looked for, by the id of each question: one rule for all who look.

    Tasks of one generator are alike in their wording without giving each other away, and are looked for word for word.
    """
    found = {item.id: Sought(item_texts(item), True) for item in material.items}
    return found | {row.id: Sought(row_texts(row), row.id not in generated) for row in material.rows}


def generated(folder: Path) -> frozenset[str]:
    """Return the ids of an exam's generated tasks; none of a team's own. Raises Failure if they cannot be read."""
    path = folder / GENERATED
    if not path.is_file():
        return frozenset()
    try:
        return frozenset(map(str, json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, TypeError) as error:
        raise Failure(f"{path} cannot be read", found=str(error), hint=f"remove {folder} and run again") from error


def item_texts(item: Item) -> list[str]:
    """Return what of a multiple-choice question gives it away.

    Of a question made from a document, what it quotes and the right option: its frame comes again and again.
    """
    right = item.options[item.answer]
    quoted = re.findall(r'"(.+?)(?: \.\.\.)?"', item.question, re.DOTALL) if _FRAME.match(item.question) else []
    return [" ".join([*quoted, right])] if quoted else [f"{item.question} {right}", item.question]


def row_texts(row: Conversation) -> list[str]:
    """Return what of a graded task gives it away: an open question with its answer, or that alone; else all of it.

    Orders to the system are left out: a schema or a style that all rows have in common gives none of them away.
    """
    if (row.check or {}).get("scorer") == "agreement":
        answer = row.messages[-1].content
        return [f"{row.messages[-2].content} {answer}", answer]
    return ["\n".join(message.content for message in row.messages if message.role != "system")]


def words(row: Conversation) -> str:
    """Return all that a conversation says."""
    return "\n".join(message.content for message in row.messages)


def write_leaks(path: Path, leaks: Iterable[Leak]) -> None:
    """Write leaks as JSON lines, the surest first."""
    ordered = sorted(leaks, key=lambda leak: (leak.kind != "verbatim", -leak.share, leak.id))
    write_text_atomic(path, "".join(json.dumps(leak._asdict(), ensure_ascii=False) + "\n" for leak in ordered))


def page(found: Found, questions: int) -> str:
    """Return the page with the evidence: every leaked question beside the text that gives it away."""
    told: Callable[[Any], str] = lambda value: html.escape(str(value))  # noqa: E731 - one word for each cell
    rows = "".join(
        f"<tr><td>{told(leak.kind)}<br>{leak.share:.0%}</td><td>{told(leak.exam)}</td>"
        f"<td>{told(leak.evidence)}<p class=where>{told(leak.where)}</p></td></tr>\n"
        for leak in sorted(found.leaks.values(), key=lambda leak: (leak.kind != "verbatim", -leak.share, leak.id))
    )
    return _PAGE.format(
        leaks=len(found.leaks), questions=questions, short=len(found.too_short), rows=rows or "<tr><td colspan=3>None."
    )


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Leaks of an exam</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}td,th{{border-top:1px solid #bbb;padding:.5rem;text-align:left;
vertical-align:top;overflow-wrap:anywhere}}.where{{color:#555;font-size:.85em;margin:.3rem 0 0}}</style>
<h1>Leaks of an exam</h1>
<p>{leaks} of {questions} questions stand in what is trained on or may be looked up. {short} are too short to look for.
The share is that of the question's word runs (verbatim), or of the information of its words (reworded).</p>
<table><tr><th>Found</th><th>In the exam</th><th>Elsewhere</th></tr>
{rows}</table></html>
"""
