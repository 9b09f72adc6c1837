"""KTO: make answers that were found good likelier and others less, without pairs."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from metier.core import Estimate, Host, Mistake, Step, Work
from metier.core.chat import Message
from metier.core.types import Judgement, Judgements, Model
from metier.train.memory import config_in, estimate_of, evened, pass_tokens
from metier.train.options import TrainingStep
from metier.train.packing import Group, Row
from metier.train.safety import check_ends, fit, preview, tell
from metier.train.sft import epoch_batches

_TRIES = 16  # rows looked at for another prompt, before an answer to the same one is taken
_FAIR = (1.0, 4 / 3)


class Kto(TrainingStep):
    """Train a model on answers that were judged one by one, such as a thumb up or down, against itself as it was.

    Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization". Of an adapter the reference is
    the base without it.
    """

    name: ClassVar[str] = "kto"
    version: ClassVar[int] = 2  # all answers to a prompt are set aside for validation, or none
    extras: ClassVar[tuple[str, ...]] = ("train",)

    base: Step[Model] = Field(description="the model to start from, which is the reference too")
    judgements: Step[Judgements] = Field(description="answers, each good or bad")
    beta: float = Field(0.1, gt=0, description="how strongly the reference holds the model back")
    good_weight: float = Field(1.0, ge=0, description="weight of the loss of good answers")
    bad_weight: float = Field(1.0, ge=0, description="weight of the loss of bad answers")
    epochs: int = Field(1, ge=1, description="passes over the answers")
    batch_answers: int = Field(
        16, ge=2, description="answers per optimizer step, over which the reference point is estimated"
    )
    sequence_length: int = Field(1024, ge=16, description="longest prompt with an answer, in tokens")
    too_long: Literal["raise", "drop"] = Field("raise", description="what to do with longer ones")
    most_lost: float = Field(
        1.0, gt=0, description="nats a token that good answers may lose against the reference before it stops"
    )

    def default_rate(self) -> float:
        """Return 5e-6, the most that TRL's makers advise with a beta of 0.1; ten times as much for an adapter."""
        return 5e-6 * (10 if self.method in ("lora", "qlora") else 1)

    def run(self, work: Work) -> None:
        """Train, or go on from the newest checkpoint of a killed attempt."""
        from functools import partial

        from metier.train.network import load_tokenizer
        from metier.train.schedule import schedule
        from metier.train.tune import tune
        from metier.train.unpaired import Judged, UnpairedTrainer
        from metier.train.validation import prompt_of, set_aside, validation_windows

        base = work.made(self.base).model_folder
        tokenizer = load_tokenizer(base)
        found = self._rows(work, list(work.made(self.judgements).rows()), tokenizer)
        rows, validation = set_aside(list(found.rows), self.validation_share, self.seed, prompt_of)
        if validation:
            work.count("row", len(found.rows), len(rows), {"set aside for validation": len(validation)})
        check_kinds([found.good[row.name] for row in rows], "too long ones, and those for validation, are left out")
        tokens = sum(len(row.ids) for row in rows)
        batch = self.batch_answers * tokens // len(rows)
        window = pass_tokens(config_in(base), work.host, self.sequence_length, self, batch)
        batches = epoch_batches(rows, self.epochs, self.batch_answers, self.sequence_length, self.seed)
        plan = schedule(batches, window, evened(self))
        came = tokens * self.epochs
        dropped = {"of prompts and the template": came - plan.trained}
        work.count("token", came, plan.trained, dropped, made={"token": plan.trained})
        work.figure("answers_seen_to_end", check_ends(plan.windows, set(), base, tokenizer, work))
        preview(plan.windows, tokenizer, work.folder / "masks.txt")
        other = mismatched(found.rows, self.sequence_length, random.Random(f"{self.seed}/mismatched"))
        judged = Judged(found.good, other, self.beta, self.good_weight, self.bad_weight)
        trainer = partial(UnpairedTrainer, judged=judged, most_lost=self.most_lost)
        held = validation_windows([Group((row,), 0) for row in validation], window)
        tune(base, plan, self.settings(), work, trainer, held)

    def estimate(self, host: Host) -> Estimate | None:
        """Return memory and disk where the base model's shape is known."""
        batch = self.batch_answers * self.sequence_length
        return estimate_of(self.base, host, self.sequence_length, step=self, batch=batch)

    def _rows(self, work: Work, judgements: Sequence[Judgement], tokenizer: Any) -> Answers:
        sound, dropped = lint(judgements)
        rows = [answer_row(one, f"{one.id}#{at}", tokenizer) for at, one in enumerate(sound)]
        good = {row.name: one.good for row, one in zip(rows, sound, strict=True)}
        check_kinds(list(good.values()), f"left out: {dropped or 'none'}")
        if silent := [row.name for row in rows if not row.trained]:
            raise Mistake(
                "of some answers not one token is trained",
                found=f"{len(silent)} rows, such as {silent[0]}",
                hint="with add_generation_prompt the chat template writes more than stands before an answer: mend it",
            )
        found = fit(rows, self.sequence_length, self.too_long, "drop")
        tell(found, rows, self.sequence_length, work)
        dropped |= {"too long": found.dropped} if found.dropped else {}
        made = {"row": len(found.rows)}
        work.count("judgement", len(judgements), len(found.rows), dropped, source="judgements", made=made)
        good = {row.name: good[row.name] for row in found.rows}
        counts = {"good": sum(good.values()), "bad": len(good) - sum(good.values())}
        work.figure("answers", counts)
        if warning := unfair(counts["good"], counts["bad"], self.good_weight, self.bad_weight):
            work.warn(warning)
        return Answers(found.rows, good)


class Answers(NamedTuple):
    """Rows to train on, and whether each is good, by its name."""

    rows: Sequence[Row]
    good: dict[str, bool]


def check_kinds(good: Sequence[bool], note: str) -> None:
    """Raise Mistake if all answers are good, or all bad. `note` says what was left out of them."""
    if sum(good) in (0, len(good)):
        raise Mistake(
            "the answers are not of both kinds, good and bad",
            found=f"{sum(good)} good and {len(good) - sum(good)} bad; {note}",
            hint="KTO needs both; good answers alone are for the step sft",
        )


def lint(judgements: Sequence[Judgement]) -> tuple[list[Judgement], dict[str, int]]:
    """Return the judgements that can teach something, and how many were left out by reason.

    Left out: empty answers, and an answer to a prompt that was found both good and bad.
    """
    seen: dict[tuple[Any, ...], set[bool]] = {}
    for one in judgements:
        seen.setdefault(_asked(one), set()).add(one.good)
    kept: list[Judgement] = []
    dropped: dict[str, int] = {}
    for one in judgements:
        reason = "an answer is empty" if not one.answer.strip() else None
        if reason is None and len(seen[_asked(one)]) == 2:
            reason = "judged both good and bad"
        if reason is None:
            kept.append(one)
        else:
            dropped[reason] = dropped.get(reason, 0) + 1
    return kept, dropped


def _asked(one: Judgement) -> tuple[Any, ...]:
    return (*(tuple(message) for message in one.prompt), one.answer)


def unfair(good: int, bad: int, good_weight: float, bad_weight: float) -> str | None:
    """Return what to say where one kind outweighs the other, or None.

    The paper advises that good_weight * good be 1 to 4/3 of bad_weight * bad.
    """
    if not good or not bad or not good_weight or not bad_weight:
        return (
            f"{good} good and {bad} bad answers, weighted {good_weight:g} and {bad_weight:g}: one kind teaches nothing"
        )
    share = good_weight * good / (bad_weight * bad)
    if 0.99 * _FAIR[0] <= share <= 1.01 * _FAIR[1]:
        return None
    name, factor = ("bad_weight", share / _FAIR[0]) if share > _FAIR[1] else ("good_weight", _FAIR[0] / share)
    value = factor * (bad_weight if name == "bad_weight" else good_weight)
    return (
        f"{good} good and {bad} bad answers, weighted {good_weight:g} and {bad_weight:g}: one kind outweighs the other "
        f"{max(share, 1 / share):.1f} times; {name}: {value:.2g} evens them out"
    )


def answer_row(one: Judgement, name: str, tokenizer: Any) -> Row:
    """Return a judgement as a row of which its answer alone is trained."""
    from metier.core.template import Template

    template = Template(tokenizer)
    prompt = len(template.render(one.prompt, generate=True).ids)
    ids, mask, _ = template.render([*one.prompt, Message("assistant", one.answer)])
    # Earlier answers of a longer conversation are part of the prompt here.
    return Row(name, array("i", ids), [trained and at >= prompt for at, trained in enumerate(mask)])


def mismatched(rows: Sequence[Row], length: int, rng: random.Random) -> dict[str, Row]:
    """Return for each row its prompt with the answer of another, which has another prompt where there is one.

    Answers are cut where they would pass `length` tokens. The same partners serve all epochs, so that the reference
    is worked out once.
    """
    order = list(rows)
    rng.shuffle(order)
    found = {}
    for at, row in enumerate(order):
        prompt = row.ids[: _start(row)]
        others = [order[(at + step) % len(order)] for step in range(1, min(len(order), _TRIES + 1))]
        other = next((one for one in others if one.ids[: _start(one)] != prompt), others[0])
        answer = [token for token, trained in zip(other.ids, other.mask, strict=True) if trained]
        ids = array("i", [*prompt, *answer][:length])
        found[row.name] = Row(row.name, ids, [False] * len(prompt) + [True] * (len(ids) - len(prompt)))
    return found


def _start(row: Row) -> int:
    return row.mask.index(True)
