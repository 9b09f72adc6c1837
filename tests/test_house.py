"""The rules of the house, held by test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "metier"
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "datasets",
    "pyarrow",
    "matplotlib",
    "xllamacpp",
    "gguf",
    "numpy",
    "rich",
    "openai",
}
LIGHT_ROOMS = {"core", "cli"}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield the absolute names of all that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_the_core(path: Path) -> None:
    here = room(path)
    if here in ("cli", "demo") or here.endswith(".py"):
        return
    others = {name.split(".")[1] for name in imports(path) if name.startswith("metier.") and name.count(".") > 1}
    others -= {"core", here, "__version__"}
    assert not others, f"{path.relative_to(ROOT)} imports {sorted(others)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_holds_something_and_not_too_much(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), f"{path} does not say what it is"
    assert text.count("\n") <= 400, f"{path} is too long to read in one go"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_reading_a_recipe_imports_nothing_heavy() -> None:
    assert not loaded_by("from metier.core.recipe import import_rooms; import_rooms()") & HEAVY


def test_help_imports_neither_the_core_nor_anything_heavy() -> None:
    loaded = loaded_by("from metier.cli import group; group.main(['--help'], standalone_mode=False)")
    assert not loaded & (HEAVY | {"pydantic", "yaml"})


def test_help_answers_in_under_three_tenths_of_a_second() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "metier.cli.__main__", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.3


def test_nothing_names_a_path_of_one_machine() -> None:
    found = []
    for path in [*modules(), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile"]:
        if match := re.search(r"(?<![\w./])/(?:root|home|work)/\w+", path.read_text()):
            found.append(f"{path.relative_to(ROOT)}: {match[0]}")
    assert not found


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in named:
        package = re.split(r"[\[<>=;~! ]", requirement)[0]
        assert package == "metier" or f"`{package}`" in reasons, f"docs/dependencies.md does not speak of {package}"
        assert (ROOT / "constraints.txt").read_text().lower().count(
            package.lower().replace("_", "-")
        ) or package == "metier"


def test_the_reference_pages_are_those_of_the_code() -> None:
    from metier.cli.reference import cli_page, recipe_page

    reference = ROOT / "docs" / "reference"
    assert (reference / "cli.md").read_text() == cli_page(), "run `make docs`"
    assert (reference / "recipe.md").read_text() == recipe_page(), "run `make docs`"


def test_every_option_of_every_step_is_described() -> None:
    from metier.core.recipe import import_rooms
    from metier.core.step import STEPS

    import_rooms()
    silent = [
        f"{kind.name}.{field}"
        for kind in STEPS.values()
        if kind.__module__.startswith("metier.")
        for field, info in kind.model_fields.items()
        if not info.description
    ]
    assert not silent
