"""What is watched in a training, within which bounds, and what is done beyond them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Action = Literal["stop", "rollback", "warn"]


class Watch(BaseModel):
    """The watch of a training. Each check may `warn`, `stop` or `rollback`: return to the last good checkpoint.

    A rollback leaves out the rows since that checkpoint, as PaLM's training did (Chowdhery et al. 2022, section 5.1):
    step numbers and the learning rate's schedule go on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    not_finite: Literal["stop", "rollback"] = Field("stop", description="when a loss or gradient is not finite")
    divergence: Action = Field("stop", description="when the loss stays far above where it began")
    divergence_nats: float = Field(
        1.0,
        gt=0,
        description="by how much the median of ten losses may exceed that of the first ten; by twice as much each "
        "of ten the first",
    )
    spike: Action = Field("warn", description="when one step's loss leaps above its running level")
    spike_deviations: float = Field(
        8.0, gt=0, description="by how many robust standard deviations of the last fifty losses, and by 30% at least"
    )
    gradient: Action = Field("warn", description="when the gradient, before it is shortened, leaps or is 0")
    gradient_times: float = Field(10.0, gt=1, description="how many times the median of the last fifty norms")
    unlikely: Action = Field(
        "stop", description="when chosen answers of pairs become unlikely: they lose more than `most_lost`"
    )
    repetition: Action = Field("warn", description="when greedy answers to a few prompts turn into loops")
    repeated_share: float = Field(
        0.4,
        gt=0,
        le=1,
        description="share of the answers' groups of four tokens that repeat an earlier one: rise since before step 1",
    )
    no_end: Action = Field("warn", description="when answers to prompts of short rows no longer end")
    unended_share: float = Field(0.5, gt=0, le=1, description="so many more of those answers than before step 1")
    forgetting: Action = Field(
        "warn", description="when the base's own replies to general prompts, or general text, become unlikely"
    )
    forgotten_nats: float = Field(0.5, gt=0, description="nats a token by which either may rise since before step 1")
    looks: int = Field(
        10,
        ge=0,
        description="how often at most answers are drawn and forgetting is measured, evenly over the steps; fewer "
        "where they would take more than 2% of the time, unless one of their checks stops or rolls back; 0: never",
    )
    checkpoint_steps: int | None = Field(
        None,
        ge=1,
        description="steps between checkpoints a rollback may return to; None: a twentieth of all, 10 to 200",
    )
    rollbacks: int = Field(3, ge=0, description="most rollbacks of a training; it stops at the next")
    rate_after_rollback: float = Field(1.0, gt=0, le=1, description="factor of the learning rate after each rollback")

    def action(self, check: str) -> Action:
        """Return what is done when `check`, by the name of its field, finds something."""
        found: Action = getattr(self, check)
        return found

    @property
    def rolls_back(self) -> bool:
        """Whether any check may return to an earlier checkpoint."""
        return any(self.action(check) == "rollback" for check in CHECKS)

    @property
    def looks_decide(self) -> bool:
        """Whether what looks find may change what is trained: they then depend on steps alone, not on the clock."""
        return any(self.action(check) != "warn" for check in ("repetition", "no_end", "forgetting"))


CHECKS = ("not_finite", "divergence", "spike", "gradient", "unlikely", "repetition", "no_end", "forgetting")
