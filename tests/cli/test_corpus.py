"""`metier corpus …` on plain files."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from metier.core.recipe import import_rooms
from metier.core.step import STEPS
from tests.cli.test_cli import metier
from tests.corpus.pages import prose


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.txt").write_text(prose(number, 120))
    (tmp_path / "in" / "copy.txt").write_text(prose(0, 120))
    return tmp_path


def test_every_step_of_the_room_is_a_command_and_explains_its_fields() -> None:
    import_rooms()
    names = [kind.name for kind in STEPS.values() if kind.__module__.startswith("metier.corpus.")]
    assert len(names) > 5
    listed = metier("corpus", "--help").output
    for name in names:
        assert name in listed
        shown = metier("corpus", name, "--help").output
        first, *rest = STEPS[name].model_fields
        assert all("--" + field.replace("_", "-") in shown for field in rest if field != "folder" or first == field)


def test_one_commands_output_is_the_nexts_input_and_a_suffix_chooses_the_form(here: Path) -> None:
    assert metier("corpus", "read", "in", "-o", "pages").exit_code == 0
    done = metier("corpus", "dedup", "pages", "-o", "unique.jsonl")
    assert done.exit_code == 0 and "1  exact duplicate" in done.output
    rows = [json.loads(line) for line in (here / "unique.jsonl").read_text().splitlines()]
    assert sorted(row["text"] for row in rows) == sorted({prose(number, 120) for number in range(3)})
    assert metier("corpus", "dedup", "in", "-o", "unique.parquet").exit_code == 0
    assert pq.read_table(here / "unique.parquet").num_rows == 3


def test_the_printed_recipe_has_the_key_of_the_command(here: Path) -> None:
    printed = metier("corpus", "dedup", "in", "--threshold", "0.8", "--as-recipe").output
    (here / "metier.yaml").write_text(printed)
    metier("corpus", "dedup", "in", "--threshold", "0.8", "-w", "shop")
    again = json.loads(metier("run", "-w", "shop", "--json").stdout)
    assert again["made"] == 0


def test_a_wrong_value_is_told_as_in_a_recipe(here: Path) -> None:
    result = metier("corpus", "dedup", "in", "--threshold", "7")
    assert "'dedup.threshold' does not fit" in str(result.exception)


def test_a_folder_of_someone_else_is_never_written_over(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("precious")
    result = metier("corpus", "read", "in", "-o", "mine")
    assert "was not made by Metier" in str(result.exception)
    assert (here / "mine" / "thesis.txt").read_text() == "precious"


def test_an_output_is_written_again_without_a_trace_of_the_old(here: Path) -> None:
    metier("corpus", "read", "in", "-o", "out")
    (here / "in" / "2.txt").unlink()
    assert metier("corpus", "read", "in", "-o", "out").exit_code == 0
    assert sum(pq.read_metadata(path).num_rows for path in (here / "out" / "documents").glob("*.parquet")) == 3
