"""The model card: what the model is, what it was made from, what it scored, and what it may not be trusted with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from metier.core.ledger import Line
from metier.core.types import Score
from metier.deploy.parity import Parity


class Made(NamedTuple):
    """One step behind the model: what the recipe calls it, its key, and its ledger."""

    called: str
    step: str
    key: str
    ledger: Sequence[Line]


class File(NamedTuple):
    """One file of the export with its size in bytes."""

    name: str
    file_bytes: int


class Card(NamedTuple):
    """All that the card says."""

    title: str
    description: str | None
    languages: Sequence[str]
    licence: str | None
    base_model: str | None
    limits: Sequence[str]
    made: Sequence[Made]
    scores: Sequence[Score]
    files: Sequence[File]
    parities: Sequence[Parity]


def card_text(card: Card) -> str:
    """Return the card as Markdown with the hub's front matter."""
    base = card.base_model or "an unnamed model"
    parts = [
        _front_matter(card),
        f"# {card.title}",
        card.description or f"{base}, trained further with Metier.",
        f"- Base model: {base}\n- Licence: {card.licence or 'not stated: find out before you pass the model on'}",
        "## Files\n\n" + _files(card),
        "## Figures\n\n" + _scores(card.scores),
        "## What it was made from\n\n" + _made(card.made),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in (*card.limits, *LIMITS)),
    ]
    return "\n\n".join(parts) + "\n"


LIMITS = (
    "It states things that are not so, as all language models do: check what matters.",
    "The figures hold for the questions they were measured on, each with its 95% interval, and for no others.",
    "Nothing here was done to make it refuse harmful requests beyond what its base model does.",
)


def _front_matter(card: Card) -> str:
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        f"license: {card.licence or 'unknown'}",
    ]
    if card.base_model and "/" in card.base_model:  # the hub refuses names that are no repository
        lines.append(f"base_model: {card.base_model}")
    lines += ["language:", *(f"- {language}" for language in card.languages), "tags:", "- metier", "- gguf", "---"]
    return "\n".join(lines)


def _files(card: Card) -> str:
    compared = {parity.file: parity for parity in card.parities}
    rows = []
    for file in card.files:
        parity = compared.get(file.name)
        told = ["", ""] if parity is None else [f"{parity.divergence:.2g}", f"{parity.agreement:.1%}"]
        rows.append([f"`{file.name}`", f"{file.file_bytes / 1e6:,.1f} MB", *told])
    table = _table(["file", "size", "divergence (nats)", "same next token"], rows)
    if not card.parities:
        return table
    some = card.parities[0]
    return (
        f"{table}\n\nDivergence is the mean KL divergence from the trained model in float32, over {some.tokens} tokens "
        f"of its own greedy answers to {some.prompts} prompts; all prompts had equal token ids."
    )


def _scores(scores: Sequence[Score]) -> str:
    if not scores:
        return "None were measured for this export."
    rows = [
        [
            score.name,
            score.model,
            score.split,
            f"{score.value:.3f}",
            "" if score.low is None or score.high is None else f"{score.low:.3f} to {score.high:.3f}",
            "" if score.n is None else str(score.n),
        ]
        for score in scores
    ]
    return _table(["figure", "model", "on", "value", "95% interval", "n"], rows)


def _made(made: Sequence[Made]) -> str:
    keys = _table(["step", "kind", "recipe key"], [[one.called, one.step, f"`{one.key[:16]}`"] for one in made])
    rows = [
        [
            one.called,
            line.unit,
            f"{line.came:,}",
            f"{line.kept:,}",
            "; ".join(f"{reason}: {count:,}" for reason, count in line.dropped.items()),
            "; ".join(f"{count:,} {unit}s" for unit, count in line.made.items()),
        ]
        for one in made
        for line in one.ledger
    ]
    ledger = _table(["step", "unit", "came", "kept", "dropped", "made"], rows) if rows else "No rows were counted."
    return f"{keys}\n\nThe ledger, from file to training token:\n\n{ledger}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # A bar in a cell would open another column.
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
