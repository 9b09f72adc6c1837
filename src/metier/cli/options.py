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
    """Return the finished artifact of one kind that a recipe makes last. Raises Mistake if there is none yet."""
    from metier.core.errors import Mistake

    wanted = kind.__name__.lower()
    steps = [recipe.step(name)] if name else [step for step in recipe.steps.values() if issubclass(step.makes, kind)]
    if not steps:
        raise Mistake(f"the recipe makes no {wanted}", found=", ".join(recipe.steps), hint="add a step that makes one")
    artifact = workshop.find(steps[-1])
    if artifact is None or not issubclass(steps[-1].makes, kind):
        called = recipe.names[id(steps[-1])]
        raise Mistake(f"'{called}' is not a finished {wanted}", hint=f"metier run -r {recipe.file} {called}")
    return artifact  # type: ignore[no-any-return]
