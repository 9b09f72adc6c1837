"""The demo's recipes: what two of them call alike is the same artifact, so that one goes on from the other."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from metier.core import Workshop
from metier.core.recipe import Recipe, load_recipe
from metier.demo import RECIPE, RECIPES, prepare


@pytest.fixture
def recipes(tmp_path: Path) -> dict[str, Recipe]:
    for name, source in RECIPES.items():
        (tmp_path / name).write_text((resources.files("metier") / "recipes" / source).read_text())
    # keys hold what a recipe reads from disk
    (tmp_path / "material" / "sqlite-manual" / "pages").mkdir(parents=True)
    (tmp_path / "material" / "general-text").mkdir()
    for name in ("replay", "held_out"):
        (tmp_path / "material" / "general-text" / f"{name}.jsonl").write_text('{"text": "one"}\n')
    return {name: load_recipe(tmp_path / name) for name in RECIPES}


def test_the_reinforced_demo_goes_on_from_the_demos_own_fine_tuning(recipes: dict[str, Recipe], tmp_path: Path) -> None:
    keys = Workshop(tmp_path / "runs").keys
    demo, grpo = recipes[RECIPE], recipes["grpo.yaml"]
    shared = set(demo.steps) & set(grpo.steps)
    assert {"corpus", "tasks", "cpt", "sft", "fresh", "exam", "scores-base", "scores-sft"} <= shared
    assert {name for name in shared if keys.of(demo.step(name)) != keys.of(grpo.step(name))} == set()
    assert grpo.step("grpo").held()["base"] == [grpo.step("sft")]


def test_both_recipes_are_laid_beside_the_material_and_an_edited_one_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fetch in ("sqlite_manual", "general_text"):
        monkeypatch.setattr(f"metier.demo.{fetch}", lambda *_: None)
    said: list[str] = []
    assert prepare(tmp_path, said.append) == tmp_path / RECIPE
    assert {path.name for path in tmp_path.glob("*.yaml")} == set(RECIPES) and not said
    (tmp_path / "grpo.yaml").write_text("grpo: {}")
    prepare(tmp_path, said.append)
    assert (tmp_path / "grpo.yaml").read_text() == "grpo: {}" and len(said) == 1
