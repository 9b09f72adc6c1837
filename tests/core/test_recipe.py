"""What is wrong with a recipe is said in words, with the nearest right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from metier.core import Mistake
from metier.core.recipe import load_recipe
from tests.core import steps as _steps  # noqa: F401 - makes the test steps known


def load(tmp_path: Path, text: str, *changes: str) -> None:
    (tmp_path / "metier.yaml").write_text(text)
    load_recipe(tmp_path / "metier.yaml", changes)


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("n: {step: test-count, upot: 3}", "unknown key 'upot'", "did you mean 'upto'?"),
        ("n: {step: test-cuont}", "unknown step 'test-cuont'", "did you mean 'test-count'?"),
        ("n: {step: test-even, numbers: $nn}", "refers to $nn", "did you mean 'n'?"),
        ("a: {step: test-even, numbers: $b}\nb: {step: test-even, numbers: $a}", "circle", "must not hold"),
        ("n: {step: test-even}", "lacks 'numbers'", None),
        ("n: {step: test-count, upto: many}", "'n.upto' does not fit", None),
        ("n: {step: test-even, numbers: 3}", "'n.numbers' does not fit", None),
        ("n: [1, 2]", "does not say which step", "step: read"),
        ("- just\n- a list", "holds no steps", None),
        ("", "holds no steps", None),
        ("n: {step: test-count, upto: 1, upto: 2}", "not valid YAML", None),
        ("n: {step: [", "not valid YAML", None),
    ],
)
def test_each_mistake_in_a_recipe_is_named(tmp_path: Path, text: str, what: str, hint: str | None) -> None:
    with pytest.raises(Mistake) as caught:
        load(tmp_path, text)
    assert what in caught.value.what
    assert hint is None or hint in (caught.value.hint or "")


def test_a_circle_is_shown_whole(tmp_path: Path) -> None:
    text = "a: {step: test-even, numbers: $b}\nb: {step: test-even, numbers: $c}\nc: {step: test-even, numbers: $a}"
    with pytest.raises(Mistake) as caught:
        load(tmp_path, text)
    assert caught.value.found == "a → b → c → a"


def test_a_binary_file_is_not_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "metier.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(Mistake, match="cannot be read"):
        load_recipe(tmp_path / "metier.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("n.upto", "name.field=value"),
        ("m.upto=3", "not in the recipe"),
        ("n.upot=3", "unknown key"),
        ("n.upto=[", "YAML"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, change: str, words: str) -> None:
    with pytest.raises(Mistake, match=words):
        load(tmp_path, "n: {step: test-count}", change)


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "metier.yaml").write_text("n: {step: test-count, upto: 3}")
    recipe = load_recipe(tmp_path / "metier.yaml", ["n.upto=9", "n.seconds_each=1e-5"])
    assert recipe.step("n").model_dump() == {"upto": 9, "seconds_each": 1e-5, "label": None}


def test_targets_are_the_steps_that_no_other_holds(tmp_path: Path) -> None:
    (tmp_path / "metier.yaml").write_text(
        "n: {step: test-count}\ne: {step: test-even, numbers: $n}\nx: {step: test-count, upto: 2}"
    )
    recipe = load_recipe(tmp_path / "metier.yaml")
    assert [recipe.names[id(step)] for step in recipe.targets()] == ["e", "x"]
