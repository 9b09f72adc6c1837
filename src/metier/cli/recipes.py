"""Commands that work on a recipe: plan, run, why."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metier.cli.options import json_option, open_recipe, open_workshop, recipe_and_targets, recipe_options
from metier.cli.planning import planned_training, training_options

if TYPE_CHECKING:
    from metier.core.plan import Plan, Planned
    from metier.core.recipe import Recipe
    from metier.core.step import Step


_NEXT = {"doctor": "fix", "report": "report"}
"""What a step's result is looked at with, where that is neither `metier show` nor `metier ls`."""


def _targets(recipe: Recipe, names: tuple[str, ...]) -> list[Step[Any]]:
    return [recipe.step(name) for name in names] or recipe.targets()


@click.command()
@click.argument("targets", nargs=-1)
@recipe_options
@json_option
def run(targets: tuple[str, ...], recipe: Path, workshop: Path | None, changes: tuple[str, ...], as_json: bool) -> None:
    """Make what a recipe asks for, or only TARGETS in it.

    What is finished is not made again; what was interrupted goes on where it stopped.

    \b
    Examples:
      metier run                                  everything in ./metier.yaml
      metier run sft                              one target and what it needs
      metier run law/metier.yaml --set sft.learning_rate=1e-5
    """
    from metier.core.plan import plan
    from metier.core.step import dependencies_first
    from metier.core.types import Scores

    recipe, targets = recipe_and_targets(recipe, targets)
    loaded, shop = open_recipe(recipe, changes), open_workshop(recipe, workshop)
    steps = _targets(loaded, targets)
    start = time.monotonic()
    to_make = plan(shop, steps, loaded.names).to_make
    made = shop.make_all(steps, loaded.names)
    if not shop.processes.first:  # of several processes one tells the result
        return
    seconds = time.monotonic() - start
    if as_json:
        rows = [
            {"name": loaded.names[id(step)], "folder": str(artifact.folder)}
            for step, artifact in zip(steps, made, strict=True)
        ]
        click.echo(json.dumps({"made": len(to_make), "seconds": round(seconds, 1), "targets": rows}, indent=2))
        return
    if not to_make:
        click.echo(f"nothing to do: all {len(dependencies_first(steps))} steps are done (looked in {seconds:.1f} s)")
    for step, artifact in zip(steps, made, strict=True):
        click.echo(f"{loaded.names[id(step)]}: {artifact.folder}")
    looked_at = f"show {loaded.names[id(steps[-1])]}" if issubclass(steps[-1].makes, Scores) else "ls"
    click.echo(f"next: metier {_NEXT.get(steps[-1].name, looked_at)} -r {recipe}")


@click.command(name="plan")
@click.argument("targets", nargs=-1)
@recipe_options
@training_options
@json_option
def plan(
    targets: tuple[str, ...],
    recipe: Path,
    workshop: Path | None,
    changes: tuple[str, ...],
    as_json: bool,
    **training: Any,
) -> None:
    """Say what a recipe will do, what it needs and how long it takes. Nothing is made.

    With --model, plan one training instead: what fits on which machine, how it is laid out, and how it is started.

    \b
    Examples:
      metier plan
      metier plan law/metier.yaml report --set cpt.tokens=2000000
      metier plan --model 8B --host 8xA100-80G
      metier plan --model 70B --method lora --host 2x8xH100-80G --length 4096 --write cluster/
    """
    from metier.core.plan import plan as make_plan

    if planned_training(training, as_json, bool(targets)):
        return
    recipe, targets = recipe_and_targets(recipe, targets)
    loaded, shop = open_recipe(recipe, changes), open_workshop(recipe, workshop)
    planned = make_plan(shop, _targets(loaded, targets), loaded.names)
    if as_json:
        click.echo(json.dumps([_as_json(item) for item in planned.steps], indent=2))
    else:
        _print_plan(planned)
    if any(item.missing for item in planned.to_make):
        sys.exit(2)


def _as_json(item: Planned) -> dict[str, Any]:
    estimate = item.estimate._asdict() if item.estimate else None
    return {
        "name": item.name,
        "step": item.step.name,
        "folder": item.folder,
        "state": item.state,
        "estimate": estimate,
        "seconds_before": item.seconds_before,
        "missing": item.missing,
    }


def _print_plan(plan: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "step", "state", "time", "memory", "disk", "lacks", box=None, pad_edge=False)
    for item in plan.steps:
        estimate = item.estimate
        table.add_row(
            item.name,
            item.step.name,
            item.state,
            _time(estimate.seconds if estimate else None, item.seconds_before),
            _bytes(estimate.memory_bytes) if estimate else "",
            _bytes(estimate.disk_bytes) if estimate else "",
            ", ".join(item.missing),
        )
    console = Console()
    console.print(table)
    host = plan.host
    gpus = ", ".join(f"{gpu.name} ({_bytes(gpu.memory_bytes)})" for gpu in host.gpus) or "no GPU"
    console.print(f"\non {host.cores} cores, {_bytes(host.memory_bytes)}, {gpus}; {host.system}")
    known = [item.estimate.seconds for item in plan.to_make if item.estimate and item.estimate.seconds]
    if not plan.to_make:
        console.print("nothing to do: everything is done")
    else:
        minutes = f", about {sum(known) / 60:.0f} min for those that can say" if known else ""
        console.print(f"{len(plan.to_make)} of {len(plan.steps)} steps to make{minutes}")
        lacking = sorted({package for item in plan.to_make for package in item.missing})
        if lacking:
            extras = sorted({extra for item in plan.to_make if item.missing for extra in item.step.extras})
            console.print(f"not installed: {', '.join(lacking)}. hint: pip install 'metier[{','.join(extras)}]'")


def _time(expected: float | None, before: float | None) -> str:
    if before is not None:
        return f"took {before:.0f} s"
    return f"~{expected / 60:.1f} min" if expected is not None else ""


def _bytes(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


@click.command()
@click.argument("target")
@recipe_options
@json_option
def why(target: str, recipe: Path, workshop: Path | None, changes: tuple[str, ...], as_json: bool) -> None:
    """Say, field by field, why TARGET would run again.

    \b
    Examples:
      metier why sft
      metier why report --set sft.learning_rate=1e-5
    """
    from metier.core.plan import why as reasons_for

    loaded, shop = open_recipe(recipe, changes), open_workshop(recipe, workshop)
    reasons = reasons_for(shop, loaded.step(target), loaded.names)
    if as_json:
        click.echo(json.dumps({"target": target, "runs": bool(reasons), "reasons": reasons}, indent=2))
    else:
        click.echo("\n".join(reasons) or f"{target} is done and would not run")
