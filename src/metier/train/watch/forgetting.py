"""The forgetting probe: how likely a model finds the replies of its base to general requests, and general text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from metier.train.collate import collate
from metier.train.packing import NOT_TRAINED, Group, Row, Window, window_of
from metier.train.watch.general import TEXTS

_ROWS_PER_WINDOW = 4


def text_rows(tokenizer: Any) -> list[Row]:
    """Return the general texts as rows, every token of them scored but the first."""
    found = []
    for at, text in enumerate(TEXTS):
        ids = list(tokenizer(text)["input_ids"])
        found.append(Row(f"text {at}", ids, [True] * len(ids)))
    return found


def reply_row(at: int, prompt: Sequence[int], reply: Sequence[int]) -> Row:
    """Return a reply after its prompt as a row whose reply is scored."""
    return Row(f"reply {at}", [*prompt, *reply], [False] * len(prompt) + [True] * len(reply))


def nats_a_token(trainer: Any, rows: Sequence[Row]) -> float:
    """Return the mean loss of the rows' scored tokens, in nats. The model is in evaluation mode.

    Args:
        trainer: of packed windows, or one whose model is transformers' own.
    """
    nats = torch.zeros((), dtype=torch.float64)
    for at in range(0, len(rows), _ROWS_PER_WINDOW):
        window = window_of([Group((row,), 0) for row in rows[at : at + _ROWS_PER_WINDOW]])
        nats -= _log_probabilities(trainer, window).double().sum().cpu()
    return float(nats / sum(row.trained for row in rows))


def _log_probabilities(trainer: Any, window: Window) -> torch.Tensor:
    inputs = trainer._prepare_input(collate([window]))  # `_prepare_inputs` of GRPO draws answers
    with trainer.compute_loss_context_manager():
        if hasattr(trainer, "log_probabilities"):
            packed: torch.Tensor = trainer.log_probabilities(trainer.model, inputs)
            return packed
        found = []
        for block in window.blocks:  # transformers' forward knows no blocks: one row at a time
            span = slice(block.start, block.start + block.length)
            targets = inputs["targets"][span]
            logits = trainer.model(input_ids=inputs["input_ids"][:, span], use_cache=False).logits[0]
            scored = (targets != NOT_TRAINED).nonzero()[:, 0]
            found.append(logits[scored].float().log_softmax(-1).gather(1, targets[scored][:, None])[:, 0])
        return torch.cat(found)
