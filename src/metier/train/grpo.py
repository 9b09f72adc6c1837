"""Reinforcement fine-tuning: draw answers, grade them by what their rows store, and make the better ones likelier."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from metier.core import Estimate, Host, Mistake, Step, Work
from metier.core.types import TRAIN, Conversation, Conversations, Model
from metier.train.memory import estimate_of
from metier.train.options import TrainingStep

_NOT_HERE = ("validation_share", "pass_tokens", "neftune_noise_alpha", "compile", "liger")


class Grpo(TrainingStep):
    """Train a model by group relative policy optimisation (Shao et al. 2024, "DeepSeekMath"), with TRL's GRPOTrainer.

    To each prompt several answers are drawn and graded by the scorer that its row's `check` names: by execution, by a
    program's tests, by agreement with a reference. Every answer with its grade is kept in `traces.jsonl`. What stands
    up to a last </think> is not graded; an answer whose thought does not end gets 0.
    """

    name: ClassVar[str] = "grpo"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    base: Step[Model] = Field(description="the model to start from")
    data: tuple[Step[Conversations], ...] = Field(
        min_length=1, description="conversations that can be graded; the prompts of their 'train' rows are used"
    )
    steps: int = Field(100, ge=1, description="optimizer steps")
    prompts_per_step: int = Field(4, ge=1, description="prompts of an optimizer step")
    generations: int = Field(8, ge=2, description="answers to each prompt, whose mean grade is the baseline")
    answers_per_pass: int = Field(8, ge=1, description="answers in a forward pass: fewer need less memory")
    max_tokens: int = Field(256, ge=1, description="longest answer")
    temperature: float = Field(1.0, gt=0, description="of drawing answers")
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = Field("dapo", description="how tokens are averaged, as in TRL")
    beta: float = Field(0.0, ge=0, description="weight of the divergence from the base; 0 keeps no reference")
    epsilon: float = Field(0.2, gt=0, lt=1, description="how far the ratio of probabilities may leave 1")
    format: str | None = Field(None, description="a regular expression that whole answers should match")
    format_weight: float = Field(0.2, gt=0, description="reward of matching `format`; a grade counts 1")

    @field_validator("format")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"`format` is no regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _fits(self) -> Grpo:
        if self.prompts_per_step * self.generations % self.answers_per_pass:
            raise ValueError("`answers_per_pass` must divide prompts_per_step x generations")
        for field in _NOT_HERE:
            if getattr(self, field):
                raise ValueError(f"`{field}` has no meaning here: answers are drawn anew in each step")
        return self

    def run(self, work: Work) -> None:
        """Train, or go on from the newest checkpoint of a killed attempt."""
        from metier.train.network import load_tokenizer
        from metier.train.reinforce import reinforce

        came = [row for step in self.data for row in work.made(step).rows()]
        base = work.made(self.base).model_folder
        reinforce(base, load_tokenizer(base), self._prompts(came, work), self, work)

    def default_rate(self) -> float:
        """Return 1e-6, TRL's own; ten times as much for an adapter."""
        return 1e-5 if self.method in ("lora", "qlora") else 1e-6

    def estimate(self, host: Host) -> Estimate | None:
        """Return memory and disk where the base model's shape is known."""
        return estimate_of(self.base, host, self.max_tokens * self.answers_per_pass, step=self)

    def _prompts(self, came: list[Conversation], work: Work) -> list[Conversation]:
        train = [row for row in came if row.split == TRAIN]
        graded = [row for row in train if row.check is not None]
        if len(graded) < self.prompts_per_step:
            raise Mistake(
                "there are too few rows that can be graded",
                found=f"{len(came)} rows, {len(train)} of the split 'train', {len(graded)} of them with a check",
                hint=f"{self.prompts_per_step} are needed for a step; sql-tasks makes such rows",
            )
        dropped = {"not in the train split": len(came) - len(train), "no check to grade by": len(train) - len(graded)}
        dropped = {reason: count for reason, count in dropped.items() if count}
        work.count("conversation", len(came), len(graded), dropped, source="data", made={"prompt": len(graded)})
        return graded
