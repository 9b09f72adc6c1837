"""The command `watch`: a running or finished training, seen from another terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metier.cli.options import json_option, open_recipe, open_workshop, recipe_options

if TYPE_CHECKING:
    from rich.console import Console

    from metier.train.watch.view import View

_EVERY_SECONDS = 1.0


@click.command()
@click.argument("training", required=False)
@recipe_options
@click.option("--once", is_flag=True, help="Print the state and end: for logs, CI, `watch -n`.")
@click.option("--width", type=click.IntRange(60), help="Columns, where the terminal is not asked.")
@json_option
def watch(
    training: str | None,
    recipe: Path,
    workshop: Path | None,
    changes: tuple[str, ...],
    once: bool,
    width: int | None,
    as_json: bool,
) -> None:
    """Follow a TRAINING: progress, curves, looks into the model, warnings, the last answers.

    TRAINING is a name in the recipe, the folder of a run, or its name in the workshop. Without it the training that was
    last heard of is shown. It only reads: ending it ends nothing else.

    \b
    Examples:
      metier watch                        what trains now
      metier watch sft
      metier watch runs/sft-1f2e --once   the state, once
      ssh gpu1 metier watch -r law --once --json
    """
    from rich.console import Console

    from metier.train.watch.seen import Seen
    from metier.train.watch.view import View

    folder, called = _find(training, recipe, workshop, changes)
    seen = Seen(folder)
    seen.read()
    if as_json:
        click.echo(json.dumps(seen.summary(), indent=2, ensure_ascii=False))
        return
    console, view = Console(width=width, highlight=False), View(seen, called)
    if once or not console.is_terminal:
        console.print(view)
        return
    _follow(view, console)


def _follow(view: View, console: Console) -> None:
    """Draw it anew until the training ends or the user has seen enough."""
    from rich.live import Live

    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while view.seen.state() not in ("done", "stopped"):
                view.seen.read()
                live.update(view, refresh=True)
                time.sleep(_EVERY_SECONDS)
        except KeyboardInterrupt:
            pass
    view.seen.read()
    console.print(view)


def _find(training: str | None, recipe: Path, workshop: Path | None, changes: tuple[str, ...]) -> tuple[Path, str]:
    """Return the folder of a training and what to call it.

    Raises:
        Mistake: there is none by that name, or none at all.
    """
    from metier.core.artifact import EVENTS, RECORD
    from metier.core.errors import Mistake

    if training is not None and (Path(training) / EVENTS).is_file():
        return Path(training), Path(training).resolve().name
    if training is not None and training.endswith(EVENTS) and Path(training).is_file():
        return Path(training).parent, Path(training).resolve().parent.name
    shop = open_workshop(recipe, workshop)
    names: dict[str, Path] = {}
    if recipe.exists():
        loaded = open_recipe(recipe, changes)
        names = {name: shop.folder_of(step) for name, step in loaded.steps.items()}
    if training is not None and training not in names and Path(training).is_dir():  # nothing was written there yet
        return Path(training), Path(training).resolve().name
    if training is None:
        heard = [path for path in shop.folder.glob(f"*/{EVENTS}") if _trains(path)]
        if not heard:
            raise Mistake(
                "no training has been heard of", found=f"no events in {shop.folder}", hint="metier run starts one"
            )
        folder = max(heard, key=lambda path: path.stat().st_mtime).parent
    else:
        folder = names.get(training, shop.folder / training)
        if not folder.is_dir():
            known = [name for name, path in names.items() if (path / EVENTS).is_file() and _trains(path / EVENTS)]
            raise Mistake(
                f"there is no training '{training}' yet",
                found=f"heard of: {', '.join(known) or 'none'}",
                hint="give a name in the recipe, or the folder of a run",
            )
        if (folder / RECORD).is_file() and not ((folder / EVENTS).is_file() and _trains(folder / EVENTS)):
            raise Mistake(
                f"'{training}' is no training",
                found=f"{folder.name}, made without one",
                hint="`metier watch` without a name shows the training last heard of",
            )
    called = next((name for name, path in names.items() if path == folder), None)
    return folder, f"{called} ({folder.name})" if called else folder.name


def _trains(events: Path) -> bool:
    """Whether a file of events is a training's, by its beginning."""
    with events.open("rb") as file:
        head = file.read(4096)
    return any(b'"kind": "%s"' % kind in head for kind in (b"begun", b"training", b"rehearsal", b"log"))
