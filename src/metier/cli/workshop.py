"""Commands that look at what was made: ls, show, report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metier.cli.options import finished, json_option, open_recipe, open_workshop, recipe_and_targets, recipe_options

if TYPE_CHECKING:
    from metier.core.artifact import Artifact
    from metier.core.recipe import Recipe
    from metier.core.types import Score
    from metier.core.workshop import Workshop


@click.command()
@recipe_options
@json_option
def ls(recipe: Path, workshop: Path | None, changes: tuple[str, ...], as_json: bool) -> None:
    """List what is in the workshop.

    \b
    Examples:
      metier ls
      metier ls -r law --json
    """
    rows = _rows(recipe, workshop, changes)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "artifact", "state", "took", "size", "age", box=None, pad_edge=False)
    for row in rows:
        took = f"{row['seconds']:.0f} s" if row["seconds"] is not None else ""
        size = f"{row['bytes'] / 1e6:,.1f} MB"
        table.add_row(row["name"] or "", row["folder"], row["state"], took, size, _age(row["age_seconds"]))
    Console().print(table if rows else "nothing was made here yet. next: metier run")


def _rows(recipe: Path, workshop: Path | None, changes: tuple[str, ...]) -> list[dict[str, Any]]:
    from metier.core.files import size_below

    shop = open_workshop(recipe, workshop)
    names: dict[str, str] = {}
    if recipe.exists():
        loaded = open_recipe(recipe, changes)
        names = {shop.folder_of(step).name: name for name, step in loaded.steps.items()}
    rows = []
    for artifact in shop.artifacts():
        record = artifact.record if artifact.exists else None
        rows.append(
            {
                "name": names.get(artifact.folder.name) or (record.called if record else None),
                "folder": artifact.folder.name,
                "state": "done" if record else "unfinished",
                "in_recipe": artifact.folder.name in names,
                "seconds": record.seconds if record else None,
                "bytes": record.output_bytes if record else size_below(artifact.folder),
                "age_seconds": round(time.time() - artifact.folder.stat().st_mtime),
            }
        )
    return rows


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


@click.command()
@click.argument("artifact")
@recipe_options
@click.option("-n", "--rows", default=3, show_default=True, help="How many rows to print.")
@click.option("--mask", is_flag=True, help="Print the tokens of rows with what is trained in [brackets].")
@json_option
def show(
    artifact: str, recipe: Path, workshop: Path | None, changes: tuple[str, ...], rows: int, mask: bool, as_json: bool
) -> None:
    """Look into one ARTIFACT: a name in the recipe, or a folder's name from `metier ls`.

    \b
    Examples:
      metier show corpus                 the record, the ledger and three rows
      metier show tasks --mask           what of each row the model is trained on
      metier show sft --json             the whole record
    """
    from metier.core.plan import find_artifact

    shop = open_workshop(recipe, workshop)
    loaded = open_recipe(recipe, changes) if recipe.exists() else None
    found = _named(artifact, loaded, shop) or find_artifact(shop, artifact)
    if mask:
        if loaded is None:
            raise click.UsageError("--mask needs the recipe, for the template of its model")
        _print_mask(found, loaded, shop, rows)
    elif as_json:
        click.echo(found.record.model_dump_json(indent=2))
    else:
        _print_record(found, rows)


def _named(name: str, recipe: Recipe | None, shop: Workshop) -> Artifact | None:
    from metier.core.errors import Mistake

    if recipe is None or name not in recipe.steps:
        return None
    found: Artifact | None = shop.find(recipe.steps[name])
    if found is None:
        raise Mistake(f"'{name}' is not made yet", hint=f"metier run -r {recipe.file} {name}")
    return found


def _print_record(artifact: Artifact, rows: int) -> None:
    record = artifact.record
    click.echo(f"{record.called or record.step} ({record.step}), {artifact.folder}")
    click.echo(
        f"made {record.finished} in {record.seconds:.1f} s, attempts {record.attempts}, "
        f"sha256 {record.output_sha256[:16]}…"
    )
    for line in record.ledger.lines:
        dropped = "; ".join(f"{count:,} {reason}" for reason, count in line.dropped.items() if count)
        made = ", ".join(f"{count:,} {unit}s" for unit, count in line.made.items())
        click.echo(
            f"  {line.came:,} {line.unit}s came, {line.kept:,} kept" + (f", dropped: {dropped}" if dropped else "")
        )
        if made:
            click.echo(f"    made: {made}")
    scores = _scores(artifact)
    below = {name for at in scores for name in (at.name, f"{at.name}/{at.split}", f"{at.name}/{at.model}")}
    for name, value in record.figures.items():
        if name not in below:
            click.echo(f"  {name}: {json.dumps(value, ensure_ascii=False)[:200]}")
    several = len({at.model for at in scores}) > 1
    for at in scores:
        called = f"{at.name}/{at.split}" + (f" of {at.model}" if several else "")
        interval = "" if at.low is None or at.high is None else f" [{at.low:.4g}, {at.high:.4g}]"
        click.echo(f"  {called}: {at.value:.4g}{interval}" + ("" if at.n is None else f", n = {at.n:,}"))
    for warning in record.warnings:
        click.echo(f"  warning: {warning}")
    for text in _samples(artifact, rows):
        click.echo("\n" + text)


def _scores(artifact: Artifact) -> list[Score]:
    """Return the measured figures, which have intervals; an artifact of another kind has none."""
    from metier.core.types import Scores

    return Scores(artifact.folder).figures() if (artifact.folder / "scores.json").is_file() else []


def _samples(artifact: Artifact, rows: int) -> list[str]:
    """Return the first rows of whatever tables the artifact holds, as text."""
    from itertools import islice

    from metier.core.tables import read_rows

    texts = []
    for folder in sorted(path for path in artifact.folder.iterdir() if any(path.glob("part-*.parquet"))):
        for row in islice(read_rows(folder), rows):
            lines = [f"{key}: {_cut(value)}" for key, value in row.items() if value not in (None, "")]
            texts.append("\n".join(lines))
    return texts


def _cut(value: Any, length: int = 300) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters)"


def _print_mask(artifact: Artifact, recipe: Recipe, shop: Workshop, rows: int) -> None:
    from itertools import islice

    from transformers import AutoTokenizer

    from metier.core.errors import Mistake
    from metier.core.pretrained import load_pretrained
    from metier.core.types import Conversations, Model
    from metier.train.packing import Group, window_of
    from metier.train.safety import shown
    from metier.train.sft import rendered

    if not (artifact.folder / "conversations").is_dir():
        raise Mistake(
            "--mask shows conversations", found=artifact.folder.name, hint="name the data that SFT is trained on"
        )
    models = [shop.find(step) for step in recipe.steps.values() if issubclass(step.makes, Model)]
    model = next((found for found in models if isinstance(found, Model)), None)
    if model is None:
        raise Mistake("no model of this recipe is made yet, so there is no template", hint="metier run")
    tokenizer = load_pretrained(AutoTokenizer, model.model_folder)
    for row in islice(Conversations(artifact.folder).rows("train"), rows):
        found = shown(window_of([Group(tuple(rendered([row], tokenizer)), 0)]), tokenizer)
        click.echo(f"--- {row.id} ({row.task}): {found.trained} of {found.tokens} tokens are trained")
        for text, trained in found.parts:
            click.secho(f"[{text}]" if trained else text, fg="green" if trained else None, nl=False)
        click.echo()


@click.command()
@click.argument("targets", nargs=-1)
@recipe_options
@json_option
def report(
    targets: tuple[str, ...], recipe: Path, workshop: Path | None, changes: tuple[str, ...], as_json: bool
) -> None:
    """Print the figures of a finished recipe and where its page is.

    \b
    Examples:
      metier report
      metier report --json | jq '.figures[] | select(.name == "execution")'
      metier report --json | jq '.training_needed.enough, .benchmarks.differences'
    """
    from metier.core.types import Report

    recipe, targets = recipe_and_targets(recipe, targets)
    loaded, shop = open_recipe(recipe, changes), open_workshop(recipe, workshop)
    # Other steps make pages, too: of a corpus, of leaks. Without a name the examination's is meant.
    examined = {called: step for called, step in loaded.steps.items() if step.name == "report"}
    made = (called for called, step in examined.items() if shop.find(step) is not None)
    found = finished(loaded, shop, Report, targets[0] if targets else next(made, next(iter(examined), None)))
    told = json.loads((found.folder / "report.json").read_text())
    if as_json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    if "figures" not in told:
        click.echo(f"the page: {(found.folder / 'report.html').absolute()}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "split", "model", "value", "95% interval", "n", box=None, pad_edge=False)
    for row in told["figures"]:
        interval = f"{row['low']:.3g} to {row['high']:.3g}" if row["low"] is not None else ""
        table.add_row(row["name"], row["split"], row["model"], f"{row['value']:.3g}", interval, str(row["n"] or ""))
    Console().print(table)
    click.echo(f"\nthe page: {(found.folder / 'report.html').absolute()}")
