"""Supervised fine-tuning: learn the answers of conversations, and nothing of the prompts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from metier.core import Estimate, Host, Mistake, Step, Work
from metier.core.types import TRAIN, Conversation, Conversations, Documents, Model
from metier.train.cpt import count_drawn, draw, read_pieces
from metier.train.memory import estimate_of, window_tokens
from metier.train.packing import Group, Row, optimizer_batches, share_prefixes

_TEXT_LENGTH = 256  # pieces of text no longer than this, so that optimizer steps stay of nearly one size
_FAMILIES_PER_STEP = 4  # an optimizer step mixes at least this many beginnings, where the rows have as many


class Sft(Step[Model]):
    """Fine-tune a model on conversations: full parameters, loss on the assistant's tokens and the end of its turn."""

    name: ClassVar[str] = "sft"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    base: Step[Model] = Field(description="the model to start from")
    data: tuple[Step[Conversations], ...] = Field(
        min_length=1, description="conversations; their 'train' rows are used"
    )
    epochs: int = Field(1, ge=1, description="passes over the rows")
    learning_rate: float = Field(1e-4, gt=0, description="peak of the learning rate")
    batch_rows: int = Field(16, ge=1, description="rows per optimizer step")
    sequence_length: int = Field(512, ge=16, description="longest row in tokens")
    too_long: Literal["raise", "drop"] = Field("raise", description="what to do with longer rows")
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps over which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    text: Step[Documents] | None = Field(None, description="documents trained on as text among the rows")
    text_tokens: int = Field(10_000, ge=1, description="most tokens of `text`, where it is given")
    seed: int = Field(0, description="seed of the order of rows")

    def run(self, work: Work) -> None:
        """Train, or go on from the newest checkpoint of a killed attempt."""
        came = [row for step in self.data for row in work.made(step).rows()]
        text = work.made(self.text) if self.text is not None else None
        fine_tune(work.made(self.base).model_folder, came, self, work, source="data", text=text)

    def estimate(self, host: Host) -> Estimate | None:
        """Return memory and disk where the base model's shape is known."""
        return estimate_of(self.base, host, self.sequence_length)


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
    """
    from metier.train.network import load_tokenizer
    from metier.train.schedule import schedule
    from metier.train.trainer import Settings
    from metier.train.tune import tune

    train = [conversation for conversation in conversations if conversation.split == TRAIN]
    tokenizer = load_tokenizer(base)
    rows, others = fitting(rendered(train, tokenizer), options.sequence_length, options.too_long)
    of_conversations = len(rows)
    if text is not None:
        length = min(options.sequence_length, _TEXT_LENGTH)
        pieces = read_pieces(work, "text", text, tokenizer, length)
        drawn = draw(pieces, 1, options.text_tokens, random.Random(f"{options.seed}/text"))
        count_drawn(work, "text", drawn)
        rows = rows + drawn.rows
    plan = schedule(
        epoch_batches(rows, options.epochs, options.batch_rows, options.sequence_length, options.seed),
        window_tokens(work.host, options.sequence_length),
    )
    dropped = {"not in the train split": len(conversations) - len(train), "too long": len(others)}
    dropped = {reason: count for reason, count in dropped.items() if count}
    made = {"row": of_conversations}
    work.count("conversation", len(conversations), of_conversations, dropped, source=source, made=made)
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
    tune(base, plan, Settings(options.learning_rate, options.warmup, options.weight_decay, options.seed), work)


def rendered(conversations: Iterable[Conversation], tokenizer: Any) -> list[Row]:
    """Return the conversations as ids and mask. Raises Mistake if there are none, or one has no answer to train."""
    from metier.core.template import Template

    template = Template(tokenizer)
    rows = []
    for conversation in conversations:
        ids, mask, _ = template.render(conversation.messages)
        row = Row(conversation.id, ids, mask)
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


def fitting(rows: Sequence[Row], length: int, too_long: Literal["raise", "drop"]) -> tuple[list[Row], list[Row]]:
    """Return the rows of at most `length` tokens, and the others.

    Raises:
        Mistake: there are others and `too_long` is "raise", naming the worst; or none is short enough.
    """
    others = sorted((row for row in rows if len(row.ids) > length), key=lambda row: -len(row.ids))
    kept = [row for row in rows if len(row.ids) <= length]
    if others and (too_long == "raise" or not kept):
        worst = ", ".join(f"{row.name} ({len(row.ids)} tokens)" for row in others[:5])
        raise Mistake(
            f"{len(others)} of {len(rows)} rows are longer than sequence_length {length}: their answers would be cut",
            found=worst + (f" and {len(others) - 5} more" if len(others) > 5 else ""),
            hint=f"set sequence_length: {len(others[0].ids)}, or too_long: drop to leave them out",
        )
    return kept, others


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
