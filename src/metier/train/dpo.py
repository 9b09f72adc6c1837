"""Direct preference optimisation: make the better answers of pairs likelier than the worse ones."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from metier.core import Estimate, Host, Mistake, Step, Work
from metier.core.chat import Message
from metier.core.types import Model, Preference, Preferences
from metier.train.lint import lint
from metier.train.memory import config_in, estimate_of, evened, pass_tokens
from metier.train.options import PairLoss, TrainingStep
from metier.train.packing import Group, Row, common_prefix, optimizer_batches, shareable
from metier.train.safety import check_ends, fit, preview, tell


class Dpo(TrainingStep):
    """Train a model on preference pairs, by DPO against itself as it was, or by one of its relatives.

    A pair's prompt is computed once for both answers. Of an adapter the reference is the base without it.
    """

    name: ClassVar[str] = "dpo"
    version: ClassVar[int] = 3  # all pairs of a prompt are set aside for validation, or none
    extras: ClassVar[tuple[str, ...]] = ("train",)

    base: Step[Model] = Field(description="the model to start from, which is the reference too")
    pairs: Step[Preferences] = Field(description="preference pairs")
    loss: PairLoss = Field(
        "sigmoid", description="sigmoid is DPO; hinge, ipo, robust, apo_zero, sigmoid_norm, simpo and orpo as in TRL"
    )
    beta: float | None = Field(
        None,
        gt=0,
        description="how strongly the reference holds the model back, of simpo the reward's scale, of orpo its lambda; "
        "None: 0.1, of simpo 2",
    )
    gamma: float = Field(1.0, ge=0, description="simpo's margin, which no other loss has")
    label_smoothing: float = Field(0.1, ge=0, lt=0.5, description="robust: share of pairs thought to be reversed")
    epochs: int = Field(1, ge=1, description="passes over the pairs")
    batch_pairs: int = Field(8, ge=1, description="pairs per optimizer step")
    sequence_length: int = Field(1024, ge=16, description="longest prompt with an answer, in tokens")
    too_long: Literal["raise", "drop"] = Field("raise", description="what to do with longer pairs")
    leaning: Literal["warn", "raise"] = Field(
        "warn", description="what to do where nearly all chosen answers are longer, or shorter, than the rejected ones"
    )
    most_lost: float = Field(
        1.0, gt=0, description="nats a token that chosen answers may lose against the reference before it stops"
    )

    def default_rate(self) -> float:
        """Return the learning rate by loss, ten times as much for an adapter.

        5e-6; of simpo 1e-6 (Meng et al. 2024 searched 3e-7 to 1e-6), of orpo 8e-6 (Hong et al. 2024).
        """
        return {"simpo": 1e-6, "orpo": 8e-6}.get(self.loss, 5e-6) * (10 if self.method in ("lora", "qlora") else 1)

    def run(self, work: Work) -> None:
        """Train, or go on from the newest checkpoint of a killed attempt."""
        from functools import partial

        from metier.train.network import load_tokenizer
        from metier.train.preference import Objective, PreferenceTrainer
        from metier.train.schedule import schedule
        from metier.train.tune import tune
        from metier.train.validation import prompt_of, set_aside, validation_windows

        base = work.made(self.base).model_folder
        tokenizer = load_tokenizer(base)
        found = self._groups(work, list(work.made(self.pairs).rows()), tokenizer)
        groups, validation = set_aside(found, self.validation_share, self.seed, lambda group: prompt_of(group.rows[0]))
        if validation:
            work.count("row", 2 * len(found), 2 * len(groups), {"set aside for validation": 2 * len(validation)})
        epochs = []
        for epoch in range(self.epochs):
            order = list(groups)
            random.Random(f"{self.seed}/{epoch}").shuffle(order)
            epochs.append(optimizer_batches(order, [1] * len(order), self.batch_pairs))
        batch = self.batch_pairs * sum(group.tokens for group in groups) // len(groups)
        window = pass_tokens(config_in(base), work.host, self.sequence_length, self, batch)
        plan = schedule(epochs, window, evened(self))
        came = sum(len(row.ids) for group in groups for row in group.rows) * self.epochs
        dropped = {"of prompts and the template": came - plan.trained}
        work.count("token", came, plan.trained, dropped, made={"token": plan.trained})
        work.figure("pairs", len(groups))
        work.figure("answers_seen_to_end", check_ends(plan.windows, set(), base, tokenizer, work))
        preview(plan.windows, tokenizer, work.folder / "masks.txt")
        beta = self.beta or (2.0 if self.loss == "simpo" else 0.1)
        objective = Objective(self.loss, beta, self.gamma, self.label_smoothing)
        trainer = partial(PreferenceTrainer, objective=objective, most_lost=self.most_lost)
        tune(base, plan, self.settings(), work, trainer, validation_windows(validation, window))

    def estimate(self, host: Host) -> Estimate | None:
        """Return memory and disk where the base model's shape is known."""
        batch = 2 * self.batch_pairs * self.sequence_length
        return estimate_of(self.base, host, self.sequence_length, step=self, batch=batch)

    def _groups(self, work: Work, pairs: Sequence[Preference], tokenizer: Any) -> list[Group]:
        sound = lint(pairs)
        groups = {name: pair_group(pair._replace(id=name), tokenizer) for name, pair in named(sound.kept).items()}
        if not groups:
            raise Mistake(
                "there is not one preference pair to train on",
                found=f"{len(pairs)} pairs; left out: {sound.dropped or 'none'}",
                hint="sample more answers per prompt, or at a higher temperature",
            )
        for warning in sound.warnings:
            if self.leaning == "raise":
                raise Mistake("the pairs lean", found=warning, hint="balance them, or set leaning: warn")
            work.warn(warning)
        rows = [max(group.rows, key=lambda row: len(row.ids)) for group in groups.values()]
        found = fit(rows, self.sequence_length, self.too_long, "drop")
        tell(found, rows, self.sequence_length, work)
        dropped = {**sound.dropped, "too long": found.dropped}
        dropped = {reason: count for reason, count in dropped.items() if count}
        work.count("pair", len(pairs), len(found.rows), dropped, source="pairs", made={"row": 2 * len(found.rows)})
        kept = {row.name for row in found.rows}
        return [group for group in groups.values() if group.rows[0].name in kept]


def named(pairs: Sequence[Preference]) -> dict[str, Preference]:
    """Return pairs by names: their ids, and with their place where an earlier pair has the id: a prompt's, a line's."""
    found: dict[str, Preference] = {}
    for at, pair in enumerate(pairs):
        name = pair.id
        while name in found:
            name = f"{name}#{at}"
        found[name] = pair
    return found


def pair_group(pair: Preference, tokenizer: Any) -> Group:
    """Return a pair as a group of two rows, the chosen one first, that share the prompt."""
    from metier.core.template import Template

    template = Template(tokenizer)
    prompt = len(template.render(pair.prompt, generate=True).ids)
    rows = []
    for answer in (pair.chosen, pair.rejected):
        ids, mask, _ = template.render([*pair.prompt, Message("assistant", answer)])
        # Earlier answers of a longer conversation are part of the prompt here.
        rows.append(Row(pair.id, array("i", ids), [trained and index >= prompt for index, trained in enumerate(mask)]))
    chosen, rejected = rows
    shared = common_prefix(chosen.ids, rejected.ids, min(shareable(chosen), shareable(rejected)))
    return Group((chosen, rejected), shared)
