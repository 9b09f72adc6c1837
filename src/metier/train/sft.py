"""Supervised fine-tuning: learn the answers of conversations, and nothing of the prompts."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from metier.core import Estimate, Host, Mistake, Step, Work
from metier.core.types import TRAIN, Conversation, Conversations, Documents, Model
from metier.train.cpt import count_drawn, draw, read_pieces
from metier.train.memory import config_in, estimate_of, evened, pass_tokens
from metier.train.options import TrainingStep
from metier.train.packing import Group, Row, optimizer_batches, share_prefixes
from metier.train.safety import Fit, TooLong, check_ends, fit, preview, runs, tell

_TEXT_LENGTH = 256  # pieces of text no longer than this, so that optimizer steps stay of nearly one size
_FAMILIES_PER_STEP = 4  # an optimizer step mixes at least this many beginnings, where the rows have as many


class Sft(TrainingStep):
    """Fine-tune a model on conversations: loss on the assistant's tokens and the end of its turn.

    Before the training `rows.json` tells what rows lose, and `masks.txt` shows what is trained of the first ones.
    """

    name: ClassVar[str] = "sft"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    base: Step[Model] = Field(description="the model to start from")
    data: tuple[Step[Conversations], ...] = Field(
        min_length=1, description="conversations; their 'train' rows are used"
    )
    epochs: int = Field(1, ge=1, description="passes over the rows")
    batch_rows: int = Field(16, ge=1, description="rows per optimizer step")
    sequence_length: int = Field(512, ge=16, description="longest row in tokens")
    too_long: TooLong = Field(
        "raise", description="what to do with longer rows; split makes one row per answer, truncate cuts answers"
    )
    text: Step[Documents] | None = Field(None, description="documents trained on as text among the rows")
    text_tokens: int = Field(10_000, ge=1, description="most tokens of `text`, where it is given")

    def run(self, work: Work) -> None:
        """Train, or go on from the newest checkpoint of a killed attempt."""
        came = [row for step in self.data for row in work.made(step).rows()]
        text = work.made(self.text) if self.text is not None else None
        fine_tune(work.made(self.base).model_folder, came, self, work, source="data", text=text)

    def default_rate(self) -> float:
        """Return 1e-4; for an adapter 2e-4, as in Dettmers et al. 2023, "QLoRA", table 9."""
        return 2e-4 if self.method in ("lora", "qlora") else 1e-4

    def estimate(self, host: Host) -> Estimate | None:
        """Return memory and disk where the base model's shape is known."""
        batch = self.batch_rows * self.sequence_length
        return estimate_of(self.base, host, self.sequence_length, step=self, batch=batch)


def fine_tune(
    base: Path,
    conversations: Sequence[Conversation],
    options: Sft,
    work: Work,
    source: str | None = None,
    text: Documents | None = None,
) -> None:
    """Fine-tune the model in `base` on the train rows of `conversations`, into `work.folder / "model"`.

    Args:
        options: everything but `base` and `data` is read.
        source: the field whose artifacts the conversations came from, for the ledger.
        text: documents of which `options.text_tokens` are trained on among the rows, every token of them. Answers alone
            draw a model away from running text, and from what it read in pre-training (the remedy is that of
            InstructGPT's pre-training mix, Ouyang et al. 2022).

    Raises:
        Mistake: no rows, an answer that would be cut, a template that cannot end a turn.
        Failure: an answer does not end in the token that ends turns.
    """
    from metier.train.network import load_tokenizer
    from metier.train.schedule import schedule
    from metier.train.tune import tune
    from metier.train.validation import set_aside, validation_windows

    train = [conversation for conversation in conversations if conversation.split == TRAIN]
    tokenizer = load_tokenizer(base)
    all_rows = rendered(train, tokenizer)
    kept = fit(all_rows, options.sequence_length, options.too_long)
    tell(kept, all_rows, options.sequence_length, work)
    family = _families(kept.rows) if options.validation_share else {}
    rows, validation = set_aside(
        kept.rows, options.validation_share, options.seed, lambda row: family.get(row.name, row.name)
    )
    _count(work, conversations, train, kept, len(validation), source)
    of_text = _text_rows(work, text, tokenizer, options) if text is not None else []
    rows = rows + of_text
    batch = options.batch_rows * sum(len(row.ids) for row in rows) // max(1, len(rows))
    window = pass_tokens(config_in(base), work.host, options.sequence_length, options, batch)
    plan = schedule(
        epoch_batches(rows, options.epochs, options.batch_rows, options.sequence_length, options.seed),
        window,
        evened(options),
    )
    tokens = sum(len(row.ids) for row in rows) * options.epochs
    prompts = tokens - plan.trained
    work.count(
        "token",
        tokens,
        plan.trained,
        {"of prompts, the template and first tokens": prompts},
        made={"token": plan.trained},
    )
    work.figure("rows", len(rows))
    work.figure("row_tokens", tokens)
    work.figure("shared_prefix_tokens", tokens - plan.tokens)
    cut = {one.name for one in kept.lost if one.lost_ends} | {row.name for row in of_text}
    seen = check_ends(plan.windows, cut, base, tokenizer, work)
    work.figure("answers_seen_to_end", seen)
    preview(plan.windows, tokenizer, work.folder / "masks.txt")
    held = validation_windows([Group((row,), 0) for row in validation], window)
    tune(base, plan, options.settings(), work, validation=held)


def _count(
    work: Work,
    conversations: Sequence[Conversation],
    train: Sequence[Conversation],
    kept: Fit,
    validated: int,
    source: str | None,
) -> None:
    """Write the ledger's line of conversations, and of the rows that they became."""
    used = len(train) - kept.dropped
    dropped = {"not in the train split": len(conversations) - len(train), "too long": kept.dropped}
    dropped = {reason: count for reason, count in dropped.items() if count}
    made = {"row": len(kept.rows) - validated}
    work.count("conversation", len(conversations), used, dropped, source=source, made=made)
    if validated:
        rows = len(kept.rows)
        work.count("row", rows, rows - validated, {"set aside for validation": validated})


def _families(rows: Sequence[Row]) -> dict[str, str]:
    """Return for each conversation one that stands for it and all that share a prompt with it, or with one of those.

    The prompt is all that stands before the first trained token. Rows of one family are never on both sides.
    """
    from metier.train.validation import prompt_of

    above: dict[str, str] = {}
    asked: dict[str, str] = {}

    def top(name: str) -> str:
        while above[name] != name:
            above[name] = above[above[name]]  # so that no way up stays long
            name = above[name]
        return name

    for row in rows:
        above.setdefault(row.name, row.name)
        above[top(row.name)] = top(asked.setdefault(prompt_of(row), row.name))
    return {name: top(name) for name in above}


def _text_rows(work: Work, text: Documents, tokenizer: Any, options: Sft) -> list[Row]:
    pieces = read_pieces(work, "text", text, tokenizer, min(options.sequence_length, _TEXT_LENGTH))
    drawn = draw(pieces, 1, options.text_tokens, random.Random(f"{options.seed}/text"))
    count_drawn(work, "text", drawn)
    return drawn.rows


def rendered(conversations: Iterable[Conversation], tokenizer: Any) -> list[Row]:
    """Return the conversations as ids and mask. Raises Mistake if there are none, or one has no answer to train."""
    from metier.core.template import Template

    template = Template(tokenizer)
    rows = []
    for conversation in conversations:
        ids, mask, _ = template.render(conversation.messages)
        row = Row(conversation.id, array("i", ids), weighted(mask, conversation))
        if not row.trained:
            raise Mistake(
                f"row {conversation.id} has no answer to learn from",
                found=f"roles {[message.role for message in conversation.messages]}",
                hint="every conversation needs an assistant's message",
            )
        rows.append(row)
    if not rows:
        raise Mistake(
            "there is not one conversation to train on",
            found="no rows in the split 'train'",
            hint="look at what made the data: `metier show`",
        )
    return rows


def weighted(mask: Sequence[bool], conversation: Conversation) -> list[bool]:
    """Return the mask without the answers whose message has the weight 0."""
    if conversation.weights is None:
        return list(mask)
    pairs = zip(conversation.messages, conversation.weights, strict=True)
    weights = [weight for message, weight in pairs if message.role == "assistant"]
    found = [False] * len(mask)
    for (start, end), weight in zip(runs(mask), weights, strict=True):
        found[start:end] = [weight > 0] * (end - start)
    return found


def epoch_batches(
    rows: Sequence[Row], epochs: int, batch_rows: int, sequence_length: int, seed: int
) -> list[list[list[Group]]]:
    """Return the optimizer batches of every epoch; rows that begin alike share what they share."""
    found = []
    for epoch in range(epochs):
        rng = random.Random(f"{seed}/{epoch}")
        groups = share_prefixes(rows, sequence_length, max(1, batch_rows // _FAMILIES_PER_STEP), rng)
        found.append(optimizer_batches(groups, [len(group.rows) for group in groups], batch_rows))
    return found
