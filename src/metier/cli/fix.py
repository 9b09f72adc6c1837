"""The command that writes the doctor's remedies into a recipe: fix."""

from __future__ import annotations

import difflib
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metier.cli.options import DEFAULT_RECIPE, json_option, open_recipe, open_workshop

if TYPE_CHECKING:
    from metier.core.recipe import Recipe
    from metier.core.workshop import Workshop
    from metier.evaluate.doctor.mend import Chosen, Mended


@click.command()
@click.argument("diagnosis", required=False)
@click.option("--only", multiple=True, metavar="FAULT", help="Mend only this fault; may be given several times.")
@click.option("--remedy", "kinds", multiple=True, metavar="FAULT=KIND", help="Take another remedy than the first.")
@click.option("--write", is_flag=True, help="Change the recipe; what it was is kept beside it.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the new recipe here instead.")
@click.option(
    "-w", "--workshop", type=click.Path(path_type=Path), help="Folder of artifacts. [default: runs/ beside the recipe]"
)
@click.option(
    "-r", "--recipe", type=click.Path(path_type=Path), default=DEFAULT_RECIPE, show_default=True, help="The recipe."
)
@json_option
def fix(
    diagnosis: str | None,
    only: tuple[str, ...],
    kinds: tuple[str, ...],
    write: bool,
    output: Path | None,
    recipe: Path,
    workshop: Path | None,
    as_json: bool,
) -> None:
    """Show what the doctor would change in the recipe, and change it with --write.

    DIAGNOSIS is the name of a finished `doctor` step in the recipe, or a folder; the first finished one if not given.
    Only the values that change are rewritten: comments and order stay. Exit code 0: healthy, or written. 1: faults
    were found, and nothing was written. 2: your input has to be mended first.

    \b
    Examples:
      metier fix                                          what was found, and the difference
      metier fix --write                                  take the first remedy of every fault
      metier fix --only forgetting --remedy forgetting="lower rate" --output gentler.yaml
    """
    from metier.evaluate.doctor.mend import choose, mend

    if write and output is not None:
        raise click.UsageError("--write changes the recipe itself; give it or --output, not both")
    recipe = recipe / DEFAULT_RECIPE if recipe.is_dir() else recipe
    loaded, shop = open_recipe(recipe, ()), open_workshop(recipe, workshop)
    if output is not None:
        _check_folder(loaded, recipe, output)
    found = _diagnosis(diagnosis, loaded, shop)
    text = recipe.read_bytes().decode()
    mended = mend(text, loaded, shop, found, choose(found, only, dict(map(_kind, kinds))))
    target = recipe if write else output
    backup = _write(text, mended, recipe, target) if target is not None and mended.applied else None
    if as_json:
        click.echo(json.dumps(_as_json(found, mended, target, backup), indent=2, ensure_ascii=False))
    else:
        given = [diagnosis] if diagnosis is not None else []
        given += [f"--only={fault}" for fault in only] + [f"--remedy={kind}" for kind in kinds]
        elsewhere = target is not None and target.resolve().parent != recipe.resolve().parent
        made_in = ["--workshop", str(shop.folder)] if workshop is not None or elsewhere else []
        writes = ["metier", "fix", *given, *made_in, "--write", "-r", str(recipe)]
        _print(found, text, mended, recipe, target, backup, writes, made_in)
    if not found["healthy"] and (target is None or not mended.applied):
        sys.exit(1)


def _kind(text: str) -> tuple[str, str]:
    fault, equals, kind = text.partition("=")
    if not equals:
        raise click.UsageError(f"--remedy {text}: wanted is FAULT=KIND")
    return fault, kind


def _diagnosis(name: str | None, recipe: Recipe, workshop: Workshop) -> dict[str, Any]:
    from metier.cli.options import finished
    from metier.core.plan import find_artifact
    from metier.evaluate.doctor import Diagnosis

    if name is None or name in recipe.steps:
        return Diagnosis(finished(recipe, workshop, Diagnosis, name).folder).read()
    if Path(name).is_dir():
        return Diagnosis(Path(name)).read()
    return Diagnosis(find_artifact(workshop, name).folder).read()


def _check_folder(recipe: Recipe, file: Path, output: Path) -> None:
    """Raise Mistake if the recipe, written to `output`, would read other files: its paths begin at its own folder."""
    from metier.core.errors import Mistake

    if output.resolve().parent == file.resolve().parent:
        return
    for name, step in recipe.steps.items():
        for paths in step.local_inputs().values():
            for path in paths:
                if not Path(path.written).expanduser().is_absolute():
                    raise Mistake(
                        f"in {output.resolve().parent} the recipe's relative paths would name other files",
                        found=f"{name}: {path.written}",
                        hint=f"write it beside the recipe ({file.with_name(output.name)}), or make them absolute",
                    )


def _write(text: str, mended: Mended, recipe: Path, target: Path) -> Path | None:
    """Write the new recipe; what was in its place is kept beside it. Returns where, None if nothing was."""
    from metier.core.errors import Mistake, from_os_error
    from metier.core.files import write_text_atomic

    try:
        backup = None
        if target.exists():
            if target != recipe:
                raise Mistake(f"{target} is there already", hint="name another file, or use --write")
            backup = _free(target)
            write_text_atomic(backup, text)
        real = target.resolve()  # a link stays one, and leads to the new text
        mode = real.stat().st_mode if real.exists() else None
        write_text_atomic(real, mended.text)
        if mode is not None:
            real.chmod(mode)
    except OSError as error:
        raise from_os_error(error, f"writing {target}") or error from error
    return backup


def _free(recipe: Path) -> Path:
    names = (recipe.with_name(f"{recipe.name}.before{number or ''}") for number in range(10_000))
    return next(path for path in names if not path.exists())


def _as_json(found: dict[str, Any], mended: Mended, target: Path | None, backup: Path | None) -> dict[str, Any]:
    return {
        "healthy": found["healthy"],
        "applied": [remedy._asdict() for remedy in mended.applied],
        "advice": [remedy._asdict() for remedy in mended.advice],
        "left_out": [{**remedy._asdict(), "because": why} for remedy, why in mended.left],
        "written": str(target) if target is not None and mended.applied else None,
        "before": str(backup) if backup is not None else None,
        "recipe": mended.text,
    }


def _print(
    found: dict[str, Any],
    text: str,
    mended: Mended,
    recipe: Path,
    target: Path | None,
    backup: Path | None,
    writes: list[str],
    made_in: list[str],
) -> None:
    from metier.evaluate.doctor.words import verdict

    click.echo(f"{found['model']}: {verdict(found)}\n")
    for fault in found["faults"]:
        if fault["found"]:
            click.echo(f"FOUND  {fault['title']}: {fault['words']}")
    for remedy in mended.applied:
        click.echo(f"\n{_headed(remedy)}")
    after = str(target or recipe)
    lines = (text.splitlines(keepends=True), mended.text.splitlines(keepends=True))
    for line in difflib.unified_diff(*lines, fromfile=str(recipe), tofile=after):
        click.echo(line.rstrip("\r\n"))
    for remedy in mended.advice:
        click.echo(f"\nby hand: {_headed(remedy)}")
    for remedy, why in mended.left:
        click.echo(f"\nleft out: {_headed(remedy)}\n  {why}")
    if mended.applied and target is None:
        click.echo(f"\nnext: {shlex.join(writes)}")
    elif mended.applied:
        kept = f"; what it was: {backup}" if backup is not None else ""
        goes_on = shlex.join(["-r", str(target), *made_in])
        click.echo(f"\nwritten: {target}{kept}\nnext: metier plan {goes_on}; metier run {goes_on}")


def _headed(remedy: Chosen) -> str:
    return f"{remedy.fault}, {remedy.kind}: {remedy.why}"
