"""Print the figures of a finished demo as Markdown, for docs/benchmarks.md: `python benchmarks/demo_table.py demo`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from metier.core import Workshop
from metier.core.artifact import Record
from metier.core.recipe import load_recipe
from metier.core.types import Scores
from metier.evaluate.compare import compare

PERPLEXITIES = ("perplexity", "perplexity_per_byte", "chat_reply_perplexity")
VERSIONS = ("metier", "python", "torch", "transformers", "tokenizers", "gguf", "xllamacpp")


def shown(name: str, value: float) -> str:
    return f"{value:.3g}" if name in PERPLEXITIES else f"{value:.0%}"


def figures(models: dict[str, Scores]) -> list[str]:
    lines = [f"| figure | split | n | {' | '.join(models)} |", "|---|---|---|" + "---|" * len(models)]
    tables = {label: {(row.name, row.split): row for row in scores.figures()} for label, scores in models.items()}
    for (name, split), first in next(iter(tables.values())).items():
        cells = []
        for table in tables.values():
            row = table[name, split]
            interval = f" [{shown(name, row.low)}, {shown(name, row.high)}]" if row.low is not None and row.high else ""
            cells.append(shown(name, row.value) + interval)
        lines.append(f"| {name} | {split} | {first.n} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    folder = Path(sys.argv[1])
    recipe, shop = load_recipe(folder / "metier.yaml"), Workshop(folder / "runs")
    found = {name: shop.find(step) for name, step in recipe.steps.items()}
    labels = {"base": "scores-base", "CPT": "scores-cpt", "SFT": "scores-sft", "DPO": "scores-dpo"}
    control = found.get("scores-control")
    if control is not None:
        labels["control"] = "scores-control"
    models = {label: scores for label, name in labels.items() if isinstance(scores := found[name], Scores)}
    print("\n".join(figures(models)))
    print("\nPaired differences to the base:\n")
    for label, scores in list(models.items())[1:]:
        for change in compare(models["base"], scores):
            if (change.name, change.split) == ("perplexity", "held_out"):
                low, high = change.low - 1, change.high - 1
                print(f"- {label}: held-out perplexity {change.value - 1:+.1%} [{low:+.1%}, {high:+.1%}]")
    records: list[Record] = [artifact.record for artifact in found.values() if artifact is not None]
    print("\nseconds: " + json.dumps({record.called: record.seconds for record in records}))
    first = records[0]
    print(f"\n{first.finished[:10]}, {first.host['system']}, {first.host['cores']} cores; ", end="")
    print(", ".join(f"{name} {version}" for name, version in records[-1].versions.items() if name in VERSIONS))


if __name__ == "__main__":
    main()
