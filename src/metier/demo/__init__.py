"""The demo: SQLite's manual, a recipe, and what they need, put into one folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from metier.core.errors import Mistake, from_os_error
from metier.core.files import write_text_atomic
from metier.demo.material import general_text, sqlite_manual

RECIPE = "metier.yaml"
RECIPES = {RECIPE: "sqlite.yaml", "grpo.yaml": "sqlite-grpo.yaml"}
"""What the demo's recipes are called in its folder, and in the package. The first is the demo."""


def prepare(folder: Path, say: Callable[[str], None]) -> Path:
    """Put the demo's material and recipes into `folder`, unless they are there, and return the path of the demo's.

    A recipe that was edited there is left as it is.

    Raises:
        Mistake: the folder cannot be written, or the material cannot be fetched.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sqlite_manual(folder / "material", say)
        general_text(folder / "material", say)
        for name, source in RECIPES.items():
            recipe = folder / name
            shipped = (resources.files("metier") / "recipes" / source).read_text()
            if not recipe.exists():
                write_text_atomic(recipe, shipped)
            elif recipe.read_text() != shipped:
                say(f"{recipe} differs from the recipe that ships; using it as it is")
        return folder / RECIPE
    except OSError as error:
        mapped = from_os_error(error, f"preparing {folder}") or Mistake(f"{folder} cannot be prepared", str(error))
        raise mapped from error
