"""Direct preference optimisation: make the better answers of pairs likelier than the worse ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from metier.core import Estimate, Host, Mistake, Step, Work
from metier.core.chat import Message
from metier.core.types import Model, Preference, Preferences
from metier.train.memory import estimate_of, window_tokens
from metier.train.packing import Group, Row, common_prefix, optimizer_batches, shareable
from metier.train.sft import fitting


class Dpo(Step[Model]):
    """Train a model on preference pairs, against itself as it was: full parameters, DPO loss.

    A pair's prompt is computed once for both answers.
    """

    name: ClassVar[str] = "dpo"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    base: Step[Model] = Field(description="the model to start from, which is the reference too")
    pairs: Step[Preferences] = Field(description="preference pairs")
    beta: float = Field(0.1, gt=0, description="how strongly the reference holds the model back")
    epochs: int = Field(1, ge=1, description="passes over the pairs")
    learning_rate: float = Field(5e-6, gt=0, description="peak of the learning rate")
    batch_pairs: int = Field(8, ge=1, description="pairs per optimizer step")
    sequence_length: int = Field(1024, ge=16, description="longest prompt with an answer, in tokens")
    too_long: Literal["raise", "drop"] = Field("raise", description="what to do with longer pairs")
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps over which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    most_lost: float = Field(
        1.0, gt=0, description="nats a token that chosen answers may lose against the reference before it stops"
    )
    seed: int = Field(0, description="seed of the order of pairs")

    def run(self, work: Work) -> None:
        """Train, or go on from the newest checkpoint of a killed attempt."""
        from functools import partial

        from metier.train.network import load_tokenizer
        from metier.train.preference import PreferenceTrainer
        from metier.train.schedule import schedule
        from metier.train.trainer import Settings
        from metier.train.tune import tune

        base = work.made(self.base).model_folder
        groups = self._groups(work, list(work.made(self.pairs).rows()), load_tokenizer(base))
        epochs = []
        for epoch in range(self.epochs):
            order = list(groups)
            random.Random(f"{self.seed}/{epoch}").shuffle(order)
            epochs.append(optimizer_batches(order, [1] * len(order), self.batch_pairs))
        plan = schedule(epochs, window_tokens(work.host, self.sequence_length))
        came = sum(len(row.ids) for group in groups for row in group.rows) * self.epochs
        dropped = {"of prompts and the template": came - plan.trained}
        work.count("token", came, plan.trained, dropped, made={"token": plan.trained})
        work.figure("pairs", len(groups))
        settings = Settings(self.learning_rate, self.warmup, self.weight_decay, self.seed)
        tune(base, plan, settings, work, partial(PreferenceTrainer, beta=self.beta, most_lost=self.most_lost))

    def estimate(self, host: Host) -> Estimate | None:
        """Return memory and disk where the base model's shape is known."""
        return estimate_of(self.base, host, self.sequence_length)

    def _groups(self, work: Work, pairs: Sequence[Preference], tokenizer: Any) -> list[Group]:
        different = [pair for pair in pairs if pair.chosen != pair.rejected]
        groups = {pair.id: pair_group(pair, tokenizer) for pair in different}
        if not groups:
            raise Mistake(
                "there is not one preference pair to train on",
                found=f"{len(pairs)} pairs, {len(different)} with two different answers",
                hint="sample more answers per prompt, or at a higher temperature",
            )
        rows = [max(group.rows, key=lambda row: len(row.ids)) for group in groups.values()]
        fit, others = fitting(rows, self.sequence_length, self.too_long)
        dropped = {"both answers equal": len(pairs) - len(different), "too long": len(others)}
        dropped = {reason: count for reason, count in dropped.items() if count}
        work.count("pair", len(pairs), len(fit), dropped, source="pairs", made={"row": 2 * len(fit)})
        kept = {row.name for row in fit}
        return [group for group in groups.values() if group.rows[0].name in kept]


def pair_group(pair: Preference, tokenizer: Any) -> Group:
    """Return a pair as a group of two rows, the chosen one first, that share the prompt."""
    from metier.core.template import Template

    template = Template(tokenizer)
    prompt = len(template.render(pair.prompt, generate=True).ids)
    rows = []
    for answer in (pair.chosen, pair.rejected):
        ids, mask, _ = template.render([*pair.prompt, Message("assistant", answer)])
        # Earlier answers of a longer conversation are part of the prompt here.
        rows.append(Row(pair.id, ids, [trained and index >= prompt for index, trained in enumerate(mask)]))
    chosen, rejected = rows
    shared = common_prefix(chosen.ids, rejected.ids, min(shareable(chosen), shareable(rejected)))
    return Group((chosen, rejected), shared)
