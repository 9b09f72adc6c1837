"""The step that examines one model with one exam."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from metier.core import Estimate, Step, Work
from metier.core.chat import Reply
from metier.core.files import write_json_atomic
from metier.core.types import Exam, Model, Score, Scores
from metier.evaluate import choices, execution, perplexity
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.forgetting import conversation, sql_in_reply
from metier.evaluate.material import GeneralPrompt, Material, read_material

if TYPE_CHECKING:
    from metier.core.engine import EngineChat
    from metier.core.host import Host

IN_SQL = "sql_to_general_prompts"


class Examine(Step[Scores]):
    """Examine a model: answers by execution, multiple choice, perplexity, and what was forgotten.

    Every item is written down as it is done, so a killed examination goes on with the next item.
    """

    name: ClassVar[str] = "examine"
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    model: Step[Model] = Field(description="The model to examine.")
    exam: Step[Exam] = Field(description="The exam; only results of one exam are comparable.")
    label: str | None = Field(None, description="What the model is called in tables; its step's name if not given.")

    def run(self, work: Work) -> None:
        """Write scores.json, answers.jsonl and exam.json."""
        from metier.core.engine import EngineChat

        material = read_material(work.made(self.exam).folder)
        conditions = material.conditions
        chat = EngineChat(work.made(self.model).model_folder, work.host, conditions.precision)
        log = AnswerLog(work.folder / "answers.jsonl")
        answered = len(material.rows) + len(material.prompts)
        with work.progress("answering", answered, "questions") as bar:
            answer_all(chat, material, log, bar.advance)
        with work.progress("choosing", len(material.items), "questions") as bar:
            choices.choose_all(chat, material.items, log, bar.advance)
        with work.progress("reading", sum(len(p.text) for p in material.passages), "characters") as bar:
            perplexity.read_passages(chat, material.passages, conditions.window, log, bar.advance)
        with work.progress("reading replies", sum(bool(p.reply) for p in material.prompts), "replies") as bar:
            perplexity.read_replies(chat, material.prompts, log, bar.advance)
        rows = log.finish(places(material))
        figures = scores(rows, self.label or self.model.name)
        write_json_atomic(work.folder / "scores.json", [figure._asdict() for figure in figures])
        write_json_atomic(work.folder / "exam.json", material.card())
        work.count("exam item", len(rows), len(rows), made={"graded item": len(rows)})
        work.figure("exam", material.digest)
        work.figure("conditions", conditions.model_dump())
        if material.items:
            work.figure("multiple_choice_chance", choices.chance(material.items))
        for figure in figures:
            work.figure(f"{figure.name}/{figure.split}", round(figure.value, 4))

    def estimate(self, host: Host) -> Estimate | None:
        """Return what an exam of the usual size and a model of 135 million parameters take: 180 core-seconds."""
        if host.gpus:
            return None
        return Estimate(seconds=180 / max(1, host.threads), memory_bytes=3 << 30)


def answer_all(chat: EngineChat, material: Material, log: AnswerLog, seen: Callable[[int], None]) -> None:
    """Let the model answer the graded rows and the general prompts, all in one stream; add each answer as it comes."""
    rows = [row for row in material.rows if execution.place(row) not in log]
    prompts = [prompt for prompt in material.prompts if general_place(prompt) not in log]
    seen(len(material.rows) + len(material.prompts) - len(rows) - len(prompts))

    def answered(at: int, replies: list[Reply]) -> None:
        if at < len(rows):
            log.add(execution.graded(rows[at], replies[0]))
        else:
            log.add(general_answer(prompts[at - len(rows)], replies[0]))
        seen(1)

    def until(at: int, text: str) -> bool:
        return at < len(rows) and execution.statement_is_whole(rows[at], text)

    asked = [row.messages[:-1] for row in rows] + [conversation(prompt.prompt) for prompt in prompts]
    chat.complete(asked, material.conditions.decoding, answered, until)


def general_place(prompt: GeneralPrompt) -> Place:
    """Return where the model's own answer to a general prompt is kept."""
    return Place(IN_SQL, "general_prompts", prompt.id)


def general_answer(prompt: GeneralPrompt, reply: Reply) -> dict[str, Any]:
    """Return one line of answers.jsonl; its score is 1 where the answer is SQL."""
    why = sql_in_reply(reply.text)
    return {
        **general_place(prompt)._asdict(),
        "task": prompt.subject,
        "cluster": prompt.id,
        "question": prompt.prompt,
        "expected": prompt.reply,
        "answer": reply.text,
        "score": float(why is not None),
        "reason": why or "no SQL",
        "tokens": reply.tokens,
        "finished": reply.finished,
    }


def places(material: Material) -> Iterator[Place]:
    """Yield where every item of an exam is kept, in the exam's order."""
    yield from map(execution.place, material.rows)
    yield from map(choices.place, material.items)
    yield from map(perplexity.passage_place, material.passages)
    yield from (perplexity.reply_place(prompt) for prompt in material.prompts if prompt.reply)
    yield from map(general_place, material.prompts)


def scores(rows: Sequence[Mapping[str, Any]], model: str) -> list[Score]:
    """Return every figure that the graded items give."""
    losses = [row for row in rows if "nats" in row]
    grades = [row for row in rows if "nats" not in row]
    return perplexity.perplexities(losses, model) + execution.accuracies(grades, model)
