"""The trainings and examinations of the four injection experiments, as steps of a workshop: cached, resumable."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from benchmarks.train.injection_instructions import Followed, Instructed
from benchmarks.train.injection_sampled import Sampled
from metier.core import Step, Work
from metier.core.types import TRAIN, Conversations, Documents, Exam, Model, Scores
from metier.evaluate import Examine
from metier.evaluate.exam import MakeExam
from metier.train import ChatVector, Cpt, Grpo, Sft

TOKENS = 16_384  # of a continued pre-training, replay included: shares of replay are compared at equal cost
BATCH_TOKENS = 1_024
REPLAY = (0.0, 0.1, 0.3)
USUAL_REPLAY = 0.1  # what the other experiments start from
SQL_ROWS, CHAT_ROWS = 400, 120
GRPO_STEPS = 40
GRPO_RATE = 1e-5


class Domain(NamedTuple):
    """Steps of the demo's recipe that are used here."""

    corpus: Step[Documents]
    replay: Step[Documents]
    general: Step[Documents]
    origin: Step[Model]
    tasks: Step[Conversations]
    rehearsal: Step[Conversations]
    fresh: Step[Conversations]


class SomeRows(Step[Conversations]):
    """Training rows of some clusters, drawn by seed, whole clusters until there are enough."""

    name: ClassVar[str] = "benchmark-some-rows"
    data: Step[Conversations]
    rows: int
    seed: int = 0

    def run(self, work: Work) -> None:
        """Write the rows that were drawn, in their order."""
        train = list(work.made(self.data).rows(TRAIN))
        clusters = sorted({row.cluster or row.id for row in train})
        random.Random(self.seed).shuffle(clusters)
        chosen: set[str] = set()
        taken = 0
        for cluster in clusters:
            if taken >= self.rows:
                break
            chosen.add(cluster)
            taken += sum((row.cluster or row.id) == cluster for row in train)
        kept = [row for row in train if (row.cluster or row.id) in chosen]
        Conversations.write(work.folder, kept)
        dropped = {"not drawn": len(train) - len(kept)}
        work.count("conversation", len(train), len(kept), dropped, made={"conversation": len(kept)})


def text_exam(domain: Domain) -> MakeExam:
    """Return the exam of perplexities alone: of the manual, of general text, of the origin's own replies."""
    return MakeExam(**_shared(domain), choices=0)


def questions_exam(domain: Domain) -> MakeExam:
    """Return the exam of perplexities and of questions on the manual."""
    return MakeExam(**_shared(domain), choices=80)


def executed_exam(domain: Domain) -> MakeExam:
    """Return the exam of executed tasks alone, all 480: 100 leave intervals of ten points."""
    nothing = {"characters": 0, "general_characters": 0, "general_prompts": 0, "choices": 0}
    return MakeExam(
        corpus=domain.corpus, origin=domain.origin, tasks=(domain.tasks,), executed_per_split=120, **nothing
    )


def _shared(domain: Domain) -> dict[str, Any]:
    return {
        "corpus": domain.corpus,
        "origin": domain.origin,
        "general": domain.general,
        "characters": 24_000,
        "general_characters": 10_000,
        "general_prompts": 32,
    }


def pretrained(domain: Domain, share: float, seed: int) -> Cpt:
    """Return a continued pre-training on the manual with a share of general text."""
    replay = {"replay": domain.replay, "replay_share": share} if share else {}
    return Cpt(base=domain.origin, corpus=domain.corpus, tokens=TOKENS, batch_tokens=BATCH_TOKENS, seed=seed, **replay)


def fine_tuned(domain: Domain, base: Step[Model], seed: int) -> Sft:
    """Return a fine-tuning on some of the demo's SQL rows: which ones, and their order, depends on the seed alone."""
    rows = SomeRows(data=domain.tasks, rows=SQL_ROWS, seed=seed)
    return Sft(base=base, data=(rows,), learning_rate=3e-4, batch_rows=16, seed=seed)


def chatting(domain: Domain, seed: int) -> Sft:
    """Return the origin, taught instructions that it does not follow."""
    rows = Instructed(replies=domain.rehearsal, rows=CHAT_ROWS, seed=seed)
    return Sft(base=domain.origin, data=(rows,), learning_rate=2e-4, batch_rows=10, seed=seed)


def with_vector(domain: Domain, seed: int) -> ChatVector:
    """Return the pre-trained model plus all of the difference that the chat training made."""
    model = pretrained(domain, USUAL_REPLAY, seed)
    return ChatVector(model=model, base=domain.origin, chat=chatting(domain, seed), alpha=1.0)


def reinforced(domain: Domain, seed: int) -> Grpo:
    """Return the SFT model after 40 steps of GRPO on SQL tasks that it was not trained on, graded by execution.

    The tasks are those that the demo draws its preference pairs from. The SFT is the small one of this benchmark, which
    is right in a third of the exam: a model that the demo's 2,160 rows had taught as much as they can gained nothing.
    """
    return Grpo(
        base=fine_tuned(domain, domain.origin, seed),
        data=(domain.fresh,),
        steps=GRPO_STEPS,
        prompts_per_step=4,
        generations=8,
        answers_per_pass=32,
        max_tokens=64,
        learning_rate=GRPO_RATE,
        seed=seed,
    )


def examined(exam: Step[Exam], model: Step[Model]) -> Step[Scores]:
    """Return the examination of a model."""
    return Examine(model=model, exam=exam)


Arms = Mapping[str, tuple[Step[Scores], ...]]
"""The examinations of each arm of an experiment."""


def arms_of(part: str, domain: Domain, seed: int) -> Arms:
    """Return what a part examines for one seed; arms without a seed are the same for all."""
    return {"sft": _sft, "replay": _replay, "vector": _vector, "grpo": _grpo}[part](domain, seed)


def _sft(domain: Domain, seed: int) -> Arms:
    exams = questions_exam(domain), executed_exam(domain)
    bases = {"SFT": domain.origin, "CPT+SFT": pretrained(domain, USUAL_REPLAY, seed)}
    return {
        name: tuple(examined(exam, fine_tuned(domain, base, seed)) for exam in exams) for name, base in bases.items()
    }


def _replay(domain: Domain, seed: int) -> Arms:
    exam = text_exam(domain)
    found: dict[str, tuple[Step[Scores], ...]] = {"origin": (examined(exam, domain.origin),)}
    return found | {f"{share:.0%}": (examined(exam, pretrained(domain, share, seed)),) for share in REPLAY}


def _vector(domain: Domain, seed: int) -> Arms:
    exam = text_exam(domain)
    models: dict[str, Step[Model]] = {
        "origin": domain.origin,
        "chat": chatting(domain, seed),
        "CPT": pretrained(domain, USUAL_REPLAY, seed),
        "CPT + vector": with_vector(domain, seed),
    }
    return {name: (examined(exam, model), Followed(model=model)) for name, model in models.items()}


def _grpo(domain: Domain, seed: int) -> Arms:
    exam = executed_exam(domain)
    models: dict[str, Step[Model]] = {
        "SFT": fine_tuned(domain, domain.origin, seed),
        "GRPO": reinforced(domain, seed),
    }
    return {name: (examined(exam, model), Sampled(model=model, tasks=domain.tasks)) for name, model in models.items()}
