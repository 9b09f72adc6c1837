"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from metier.core.artifact import Artifact
    from metier.core.recipe import Recipe
    from metier.core.workshop import Workshop

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_RECIPE = Path("metier.yaml")


def recipe_options(function: F) -> F:
    """Add --recipe, --workshop and --set."""
    for option in (
        click.option(
            "--set", "changes", multiple=True, metavar="NAME.FIELD=VALUE", help="Override a field of the recipe."
        ),
        click.option(
            "-w",
            "--workshop",
            type=click.Path(path_type=Path),
            help="Folder of artifacts. [default: runs/ beside the recipe]",
        ),
        click.option(
            "-r",
            "--recipe",
            type=click.Path(path_type=Path),
            default=DEFAULT_RECIPE,
            show_default=True,
            help="The recipe.",
        ),
    ):
        function = option(function)
    return function


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


def open_recipe(recipe: Path, changes: tuple[str, ...]) -> Recipe:
    """Load a recipe; a folder stands for the `metier.yaml` in it."""
    from metier.core.recipe import load_recipe

    return load_recipe(recipe / DEFAULT_RECIPE if recipe.is_dir() else recipe, changes)


def open_workshop(recipe: Path, workshop: Path | None) -> Workshop:
    """Open the workshop of a recipe, with progress on this terminal."""
    from metier.core.progress import Progress
    from metier.core.workshop import Workshop

    beside = recipe if recipe.is_dir() else recipe.parent
    return Workshop(workshop or beside / "runs", progress=Progress.here())


def recipe_and_targets(recipe: Path, targets: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """Let the first argument name the recipe: `metier run law/metier.yaml sft`."""
    if targets and (targets[0].endswith((".yaml", ".yml")) or Path(targets[0]).is_dir()):
        return Path(targets[0]), targets[1:]
    return recipe, targets


def finished(recipe: Recipe, workshop: Workshop, kind: type[Artifact], name: str | None = None) -> Artifact:
    """Return the finished artifact of one kind: the named one, or the first in the recipe that is finished.

    Raises:
        Mistake: the recipe makes none, or none is finished.
    """
    from metier.core.errors import Mistake

    wanted = kind.__name__.lower()
    steps = {called: step for called, step in recipe.steps.items() if issubclass(step.makes, kind)}
    if name is not None:
        steps = {name: recipe.step(name)} if issubclass(recipe.step(name).makes, kind) else {}
    if not steps:
        found = ", ".join(recipe.steps) if name is None else f"'{name}' makes {recipe.step(name).makes.__name__}"
        raise Mistake(
            f"the recipe makes no {wanted}{'' if name is None else ' by that name'}",
            found=found,
            hint="`metier plan` shows what it makes",
        )
    for step in steps.values():
        artifact: Artifact | None = workshop.find(step)
        if artifact is not None:
            return artifact
    called = next(iter(steps))
    raise Mistake(f"'{called}' is not a finished {wanted}", hint=f"metier run -r {recipe.file} {called}")
