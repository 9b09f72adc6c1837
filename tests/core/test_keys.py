"""The identity of a step: its fields, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from metier.core import Host, Keys, Mistake, Step, Work, Workshop
from metier.core.recipe import build_recipe, dump_recipe, import_rooms, load_recipe
from metier.core.step import STEPS, dependencies_first
from tests.core.steps import Count, Even, FromFile, Many, Numbers


def key(step: Step[Any]) -> str:
    return Keys().of(step)


def test_the_same_recipe_in_yaml_and_in_python_has_the_same_key(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("1 2")
    (tmp_path / "metier.yaml").write_text(
        "numbers: {step: test-count, upto: 7}\n"
        "even: {step: test-even, numbers: $numbers}\n"
        "file: {step: test-file, file: in.txt}\n"
        "all: {step: test-many, parts: [$even, $file], named: {again: $numbers}}\n"
    )
    from_yaml = load_recipe(tmp_path / "metier.yaml").step("all")
    numbers = Count(upto=7)
    in_python = Many(parts=(Even(numbers=numbers), FromFile(file=tmp_path / "in.txt")), named={"again": numbers})
    assert key(from_yaml) == key(in_python)


def test_a_dumped_recipe_loads_to_the_same_keys(tmp_path: Path) -> None:
    recipe = build_recipe(
        {"n": {"step": "test-count", "upto": 3}, "e": {"step": "test-even", "numbers": "$n"}}, tmp_path
    )
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe))
    again = load_recipe(tmp_path / "again.yaml")
    assert [key(step) for step in again.steps.values()] == [key(step) for step in recipe.steps.values()]


def test_adding_an_option_with_a_default_changes_no_key() -> None:
    before = key(Count(upto=5))

    class Counted(Step[Numbers]):
        name: ClassVar[str] = "test-count-later"
        upto: int = 20
        seconds_each: float = 0.0
        label: str | None = None
        new_option: str = "as before"

        def run(self, work: Work) -> None: ...

    later = Keys().identity(Counted(upto=5)) | {"step": "test-count"}
    assert later == Keys().identity(Count(upto=5))
    assert before == key(Count(upto=5, label=None))


def test_a_field_that_differs_from_its_default_changes_the_key() -> None:
    assert len({key(Count()), key(Count(upto=3)), key(Count(label="x")), key(Even(numbers=Count()))}) == 4


def test_a_change_deep_in_the_graph_changes_every_key_above_it() -> None:
    assert key(Many(parts=(Even(numbers=Count(upto=1)),))) != key(Many(parts=(Even(numbers=Count(upto=2)),)))


def test_what_the_host_offers_never_changes_a_key(tmp_path: Path) -> None:
    step = Even(numbers=Count(upto=4))
    small = Workshop(tmp_path / "a", Host(cores=1, threads=1, memory_bytes=1 << 30))
    large = Workshop(tmp_path / "b", Host(cores=512, threads=512, memory_bytes=1 << 42))
    assert small.folder_of(step).name == large.folder_of(step).name


def test_a_local_file_counts_by_content_and_not_by_name(tmp_path: Path) -> None:
    one, same, other = tmp_path / "one", tmp_path / "same", tmp_path / "other"
    for path, text in ((one, "1 2"), (same, "1 2"), (other, "1 3")):
        path.write_text(text)
    assert key(FromFile(file=one)) == key(FromFile(file=same)) != key(FromFile(file=other))


def test_a_changed_file_changes_the_key_even_where_digests_are_remembered(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("1 2")
    before = Workshop(tmp_path / "w").folder_of(FromFile(file=source))
    source.write_text("1 2 3")
    assert Workshop(tmp_path / "w").folder_of(FromFile(file=source)) != before


def test_a_folder_counts_by_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = key(FromFile(file=tmp_path / "a"))
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert key(FromFile(file=tmp_path / "a")) != before


def test_a_missing_input_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="does not exist"):
        key(FromFile(file=tmp_path / "nothing"))


def test_inputs_come_before_the_steps_that_need_them_and_each_once() -> None:
    numbers = Count()
    even = Even(numbers=numbers)
    both = Many(parts=(even, numbers), named={"n": numbers})
    assert [id(step) for step in dependencies_first([both, even])] == [id(numbers), id(even), id(both)]


def test_no_key_of_a_shipped_recipe_changes_unnoticed() -> None:
    """The golden file holds the identity of every step with its required fields only; a change of key is a decision."""
    import_rooms()
    golden = json.loads((Path(__file__).parents[1] / "golden" / "keys.json").read_text())
    shipped = {name: kind for name, kind in STEPS.items() if kind.__module__.startswith("metier.")}
    assert {name: kind.version for name, kind in shipped.items()} == {
        name: entry["version"] for name, entry in golden.items()
    }
    for name, kind in shipped.items():
        defaults = {
            field: repr(info.get_default(call_default_factory=True, validated_data={}))
            for field, info in kind.model_fields.items()
            if not info.is_required()
        }
        for field, default in golden[name]["defaults"].items():
            assert defaults.get(field) == default, f"{name}.{field}: raise {name}'s version when a default changes"
