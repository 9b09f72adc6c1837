"""Continued pre-training: read documents, with some general text so that what was known is not lost."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, model_validator

from metier.core import Estimate, Host, Mistake, Step, Work
from metier.core.tokens import Tokens, document_end, vocabulary_digest
from metier.core.types import TRAIN, Document, Documents, Model
from metier.train.attempt import counted_steps
from metier.train.memory import config_in, estimate_of, evened, pass_tokens
from metier.train.options import Settings, TrainingStep
from metier.train.packing import Group, Row, cut, optimizer_batches


class Cpt(TrainingStep):
    """Train a model further on documents: loss on every token.

    Documents are cut only where they are longer than `sequence_length`, and never see each other. Many documents are
    better packed beforehand (`mix`, `pack`) and given as `packed`: windows are then streamed from disk, and `replay`
    and `sequence_length` are those of the packing.
    """

    name: ClassVar[str] = "cpt"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    base: Step[Model] = Field(description="the model to start from")
    corpus: Step[Documents] | None = Field(
        None, description="documents of the domain; those of the split 'train' are used"
    )
    packed: Step[Tokens] | None = Field(None, description="packed shards to train on, instead of `corpus`")
    replay: Step[Documents] | None = Field(None, description="general documents, against forgetting")
    replay_share: float = Field(0.2, ge=0, lt=1, description="share of the tokens that come from `replay`")
    sequence_length: int = Field(512, ge=16, description="longest piece of a document in tokens")
    tokens: int | None = Field(None, ge=1, description="most tokens to train on, replay included; None: all epochs")
    epochs: int = Field(1, ge=1, description="passes over the corpus at most")
    batch_tokens: int = Field(2048, ge=1, description="tokens per optimizer step")

    @model_validator(mode="after")
    def _one_source(self) -> Cpt:
        if (self.corpus is None) == (self.packed is None):
            raise ValueError("give either `corpus` or `packed`")
        if self.packed is not None and self.validation_share:
            raise ValueError("`validation_share` belongs to `corpus`; packed shards are read in their order")
        if self.packed is not None and self.replay is not None:
            raise ValueError("`replay` belongs to `corpus`; general text is mixed into packed shards by the step 'mix'")
        return self

    def run(self, work: Work) -> None:
        """Train, or go on from the newest checkpoint of a killed attempt."""
        from metier.train.network import load_tokenizer

        base = work.made(self.base).model_folder
        tokenizer = load_tokenizer(base)
        settings = self.settings()
        if self.packed is not None:
            self._train_packed(base, work.made(self.packed), tokenizer, settings, work)
        else:
            self._train_documents(base, tokenizer, settings, work)

    def _train_documents(self, base: Path, tokenizer: Any, settings: Settings, work: Work) -> None:
        from metier.train.schedule import schedule
        from metier.train.tune import tune
        from metier.train.validation import set_aside, validation_windows

        rows, validation = set_aside(
            self._rows(work, tokenizer), self.validation_share, self.seed, lambda row: row.name
        )
        if validation:
            count = len(rows) + len(validation)
            work.count("row", count, len(rows), {"set aside for validation": len(validation)})
        window = pass_tokens(config_in(base), work.host, self.sequence_length, self, self.batch_tokens)
        groups = [Group((row,), 0) for row in rows]
        batches = optimizer_batches(groups, [group.tokens for group in groups], self.batch_tokens)
        plan = schedule([batches], window, evened(self))
        first = plan.tokens - plan.trained
        work.count("token", plan.tokens, plan.trained, {"first of a row": first}, made={"token": plan.trained})
        work.figure("document_end", tokenizer.convert_ids_to_tokens(document_end(tokenizer)))
        held = validation_windows([Group((row,), 0) for row in validation], window)
        tune(base, plan, settings, work, validation=held)

    def _train_packed(self, base: Path, tokens: Tokens, tokenizer: Any, settings: Settings, work: Work) -> None:
        from metier.train.packed import ChannelTrainer, packed_schedule
        from metier.train.tune import tune

        if tokens.layout.vocabulary != vocabulary_digest(tokenizer):
            raise Mistake(
                "the shards were packed with another tokenizer than the base model's",
                found=f"vocabularies {tokens.layout.vocabulary[:12]} and {vocabulary_digest(tokenizer)[:12]}",
                hint="name the same model in `pack.model` and in `cpt.base`, or one trained from it",
            )
        length = tokens.layout.sequence_length
        window = pass_tokens(config_in(base), work.host, length, self, self.batch_tokens)
        plan = packed_schedule(tokens, self.tokens, self.epochs, self.batch_tokens, window, self.seed)
        packed, beyond = len(tokens), max(len(tokens) - plan.reads, 0)
        dropped = {"beyond the budget": beyond} if beyond else {}
        work.count("window", packed, packed - beyond, dropped, source="packed", made={"row": plan.reads})
        first = plan.tokens - plan.trained
        work.count("token", plan.tokens, plan.trained, {"first of a row": first}, made={"token": plan.trained})
        tune(base, plan, settings, work, ChannelTrainer)
        losses = channel_losses(work)
        if losses:
            work.figure("channel_loss", losses)

    def default_rate(self) -> float:
        """Return 2e-4, for an adapter as well."""
        return 2e-4

    def estimate(self, host: Host) -> Estimate | None:
        """Return time, memory and disk where the base model's shape is known."""
        length = self.sequence_length if self.packed is None else getattr(self.packed, "sequence_length", 0)
        return estimate_of(self.base, host, length, self.tokens, self, self.batch_tokens)

    def _rows(self, work: Work, tokenizer: Any) -> list[Row]:
        share = self.replay_share if self.replay is not None else 0.0
        corpus_budget = None if self.tokens is None else round(self.tokens * (1 - share))
        assert self.corpus is not None
        corpus = read_pieces(work, "corpus", work.made(self.corpus), tokenizer, self.sequence_length)
        drawn = draw(corpus, self.epochs, corpus_budget, random.Random(f"{self.seed}/corpus"))
        count_drawn(work, "corpus", drawn)
        rows = drawn.rows
        if self.replay is not None and share > 0:
            wanted = round(sum(len(row.ids) for row in rows) * share / (1 - share))
            replay = read_pieces(work, "replay", work.made(self.replay), tokenizer, self.sequence_length)
            drawn = draw(replay, 1, wanted, random.Random(f"{self.seed}/replay"))
            count_drawn(work, "replay", drawn)
            got = sum(len(row.ids) for row in drawn.rows)
            if got < 0.9 * wanted:
                work.warn(f"replay has only {got:,} of the {wanted:,} tokens that replay_share {share} asks for")
            rows = rows + drawn.rows
        random.Random(f"{self.seed}/order").shuffle(rows)
        return rows


class Drawn(NamedTuple):
    """Pieces to train on, and how many tokens lay beyond the budget."""

    rows: list[Row]
    beyond: int


def pieces(documents: Iterable[Document], tokenizer: Any, length: int) -> list[Row]:
    """Return documents as rows of at most `length` tokens; the last piece of each ends in the document's end token."""
    end = document_end(tokenizer)
    rows = []
    for document in documents:
        # With the model's own first token, where it has one; some tokenizers add a last one too.
        ids = list(tokenizer(document.text, verbose=False)["input_ids"])
        while ids and ids[-1] in (end, tokenizer.eos_token_id):
            ids.pop()
        for part in cut([*ids, end], length):
            rows.append(Row(document.id, array("i", part), [True] * len(part)))
    return rows


def draw(rows: Sequence[Row], epochs: int, budget: int | None, rng: random.Random) -> Drawn:
    """Return `epochs` passes over `rows`, each in another order, as far as `budget` tokens reach.

    A row is taken whole or not at all, and one at least.
    """
    taken: list[Row] = []
    used = beyond = 0
    for _ in range(epochs):
        order = list(rows)
        rng.shuffle(order)
        for row in order:
            if budget is not None and taken and used + len(row.ids) > budget:
                beyond += len(row.ids)
                continue
            taken.append(row)
            used += len(row.ids)
    return Drawn(taken, beyond)


def read_pieces(work: Work, field: str, artifact: Documents, tokenizer: Any, length: int) -> list[Row]:
    """Return the documents held in `field` as rows, and write their line of the ledger. Raises Mistake if none are."""
    documents = list(artifact.rows())
    # General text that nobody examines on need not have been split.
    chosen = [
        document for document in documents if document.split in ((TRAIN,) if field == "corpus" else (TRAIN, None))
    ]
    rows = [row for row in pieces(chosen, tokenizer, length) if row.trained]
    held_out = len(documents) - len(chosen)
    work.count("document", len(documents), len(chosen), {"not in the train split": held_out}, source=field)
    if not rows:
        raise Mistake(
            f"'{field}' has no text to train on",
            found=f"{len(documents)} documents, {len(chosen)} of them in the split 'train'",
            hint="put the step 'split' before this one",
        )
    return rows


def count_drawn(work: Work, field: str, drawn: Drawn) -> None:
    """Write how many tokens of `field` were drawn, and how many lay beyond the budget."""
    kept = sum(len(row.ids) for row in drawn.rows)
    dropped = {"beyond the budget": drawn.beyond} if drawn.beyond else {}
    work.count(f"{field} token", kept + drawn.beyond, kept, dropped, made={"row": len(drawn.rows)})
    work.figure(f"{field}_rows", len(drawn.rows))


def channel_losses(work: Work) -> dict[str, dict[str, float]]:
    """Return each channel's mean loss over the first and the last tenth of the steps, in nats, from the events."""
    losses: dict[str, list[float]] = {}
    for event in counted_steps(work.folder):
        for name, value in event.items():
            if name.startswith("loss_") and value is not None:
                losses.setdefault(name.removeprefix("loss_"), []).append(value)
    tenths = {name: max(1, len(values) // 10) for name, values in losses.items()}
    return {
        name: {
            "first": round(sum(values[: tenths[name]]) / tenths[name], 4),
            "last": round(sum(values[-tenths[name] :]) / tenths[name], 4),
        }
        for name, values in losses.items()
    }
