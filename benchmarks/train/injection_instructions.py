"""Instructions whose obedience a program can see, for a chat model made on the spot and for its examination.

The rules are in the manner of IFEval (Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models");
requests are the house's general ones: those of the rehearsal to train on, those of the examination to ask.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from metier.core import Step, Work
from metier.core.chat import Decoding, Message, Reply
from metier.core.files import write_json_atomic
from metier.core.types import Conversation, Conversations, Model, Scores
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.execution import accuracies
from metier.evaluate.forgetting import general_requests

FOLLOWED = "instructions_followed"
_SPLIT = "general_prompts"
_SENTENCES, _CHARACTERS = 2, 240  # of a reply: what is to be learnt is its form, not its length
_ANSWER_TOKENS = 96


class Rule(NamedTuple):
    """One instruction. `obey` writes sentences as it asks, `kept` says whether an answer does as it asks."""

    asked: str
    obey: Callable[[Sequence[str]], str]
    kept: Callable[[str], bool]


def _lines(answer: str) -> list[str]:
    return [line for line in answer.splitlines() if line.strip()]


RULES = {
    "capitals": Rule(
        "Write in capital letters only.",
        lambda told: " ".join(told).upper(),
        lambda answer: any(map(str.isalpha, answer)) and answer == answer.upper(),
    ),
    "stars": Rule(
        "Begin each line of your answer with '* '.",
        lambda told: "\n".join(f"* {sentence}" for sentence in told),
        lambda answer: bool(_lines(answer)) and all(line.startswith("* ") for line in _lines(answer)),
    ),
    "tags": Rule(
        "Put your whole answer between <answer> and </answer>.",
        lambda told: f"<answer>{' '.join(told)}</answer>",
        lambda answer: re.fullmatch(r"<answer>(?:(?!</?answer>).)+</answer>", answer, re.DOTALL) is not None,
    ),
    "opening": Rule(
        "Begin your answer with the words 'My answer:'.",
        lambda told: f"My answer: {' '.join(told)}",
        lambda answer: answer.startswith("My answer:"),
    ),
    "ending": Rule(
        "End your answer with the words 'That is all.'",
        lambda told: f"{' '.join(told)} That is all.",
        lambda answer: answer.endswith("That is all."),
    ),
    "numbers": Rule(
        "Number your sentences (1), (2) and so on, each on a line of its own.",
        lambda told: "\n".join(f"({at}) {sentence}" for at, sentence in enumerate(told, 1)),
        lambda answer: (
            bool(_lines(answer)) and all(line.startswith(f"({at}) ") for at, line in enumerate(_lines(answer), 1))
        ),
    ),
}


class Instructed(Step[Conversations]):
    """General requests with an instruction each, and replies that obey it: other replies, written anew by the rule."""

    name: ClassVar[str] = "benchmark-instructed"
    replies: Step[Conversations]
    rows: int = 150
    seed: int = 0

    def run(self, work: Work) -> None:
        """Write the conversations: each request with different rules, every rule as often as any other."""
        rng = random.Random(self.seed)
        talks = list(work.made(self.replies).rows())
        rng.shuffle(talks)
        names = rng.sample(sorted(RULES), len(RULES))
        found = []
        for at in range(self.rows):
            turn, place = divmod(at, len(talks))
            name = names[(place + turn) % len(names)]
            request, reply = talks[place].messages[-2].content, talks[place].messages[-1].content
            messages = [asked(request, name), Message("assistant", RULES[name].obey(sentences(reply)))]
            found.append(Conversation(f"{talks[place].id}/{name}", messages, f"instruction/{name}"))
        Conversations.write(work.folder, found)
        work.count("request", len(talks), len(talks), made={"conversation": len(found)})


class Followed(Step[Scores]):
    """Ask a model general requests of the examination with an instruction each, and see by program if it obeys."""

    name: ClassVar[str] = "benchmark-followed"
    model: Step[Model]
    requests: int = 48

    def run(self, work: Work) -> None:
        """Write answers.jsonl and scores.json."""
        from metier.core.engine import EngineChat

        chosen = general_requests("examination", self.requests, random.Random(0))
        names = sorted(RULES)
        told = [(request, names[at % len(names)]) for at, request in enumerate(chosen)]
        log = AnswerLog(work.folder / "answers.jsonl")
        left = [(request, name) for request, name in told if Place(FOLLOWED, _SPLIT, request.id) not in log]

        def answered(at: int, replies: list[Reply]) -> None:
            request, name = left[at]
            text = replies[0].text.strip()
            kept = float(RULES[name].kept(text))
            row = {"cluster": request.id, "task": name, "answer": text, "score": kept, "finished": replies[0].finished}
            log.add({**Place(FOLLOWED, _SPLIT, request.id)._asdict(), **row})

        if left:
            chat = EngineChat(work.made(self.model).model_folder, work.host)
            chat.complete([[asked(r.prompt, name)] for r, name in left], Decoding(max_tokens=_ANSWER_TOKENS), answered)
        rows = log.finish(Place(FOLLOWED, _SPLIT, request.id) for request, _ in told)
        figures = accuracies(rows, self.model.name)
        write_json_atomic(work.folder / "scores.json", [figure._asdict() for figure in figures])
        work.count("request", len(rows), len(rows), made={"graded item": len(rows)})


def asked(request: str, name: str) -> Message:
    """Return a request with the instruction of a rule."""
    return Message("user", f"{request}\n{RULES[name].asked}")


def sentences(reply: str) -> list[str]:
    """Return the first sentences of a reply, without line breaks; one at least."""
    found = [part for part in re.split(r"(?<=[.!?])\s+", " ".join(reply.split())) if part]
    kept = found[:_SENTENCES]
    return kept[:1] if sum(map(len, kept)) > _CHARACTERS else kept
