"""`metier advise` on the command line: words, JSON, a recipe that `metier plan` takes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metier.core.recipe import load_recipe
from tests.cli.test_cli import metier


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of 12 million tokens by their size, and rows and pairs."""
    folder = tmp_path_factory.mktemp("material")
    (folder / "docs").mkdir()
    (folder / "docs" / "handbook.md").write_text("# Handbook\n\n" + "x" * 48_000_000)
    rows = {"rows": {"messages": []}, "pairs": {"chosen": "a", "rejected": "b"}, "general": {"text": "general"}}
    for name, row in rows.items():
        (folder / f"{name}.jsonl").write_text((json.dumps(row) + "\n") * 2000)
    return folder


def asked(material: Path, *more: Any) -> dict[str, Any]:
    paths = (material / "docs", material / "rows.jsonl", material / "pairs.jsonl")
    found = metier("advise", *paths, "--host", "1xA100-80G", "--json", *more)
    assert found.exit_code == 0, found.output
    told: dict[str, Any] = json.loads(found.output)
    return told


def test_json_tells_way_settings_sources_and_what_was_found(material: Path) -> None:
    told = asked(material, "--model", "7B")
    assert told["ways"] == ["RAG", "CPT", "SFT", "DPO"] and told["start_from"] == "chat"
    assert [one["rows"] for one in told["found"]] == [1, 2000, 2000] and told["host"] == "1xA100-80G"
    assert told["trainings"]["sft"] == {"method": "lora", "learning_rate": 2e-4, "epochs": 3, "rank": 16}
    assert told["trainings"]["cpt"]["method"] == "lora"  # 7B in full takes more than one card of 80 GB
    assert all(line["source"] for line in told["lines"]) and told["unknown"]


def test_words_say_the_same(material: Path) -> None:
    found = metier("advise", material / "docs", "--model", "7B")
    assert found.exit_code == 0 and "way: RAG + CPT + SFT" in found.output and "not known:" in found.output
    assert "BloombergGPT" in found.output and "12,000,00" not in found.output


def test_the_recipe_is_one_that_plan_takes(material: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    written = tmp_path / "law" / "metier.yaml"
    asked(material, "--model", tiny_model_folder, "--general", material / "general.jsonl", "--write", written)
    recipe = load_recipe(written)
    steps = {name: step.name for name, step in recipe.steps.items()}
    assert (
        steps["cpt"] == "cpt" and steps["sft"] == "sft" and steps["dpo"] == "dpo" and steps["scores-rag"] == "examine"
    )
    assert vars(recipe.steps["sft"])["learning_rate"] == 2e-4 and vars(recipe.steps["sft"])["method"] == "lora"
    assert vars(recipe.steps["cpt"])["replay_share"] == 0.2
    rows, pairs = recipe.steps["rows"], recipe.steps["pairs"]
    assert (rows.name, pairs.name) == ("chat-data", "preference-data")
    assert [file.path for file in vars(rows)["files"]] == [material / "rows.jsonl"]
    assert [file.path for file in vars(pairs)["files"]] == [material / "pairs.jsonl"]
    assert rows in vars(recipe.steps["sft"])["data"] and vars(recipe.steps["dpo"])["pairs"] == pairs
    assert vars(recipe.steps["exam"])["trained_on"] == (rows,)
    planned = metier("plan", "-r", written, "--json")
    assert planned.exit_code == 0, planned.output
    assert {row["state"] for row in json.loads(planned.output)} == {"make"}
    again = metier("advise", material / "docs", "--model", tiny_model_folder, "--write", written)
    assert "exists" in str(again.exception)


def test_a_recipe_for_one_file_reads_no_other_file_of_its_folder(tiny_model_folder: Path, tmp_path: Path) -> None:
    for name in ("handbook.txt", "salaries.txt"):
        (tmp_path / name).write_text("text " * 100)
    written = tmp_path / "r.yaml"
    told = metier("advise", tmp_path / "handbook.txt", "--model", tiny_model_folder, "--write", written)
    assert told.exit_code == 0, told.output
    pages = load_recipe(written).steps["pages"]
    assert pages.name == "read" and vars(pages)["folder"].path == tmp_path / "handbook.txt"


def test_a_model_that_fits_with_no_method_is_told_in_words_and_json(material: Path) -> None:
    asked_for = ("advise", material / "rows.jsonl", "--model", "70B", "--host", "cpu:1x16G")
    words, plain = metier(*asked_for), metier(*asked_for, "--json")
    assert words.exit_code == 0 and "does not fit" in words.output
    (line,) = (line for line in json.loads(plain.output)["lines"] if line["about"] == "memory (sft)")
    assert line["advice"].startswith("does not fit: needs about") and "of 16 GB" in line["advice"]


def test_without_general_text_the_recipe_says_where_it_goes(
    material: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    asked(material, "--model", tiny_model_folder, "--write", tmp_path / "r.yaml")
    assert "# replay: {step: table" in (tmp_path / "r.yaml").read_text()
    assert "cpt" in load_recipe(tmp_path / "r.yaml").steps


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing was given"),
        (("gone/",), "does not exist"),
        (("{material}/docs", "--write", "{tmp}/r.yaml"), "needs the model's folder"),
        (("{material}/rows.jsonl", "--model", "{model}", "--write", "{tmp}/r.yaml"), "begins with documents"),
        (("{material}/docs", "--model", "seventy"), "no model folder and no known shape"),
        (("{material}/docs", "--host", "8xABC"), "ABC"),
        (("{material}/docs", "--model", "{model}", "--write", "{material}/rows.jsonl/r.yaml"), "cannot be written"),
        (("{material}",), "pairs.jsonl holds preferences, among documents"),
        (("{material}/docs", "--model", "{broken}"), "tokenizer_config.json is not JSON"),
    ],
)
def test_what_cannot_be_advised_on_is_told(
    material: Path, tiny_model_folder: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text((tiny_model_folder / "config.json").read_text())
    (tmp_path / "broken" / "tokenizer_config.json").write_text("{")
    places = {"material": material, "tmp": tmp_path, "model": tiny_model_folder, "broken": tmp_path / "broken"}
    found = metier("advise", *(argument.format(**places) for argument in arguments))
    assert said.lower() in (str(found.exception) + found.output).lower() and found.exit_code != 0
    assert not (tmp_path / "r.yaml").exists()
