"""The whole line, from files to a report, through the code that the demo runs."""

from __future__ import annotations

import json
import re

import pytest

from metier.core import Workshop
from metier.core.plan import plan
from metier.core.recipe import Recipe, build_recipe
from metier.core.types import Export, Report, Scores
from tests.chain import COPIES, DOCUMENTS, short_recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Workshop]:
    folder = tmp_path_factory.mktemp("chain")
    recipe = build_recipe(short_recipe(folder), folder)
    shop = Workshop(folder / "runs")
    shop.make(recipe.step("report"), recipe.names)
    return recipe, shop


def dropped(made: tuple[Recipe, Workshop], name: str) -> dict[str, int]:
    recipe, shop = made
    found = shop.find(recipe.step(name))
    assert found is not None
    return {reason: count for line in found.record.ledger.lines for reason, count in line.dropped.items()}


def test_a_second_run_does_no_work(made: tuple[Recipe, Workshop]) -> None:
    recipe, shop = made
    assert plan(shop, [recipe.step("report")], recipe.names).to_make == []


def test_every_file_is_accounted_for(made: tuple[Recipe, Workshop]) -> None:
    recipe, shop = made
    pages = shop.find(recipe.step("pages"))
    assert pages is not None
    line = pages.record.ledger.lines[0]
    assert line.came == DOCUMENTS + COPIES + 3
    assert line.came == line.kept + sum(line.dropped.values())
    assert sum(dropped(made, "unique").values()) == COPIES


def test_the_ledger_adds_up_from_files_to_training_tokens(made: tuple[Recipe, Workshop]) -> None:
    recipe, shop = made
    previous = None
    for name in ("pages", "clean", "relevant", "unique", "safe", "clear", "corpus"):
        found = shop.find(recipe.step(name))
        assert found is not None
        lines = [line for line in found.record.ledger.lines if line.unit == "document"] or found.record.ledger.lines[:1]
        if previous is not None:
            assert lines[0].came == previous, name
        for line in found.record.ledger.lines:
            assert line.came == line.kept + sum(line.dropped.values()), (name, line)
        previous = found.record.ledger.made("document")
    mixed, packed, cpt = (shop.find(recipe.step(name)) for name in ("mixed", "packed", "cpt"))
    assert mixed is not None and packed is not None and cpt is not None
    taken = next(line for line in packed.record.ledger.lines if line.source == "corpus")
    assert taken.came == mixed.record.ledger.made("document")
    windows = next(line for line in cpt.record.ledger.lines if line.source == "packed")
    assert windows.came == packed.record.ledger.made("window") > 0
    assert cpt.record.ledger.made("token") == cpt.record.figures["trained_tokens"] > 0


def test_every_model_is_examined_with_the_same_exam(made: tuple[Recipe, Workshop]) -> None:
    recipe, shop = made
    scores = [shop.find(recipe.step(f"scores-{name}")) for name in ("base", "cpt", "sft", "dpo")]
    figures = [
        {(row.name, row.split, row.n) for row in found.figures()} for found in scores if isinstance(found, Scores)
    ]
    assert len(figures) == 4 and all(found == figures[0] for found in figures)
    assert {name for name, _, _ in figures[0]} >= {
        "perplexity",
        "multiple_choice",
        "execution",
        "chat_reply_perplexity",
    }


def test_the_export_left_with_its_proof(made: tuple[Recipe, Workshop]) -> None:
    recipe, shop = made
    export = shop.find(recipe.step("export"))
    assert isinstance(export, Export)
    names = {path.name for path in export.folder.iterdir()}
    assert {"hf", "README.md", "Modelfile", "parity.json"} <= names
    assert sum(name.endswith(".gguf") for name in names) >= 2


def test_the_report_tells_the_figures_of_every_model_and_loads_nothing(made: tuple[Recipe, Workshop]) -> None:
    recipe, shop = made
    report = shop.find(recipe.step("report"))
    assert isinstance(report, Report)
    rows = json.loads((report.folder / "report.json").read_text())["figures"]
    assert {row["model"] for row in rows} == {"base", "base+few-shot", "base+RAG", "CPT", "SFT", "DPO", "DPO+RAG"}
    assert {"name", "model", "split", "value", "low", "high", "n"} == set(rows[0])
    page = (report.folder / "report.html").read_text()
    assert "@import" not in page
    assert not re.search(r'<(?:link|script|img|iframe)[^>]+(?:href|src)="(?!data:)', page)
