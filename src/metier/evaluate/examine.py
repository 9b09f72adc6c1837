"""The step that examines one model with one exam."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from metier.core import Estimate, Step, Work
from metier.core.chat import Message, Reply
from metier.core.files import write_json_atomic
from metier.core.types import TRAIN, Conversations, Documents, Exam, Model, Score, Scores
from metier.evaluate import choices, execution, perplexity
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.baselines import SETTING, Setting
from metier.evaluate.forgetting import conversation, sql_in_reply
from metier.evaluate.material import GeneralPrompt, Material, read_material

if TYPE_CHECKING:
    from metier.core.engine import EngineChat
    from metier.core.host import Host
    from metier.evaluate.in_context import Asked, InContext

IN_SQL = "sql_to_general_prompts"
_INDEX = ".scratch-index"  # what begins so does not outlive the step


class Examine(Step[Scores]):
    """Examine a model: answers by execution, multiple choice, perplexity, and what was forgotten.

    With `shots` or `retrieval` the same model is examined with examples or passages in its prompt: the baselines that
    training has to beat. Texts are then not read for their perplexity, which a prompt does not change.

    Every item is written down as it is done, so a killed examination goes on with the next item.
    """

    name: ClassVar[str] = "examine"
    version: ClassVar[int] = 2  # retrieval looks for the rarest words of a long question
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    model: Step[Model] = Field(description="The model to examine.")
    exam: Step[Exam] = Field(description="The exam; only results of one exam are comparable.")
    label: str | None = Field(
        None, description="What the model is called in tables; its step's name and the setting if not given."
    )
    shots: int = Field(0, ge=0, description="Examples shown before each question; their task's own training rows.")
    examples: tuple[Step[Conversations], ...] = Field(
        (), description="Where examples are drawn from: the training rows of the exam's own `tasks`, if not given."
    )
    example_documents: Step[Documents] | None = Field(
        None,
        description="Documents whose training split gives example choices: the exam's own `corpus`, if not given.",
    )
    retrieval: Step[Documents] | None = Field(
        None, description="Documents of which the nearest passages are put into each prompt, found by their words."
    )
    passages: int = Field(4, ge=1, description="Passages put into a prompt, at the most.")
    passage_tokens: int = Field(1024, ge=16, description="Tokens of one prompt's passages, at the most.")
    seed: int = Field(0, description="Another seed draws other examples.")

    @model_validator(mode="before")
    @classmethod
    def _examples_of_the_exam(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("shots"):
            return given
        exam = given.get("exam")
        told = {"examples": tuple(getattr(exam, "tasks", ())), "example_documents": getattr(exam, "corpus", None)}
        return {**told, **given}

    @model_validator(mode="after")
    def _shots_have_a_source(self) -> Self:
        given = bool(self.examples) or self.example_documents is not None
        if self.shots and not given:
            raise ValueError("shots are drawn from training rows: give them as `examples` or `example_documents`")
        if given and not self.shots:
            raise ValueError("examples are given, and `shots` says to show none")
        return self

    @property
    def setting(self) -> Setting:
        """How the model is asked."""
        passages = self.passages if self.retrieval is not None else 0
        skipped = (perplexity.TEXT, perplexity.REPLY) if self.shots or passages else ()
        return Setting(self.shots, passages, skipped)

    def run(self, work: Work) -> None:
        """Write scores.json, answers.jsonl, exam.json and setting.json."""
        from metier.core.engine import EngineChat

        material = read_material(work.made(self.exam).folder)
        conditions, setting = material.conditions, self.setting
        chat = EngineChat(work.made(self.model).model_folder, work.host, conditions.precision)
        asked = self._asked(work, chat, material)
        log = AnswerLog(work.folder / "answers.jsonl", {place: noted(found) for place, found in asked.items()})
        answered = len(material.rows) + len(material.prompts)
        with work.progress("answering", answered, "questions") as bar:
            answer_all(chat, material, log, bar.advance, asked)
        with work.progress("choosing", len(material.items), "questions") as bar:
            choices.choose_all(
                chat, material.items, log, bar.advance, lambda item: _messages(asked, choices.place(item), item)
            )
        if perplexity.TEXT not in setting.skipped:
            with work.progress("reading", sum(len(p.text) for p in material.passages), "characters") as bar:
                perplexity.read_passages(chat, material.passages, conditions.window, log, bar.advance)
            with work.progress("reading replies", sum(bool(p.reply) for p in material.prompts), "replies") as bar:
                perplexity.read_replies(chat, material.prompts, log, bar.advance)
        rows = log.finish(place for place in places(material) if place.name not in setting.skipped)
        figures = scores(rows, self.label or f"{self.model.name}{setting.suffix}")
        write_json_atomic(work.folder / "scores.json", [figure._asdict() for figure in figures])
        write_json_atomic(work.folder / "exam.json", material.card())
        write_json_atomic(work.folder / SETTING, setting._asdict())
        work.count("exam item", len(rows), len(rows), made={"graded item": len(rows)})
        work.figure("exam", material.digest)
        work.figure("conditions", conditions.model_dump())
        work.figure("setting", setting._asdict())
        if material.items:
            work.figure("multiple_choice_chance", choices.chance(material.items))
        for figure in figures:
            work.figure(f"{figure.name}/{figure.split}", round(figure.value, 4))

    def _asked(self, work: Work, chat: EngineChat, material: Material) -> dict[Place, Asked]:
        """Return what each question is shown, by its place; nothing where it is asked plainly. Counts what did not fit.

        It is worked out anew by each attempt: it depends on the recipe alone.
        """
        from metier.evaluate.few_shot import Examples, example_choices
        from metier.evaluate.in_context import InContext
        from metier.evaluate.lexical import LexicalIndex

        if not (self.shots or self.retrieval):
            return {}
        scratch = work.folder / _INDEX
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        index = None
        if self.retrieval is not None:
            index = LexicalIndex(work.made(self.retrieval).rows(), scratch / "passages.db")
            work.figure("passages_indexed", index.size)
        train = [row for step in self.examples for row in work.made(step).rows(TRAIN)]
        if self.example_documents is not None and material.items:
            train += example_choices(work.made(self.example_documents).rows(TRAIN), self.seed)
        context = InContext(
            lambda messages: len(chat.template.render(messages, generate=True).ids),
            lambda text: len(chat.ids(text)),
            chat.network.longest,
            examples=Examples(train, self.seed),
            shots=self.shots,
            index=index,
            passages=self.passages,
            passage_tokens=self.passage_tokens,
        )
        with work.progress("looking up", len(material.rows) + len(material.items) + len(material.prompts)) as bar:
            asked = ask_all(context, chat, material, bar.advance)
        if index is not None:
            index.close()
        for unit, found in context.counts.items():
            if found.total():
                kept = found.pop("kept", 0)
                work.count(unit, kept + found.total(), kept, +found, made={f"{unit} shown": kept})
        return asked

    def estimate(self, host: Host) -> Estimate | None:
        """Return what an exam of the usual size and a model of 135 million parameters take: 180 core-seconds."""
        if host.gpus:
            return None
        return Estimate(seconds=180 / max(1, host.threads), memory_bytes=3 << 30)


def ask_all(
    context: InContext, chat: EngineChat, material: Material, seen: Callable[[int], None]
) -> dict[Place, Asked]:
    """Return every question of the exam with what it is shown. A general request has no task, and so no examples."""
    answer = material.conditions.max_tokens
    asked: dict[Place, Asked] = {}
    for row in material.rows:
        asked[execution.place(row)] = context.ask(row.messages[:-1], answer, row.task, row.cluster, row.id)
        seen(1)
    for prompt in material.prompts:
        asked[general_place(prompt)] = context.ask(conversation(prompt.prompt), answer, None)
        seen(1)
    for item in material.items:
        longest = max(len(chat.ids(option)) for option in item.options)
        asked[choices.place(item)] = context.ask(choices.question(item), longest, choices.NAME, item.source, item.id)
        seen(1)
    return asked


def noted(asked: Asked) -> dict[str, Any]:
    """Return what answers.jsonl says of what a question was shown."""
    return {"shots": asked.shots, "passages": asked.passages}


def _messages(asked: Mapping[Place, Asked], place: Place, item: Any) -> list[Message]:
    return asked[place].messages if place in asked else choices.question(item)


def answer_all(
    chat: EngineChat,
    material: Material,
    log: AnswerLog,
    seen: Callable[[int], None],
    asked: Mapping[Place, Asked] | None = None,
) -> None:
    """Let the model answer the graded rows and the general prompts, all in one stream; add each answer as it comes.

    Args:
        asked: the messages of those that are not asked plainly.
    """
    shown = asked or {}
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

    plain = [(execution.place(row), row.messages[:-1]) for row in rows]
    plain += [(general_place(prompt), conversation(prompt.prompt)) for prompt in prompts]
    told = [shown[place].messages if place in shown else messages for place, messages in plain]
    chat.complete(told, material.conditions.decoding, answered, until)


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
