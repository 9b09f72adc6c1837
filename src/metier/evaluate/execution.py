"""Answers to held-out conversations, graded by each row's own scorer: SQL by running it, prose by shared words."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metier.core.chat import Decoding, Reply
from metier.core.errors import Mistake
from metier.core.scorers import answer_of, scorer_for
from metier.core.types import Conversation
from metier.core.types import Score as Figure
from metier.evaluate import dimensions
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.statistics import Interval, mean_of_clusters, share_of_clusters

if TYPE_CHECKING:
    from metier.core.engine import EngineChat
    from metier.core.host import Host

NAMES = {"sqlite": "execution"}
"""What a scorer's figure is called where that is not the scorer's own name."""

ANSWER_TOKENS = 64


def name_of(row: Conversation) -> str:
    """Return the name of the figure that a row counts in. Raises Mistake if the row cannot be graded."""
    scorer = (row.check or {}).get("scorer")
    if not isinstance(scorer, str):
        raise Mistake(f"row '{row.id}' ({row.task}) has no check, so its answer cannot be graded")
    return NAMES.get(scorer, scorer)


def place(row: Conversation) -> Place:
    """Return where a row's answer is kept."""
    return Place(name_of(row), row.split, row.id)


def graded(row: Conversation, reply: Reply) -> dict[str, Any]:
    """Return one line of answers.jsonl: the question, the reference, the answer and its grade."""
    check: Mapping[str, Any] = row.check or {}
    score = scorer_for(str(check.get("scorer"))).score(check, answer_of(reply.text))
    return {
        **place(row)._asdict(),
        "task": row.task,
        "cluster": row.cluster,
        "dimension": dimensions.of_row(row),
        "question": "\n\n".join(message.content for message in row.messages[:-1]),
        "expected": row.messages[-1].content,
        "answer": reply.text,
        "score": score.value,
        "reason": score.reason,
        "tokens": reply.tokens,
        "finished": reply.finished,
    }


def answer_rows(
    chat: EngineChat,
    rows: Sequence[Conversation],
    decoding: Decoding,
    log: AnswerLog,
    seen: Callable[[int], None] = lambda _: None,
) -> None:
    """Answer the rows that `log` does not hold yet, and add each graded answer as it comes.

    Args:
        seen: called with how many more are done, those of an earlier attempt first.
    """
    left = [row for row in rows if place(row) not in log]
    seen(len(rows) - len(left))

    def answered(at: int, replies: list[Reply]) -> None:
        log.add(graded(left[at], replies[0]))
        seen(1)

    def until(at: int, text: str) -> bool:
        return statement_is_whole(left[at], text)

    chat.complete([row.messages[:-1] for row in left], decoding, answered, until)


def statement_is_whole(row: Conversation, text: str) -> bool:
    """Say whether an answer that is executed holds a whole statement, so that what follows need not be decoded.

    The scorer takes the first statement. A model that has not learnt to stop rambles on behind it, which costs time and
    says nothing about the statement. The rule is the same for all models, and stands in the exam's conditions.
    """
    if name_of(row) != "execution" or "```" in text or "\x00" in text:  # SQLite reads no text with a null character
        return False
    return sqlite3.complete_statement(text.strip())


def accuracies(answers: Iterable[Mapping[str, Any]], model: str) -> list[Figure]:
    """Return the mean grade of each (name, split) with its interval over clusters, in the order in which they come.

    Grades that are all 0 or 1 get a Wilson interval on the effective number of items, others a bootstrap.
    """
    parts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for answer in answers:
        parts.setdefault((answer["name"], answer["split"]), []).append(answer)
    return [Figure(name, model, split, *grade_interval(rows)) for (name, split), rows in parts.items()]


def grade_interval(answers: Sequence[Mapping[str, Any]]) -> Interval:
    """Return the mean of the answers' grades with its interval; an answer without a cluster is a cluster of its own."""
    grades = [float(answer["score"]) for answer in answers]
    clusters = [answer.get("cluster") or answer["id"] for answer in answers]
    if all(grade in (0.0, 1.0) for grade in grades):
        return share_of_clusters(grades, clusters)
    found = mean_of_clusters(grades, clusters)
    return found._replace(low=max(0.0, found.low), high=min(1.0, found.high))  # a single cluster has no ends


def examine_rows(
    model_folder: Path,
    rows: Sequence[Conversation],
    host: Host,
    max_tokens: int = ANSWER_TOKENS,
    log: Path | None = None,
    seen: Callable[[int], None] = lambda _: None,
) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Examine a model folder on `rows` outside any workshop; return figures by split, and the graded answers.

    Args:
        log: a JSONL file where answers are kept as they come; a second call goes on from it.
    """
    from metier.core.engine import EngineChat

    answers = AnswerLog(log)
    answer_rows(EngineChat(model_folder, host), rows, Decoding(max_tokens=max_tokens), answers, seen)
    graded_rows = answers.finish(place(row) for row in rows)
    return accuracies(graded_rows, model_folder.name), graded_rows
