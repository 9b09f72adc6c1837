"""The command that lets a release through or stops it: gate."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metier.cli.options import json_option, open_recipe, open_workshop, recipe_options

if TYPE_CHECKING:
    from metier.core.types import Scores
    from metier.evaluate.gate import Checked


@click.command()
@click.argument("name")
@click.option("--against", required=True, metavar="OTHER", help="The examination to hold it against.")
@click.option(
    "--margin",
    "margins",
    multiple=True,
    metavar="[FIGURE=]POINTS",
    help="A loss that is no alarm, in points (in per cent for perplexities): of one figure, or of all.",
)
@recipe_options
@json_option
def gate(
    name: str,
    against: str,
    margins: tuple[str, ...],
    recipe: Path,
    workshop: Path | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say whether the model examined as NAME has lost something against OTHER: exit code 0 if not, 1 if it has.

    NAME and OTHER are names of finished scores in the recipe, or folders. Items are paired; over all figures together,
    two models that are alike are stopped in at most 5 of 100 cases.

    \b
    Examples:
      metier gate scores-dpo --against scores-base
      metier gate runs/examine-1f… --against /releases/1.4/examine-77… --json
      metier gate scores-dpo --against scores-base --margin 1 --margin chat_reply_perplexity=20
    """
    from metier.evaluate.gate import check

    allowed = dict(map(_margin, margins))
    after, before = (_examined(called, recipe, workshop, changes) for called in (name, against))
    found = check(before, after, allowed)
    lost = [one for one in found if one.lost]
    if as_json:
        told = {"passed": not lost, "name": name, "against": against, "figures": [_as_json(one) for one in found]}
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        for one in found:
            click.echo(_words(one))
        verdict = f"{len(lost)} of {len(found)} figures lost" if lost else f"nothing lost in {len(found)} figures"
        if blind := sum(one.floor is None for one in found):
            verdict += f"; {blind} of them cannot show a loss"
        click.echo(f"\n{name} against {against}: {verdict}")
    if lost:
        sys.exit(1)


def _margin(text: str) -> tuple[str, float]:
    figure, _, points = text.rpartition("=")
    try:
        return figure, float(points) / 100
    except ValueError:
        raise click.UsageError(f"--margin {text}: wanted is a number of points, or figure=points") from None


def _examined(name: str, recipe: Path, workshop: Path | None, changes: tuple[str, ...]) -> Scores:
    """Return the scores that `name` stands for: a step of the recipe, a folder, or a folder's name in the workshop."""
    from metier.cli.options import finished
    from metier.core.plan import find_artifact
    from metier.core.types import Scores

    if recipe.exists():
        loaded = open_recipe(recipe, changes)
        if name in loaded.steps:
            return Scores(finished(loaded, open_workshop(recipe, workshop), Scores, name).folder)
    if Path(name).is_dir():
        return Scores(Path(name))
    return Scores(find_artifact(open_workshop(recipe, workshop), name).folder)


def _as_json(one: Checked) -> dict[str, Any]:
    found = {
        **one.difference._asdict(),
        "lost": one.lost,
        "p_holm": one.p,
        "margin": one.margin,
        "noise_floor": one.floor,
        "items_for_3_points": one.items_needed,
    }
    # JSON knows no infinity: an interval of a single cluster has no end there
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in found.items()
    }


def _words(one: Checked) -> str:
    from metier.evaluate.compare import Kind

    # Without the last word, which is that of the interval alone: here the verdict is over all figures.
    told = one.difference.words.rpartition(":")[0]
    unit = "%" if one.difference.kind is Kind.RATIO else " points"
    state = "LOST" if one.lost else "held"
    margin = f", margin {100 * one.margin:g}{unit}" if one.margin else ""
    if one.items_needed is None:
        sees = "the items come in too few clusters to see anything"
    elif one.floor is None:
        sees = f"sees no loss, however large; 3{unit} would need {one.items_needed:,} items"
    else:
        sees = f"sees {100 * one.floor:.1f}{unit} at 80% power; 3{unit} would need {one.items_needed:,} items"
    return f"{state}  {told}, p = {one.p:.3g}{margin}\n      {sees}"
