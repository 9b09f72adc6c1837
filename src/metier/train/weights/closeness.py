"""Do two models say the same? Their next-token distributions along the same token ids, compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metier.core import Host, Mistake
from metier.core.pretrained import load_pretrained
from metier.core.template import Template
from metier.core.types import Conversation
from metier.train.weights.folder import ModelFolder
from metier.train.weights.reading import DTYPES

ROW_TOKENS = 192
"""Most tokens of a row that are compared: 12 rows of a vocabulary of 150,000 are 1.4 GB of float32."""

TEXTS = (
    "The table holds one row for each order, and each order belongs to one customer. How many orders are there?",
    "def total(rows):\n    return sum(row['price'] for row in rows if row['price'] > 0)\n",
    "1. Read the contract.\n2. Mark every clause that sets a time limit.\n3. List them with page and date: 31.12.2024.",
    "La banque a refusé le crédit. Die Prüfung dauert drei Tage. 请用一句话回答：合同什么时候到期？",
)
"""Text compared where no rows are given: prose, code, numbers, other languages."""


class Row(NamedTuple):
    """Token ids of one row, and the positions of those whose likelihood counts (an answer's)."""

    ids: list[int]
    answer: list[int]


class Said(NamedTuple):
    """What a model says along the rows: log-probabilities [T, V] in float32 for each, and its loss on the answers.

    loss: nats a token, None if no row has an answer.
    """

    log_probs: list[torch.Tensor]
    loss: float | None


class Closeness(NamedTuple):
    """How far a model is from a reference over `tokens` positions.

    divergence, worst: mean and largest KL(reference ‖ model) in nats. agreement: share of positions with the same
    likeliest token. largest: the largest difference of log-probabilities of tokens likelier than 1 in 1,000.
    """

    divergence: float
    worst: float
    agreement: float
    largest: float
    tokens: int


def rows_of(tokenizer: Any, conversations: Sequence[Conversation]) -> list[Row]:
    """Return conversations as rows, or some plain text where there are none."""
    if not conversations:
        found = [list(tokenizer(text, add_special_tokens=False)["input_ids"])[:ROW_TOKENS] for text in TEXTS]
        return [Row(ids, []) for ids in found]
    template = Template(tokenizer)
    rows = []
    for conversation in conversations:
        rendered = template.render(conversation.messages)
        start = max(0, len(rendered.ids) - ROW_TOKENS)  # an answer stands at the end
        mask = rendered.mask[start:]
        rows.append(Row(rendered.ids[start:], [at for at in range(1, len(mask)) if mask[at]]))
    return [row for row in rows if len(row.ids) > 1]


@torch.inference_mode()
def said(network: Any, rows: Sequence[Row]) -> Said:
    """Return what a causal language model says along `rows`."""
    found, nats, tokens = [], 0.0, 0
    for row in rows:
        logits = network(input_ids=torch.tensor([row.ids], device=network.device), use_cache=False).logits[0]
        log_probs = torch.log_softmax(logits.float(), dim=-1).cpu()
        found.append(log_probs)
        nats -= sum(float(log_probs[at - 1, row.ids[at]]) for at in row.answer)
        tokens += len(row.answer)
    return Said(found, nats / tokens if tokens else None)


def closeness(reference: Said, other: Said) -> Closeness:
    """Return how far `other` is from `reference`. Numbers that are none make the result none."""
    divergences, alike, largest = [], 0.0, 0.0
    for p, q in zip(reference.log_probs, other.log_probs, strict=True):
        share = p.exp()
        divergences.append((share * (p - q)).sum(dim=-1))
        alike += float((p.argmax(dim=-1) == q.argmax(dim=-1)).sum())
        largest = max(largest, float((p - q).abs().where(share > 1e-3, 0.0).max()))
    all_of = torch.cat(divergences)
    count = len(all_of)
    return Closeness(float(all_of.mean()), float(all_of.max()), alike / count, largest, count)


def load(folder: Path, dtype: torch.dtype, host: Host) -> Any:
    """Return a folder's model in evaluation mode. Raises Mistake if it cannot be loaded."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(host.threads)
    try:
        network = load_pretrained(AutoModelForCausalLM, folder, dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        raise Mistake(f"{folder} cannot be loaded", found=str(error).splitlines()[0][:300]) from error
    return network.to("cuda" if host.gpus and torch.cuda.is_available() else "cpu").eval()


def precision_for(model: ModelFolder, host: Host) -> torch.dtype:
    """Return the finest format in which a model can be run here: float32, or bfloat16 where memory asks for it.

    Raises:
        Mistake: there is not enough memory for either.
    """
    values = sum(place.size // DTYPES[place.dtype].itemsize for place in model.weights.places.values())
    there = max((gpu.memory_bytes for gpu in host.gpus), default=host.memory_bytes)
    for dtype in (torch.float32, torch.bfloat16):
        if 1.2 * values * dtype.itemsize + (1 << 30) < there:
            return dtype
    raise Mistake(
        "the model is too large to be run here, so the merge cannot be checked by what it says",
        found=f"{2.4 * values / 1e9:.0f} GB in 16 bits, and {there / 1e9:.0f} GB of memory",
        hint="run this step on a larger machine, or set `check: false`: the tensors' own rounding is still measured",
    )


def with_weights(network: Any, change: Callable[[str, torch.Tensor], torch.Tensor | None]) -> Any:
    """Return `network` after replacing each parameter for which `change(name, values)` gives other values."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            changed = change(name, parameter)
            if changed is not None:
                parameter.copy_(changed)
    return network
