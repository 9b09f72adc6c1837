"""Embeddings with more rows: what new rows begin as, how many there are, and a look at what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from metier.core import Failure
from metier.train.weights.folder import ModelFolder
from metier.train.weights.pieces import Piece
from metier.train.weights.reading import DTYPES, Span, spans
from metier.train.weights.writing import Plan, Produce


def rows_needed(before: ModelFolder, pieces: int, multiple: int) -> int:
    """Return how many rows the embeddings need; rows that only padded the old ones are used first."""
    rows = max(before.weights.shape(before.inputs)[0], first_new(before) + pieces)
    return -(-rows // multiple) * multiple


def first_new(before: ModelFolder) -> int:
    """Return the id of the first new piece: after every old token, added ones too."""
    return 1 + max(before.vocabulary().values())


def plans_with_rows(before: ModelFolder, rows: int, dtype: str | None) -> dict[str, Plan]:
    """Return formats and shapes of the model with `rows` rows in its embeddings and, where it has one, its head."""
    plans = before.plans(dtype)
    for name in (before.inputs, before.outputs):
        if name is not None and name in plans:
            plans[name] = plans[name]._replace(shape=(rows, *plans[name].shape[1:]))
    return plans


def extending(before: ModelFolder, tokenizer: Any, pieces: Sequence[Piece], rows: int) -> Produce:
    """Return the model's tensors; in the embeddings each new row is the mean of the rows of the old pieces it spells.

    Rows that pad to a multiple, and those of old tokens for which the model has none, are the mean of all old rows: a
    row of zeros in a head would give its token a logit of 0, which is more than most tokens get.
    """
    start = first_new(before)
    old_ids = [[token.id for token in tokenizer.model.tokenize(piece.text)] for piece in pieces]

    def produce(name: str) -> Iterator[torch.Tensor]:
        shape = before.weights.shape(name)
        if name not in (before.inputs, before.outputs):
            for span in spans(shape):
                yield before.weights.read(name, span)
            return
        old = _old_rows(before, name)
        for span in spans((old, *shape[1:])):
            yield before.weights.read(name, span or Span(0, old))
        if start > old:
            yield _mean_of_all(before, name).expand(start - old, -1)
        yield torch.stack([_mean(before, name, ids) for ids in old_ids])
        used = start + len(pieces)
        kept = max(used, min(shape[0], rows))
        if kept > used:
            yield before.weights.read(name, Span(used, kept))
        if rows > kept:
            yield _mean_of_all(before, name).expand(rows - kept, -1)

    return produce


def check_written(before: ModelFolder, target: Path, rows: int) -> None:
    """Read the embeddings back. Raises Failure unless they are tied as before, of the right size, and old rows kept."""
    after = ModelFolder(target, "the extended model")
    found = []
    if after.tied != before.tied:
        found.append(f"embeddings tied: {before.tied} before, {after.tied} now")
    if after.text_config["vocab_size"] != rows or after.weights.shape(after.inputs)[0] != rows:
        found.append(f"{after.weights.shape(after.inputs)[0]} rows, vocab_size {after.text_config['vocab_size']}")
    dtype = DTYPES[after.weights.places[after.inputs].dtype]
    rows_kept = _old_rows(before, before.inputs)
    for span in spans((rows_kept, *before.weights.shape(before.inputs)[1:])):
        kept = span or Span(0, rows_kept)
        old = before.weights.read(before.inputs, kept).to(dtype)
        if not torch.equal(old, after.weights.read(after.inputs, kept)):
            found.append(f"rows {kept.first} to {kept.end} changed")
    if found:
        raise Failure("the extended model is not what it should be", found="; ".join(found), hint="run again")


def _old_rows(before: ModelFolder, name: str) -> int:
    """Return how many rows belong to old tokens: the tokenizer may know tokens for which the model has none."""
    return min(first_new(before), before.weights.shape(name)[0])


def _mean(before: ModelFolder, name: str, ids: Sequence[int]) -> torch.Tensor:
    there = [row for row in ids if row < before.weights.shape(name)[0]]
    if not there:
        return _mean_of_all(before, name)
    return torch.cat([before.weights.read(name, Span(row, row + 1)).float() for row in there]).mean(dim=0)


def _mean_of_all(before: ModelFolder, name: str) -> torch.Tensor:
    rows = _old_rows(before, name)
    total = torch.zeros(before.weights.shape(name)[1:])
    for span in spans((rows, *before.weights.shape(name)[1:])):
        total += before.weights.read(name, span or Span(0, rows)).float().sum(dim=0)
    return total / rows
