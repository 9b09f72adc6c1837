"""The doctor's remedies on the command line: shown, written, refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from metier.core import Mistake, Workshop
from metier.core.artifact import RECORD, Record
from metier.core.ledger import Ledger
from metier.core.recipe import load_recipe
from metier.evaluate.doctor.mend import Chosen, mend
from tests.cli.test_cli import in_a_process, metier
from tests.evaluate import doctor_material, exam_steps  # noqa: F401 - makes the test steps known

RECIPE = """\
# The archive's model. Nothing here is trained in the test: the models are planted.
origin:  {step: test-given-model, folder: MODEL}   # a chat model
docs:    {step: test-some-documents}
general: {step: test-some-documents, seed: 1}

cpt:
  step: cpt
  base: $origin
  corpus: $docs      # the trade
  replay: $general
  replay_share: 0.1  # too little?
talks: {step: test-some-tasks}
sft: {step: sft, base: $cpt, data: [$talks], learning_rate: 2e-4}

before: {step: test-simulated-scores, label: origin}
after:  {step: test-simulated-scores, label: SFT, number: 1, text_loss: 0.5, loops: 0.5}
doctor:
  step: doctor
  model: $sft
  scores: $after
  against: $before
  trained_on: [$docs, $talks]
  training: [$cpt, $sft]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """A recipe whose doctor has found forgetting and repetition."""
    folder = tmp_path_factory.mktemp("fix")
    recipe = folder / "metier.yaml"
    recipe.write_text(RECIPE.replace("MODEL", str(tiny_model_folder)))
    loaded, workshop = load_recipe(recipe), Workshop(folder / "runs")
    for name in ("origin", "cpt", "sft"):
        plant(workshop.folder_of(loaded.step(name)), name, tiny_model_folder)
    workshop.make(loaded.step("doctor"), loaded.names)
    return recipe


def plant(folder: Path, called: str, model: Path) -> None:
    """Leave the artifact of a training that never ran."""
    folder.mkdir(parents=True)
    (folder / "model").symlink_to(model)
    record = Record(
        step=called, version=1, key="", called=called, recipe={}, inputs={}, ledger=Ledger(), output_sha256="",
        output_bytes=0, finished="", seconds=0,
    )  # fmt: skip
    (folder / RECORD).write_text(record.model_dump_json())


@pytest.fixture
def recipe(made: Path, tmp_path: Path) -> Path:
    """The same recipe in a folder that a test may write to, with the workshop beside it."""
    (tmp_path / "runs").symlink_to(made.parent / "runs")
    copy = tmp_path / "metier.yaml"
    copy.write_text(made.read_text())
    return copy


def test_the_difference_is_shown_and_nothing_written(recipe: Path) -> None:
    before = recipe.read_text()
    shown = metier("fix", "-r", recipe)
    assert shown.exit_code == 1 and recipe.read_text() == before
    assert "FOUND  What was forgotten: perplexity of general texts" in shown.output
    assert "-  replay_share: 0.1  # too little?" in shown.output
    assert "+  replay_share: 0.3  # too little?" in shown.output
    assert "metier fix --write" in shown.output


def test_write_changes_the_fields_keeps_the_rest_and_leaves_a_copy(recipe: Path) -> None:
    before = recipe.read_text()
    told = json.loads(metier("fix", "doctor", "-r", recipe, "--write", "--json").stdout)
    after = recipe.read_text()
    assert Path(told["before"]).read_text() == before and told["recipe"] == after
    assert [line for line in after.splitlines() if "#" in line] == [
        line.replace("0.1", "0.3") for line in before.splitlines() if "#" in line
    ]
    said, now = yaml.safe_load(before), yaml.safe_load(after)
    assert now["cpt"] == {**said["cpt"], "replay_share": 0.3, "learning_rate": 1e-4}
    assert now["sft"] == {**said["sft"], "learning_rate": 1e-4}
    assert load_recipe(recipe).step("doctor") != load_recipe(Path(told["before"])).step("doctor")
    again = metier("fix", "-r", recipe)
    assert isinstance(again.exception, Mistake) and "'doctor' is not a finished diagnosis" in str(again.exception)


def test_another_remedy_may_be_taken_and_written_elsewhere(recipe: Path, tmp_path: Path) -> None:
    before, output = recipe.read_text(), tmp_path / "gentler.yaml"
    arguments = ("--only", "forgetting", "--remedy", "forgetting=Rehearsal", "--output", output)
    done = metier("fix", "-r", recipe, *arguments)
    assert done.exit_code == 0, done.output
    assert recipe.read_text() == before and f"metier run -r {output}" in done.output
    assert "--workshop" not in done.output
    now = yaml.safe_load(output.read_text())
    assert now["sft"]["data"] == ["$talks", "$rehearsal"]
    assert now["rehearsal"] == {"step": "rehearsal", "origin": "$origin", "prompts": 160}
    assert output.read_text().index("rehearsal: {") > output.read_text().index("origin:  {")
    assert "is there already" in str(metier("fix", "-r", recipe, *arguments).exception)


def test_in_another_folder_the_workshop_is_named_and_relative_paths_are_refused(recipe: Path) -> None:
    other = recipe.parent / "other" / "gentler.yaml"
    done = metier("fix", "-r", recipe, "--only", "forgetting", "--output", other)
    assert done.exit_code == 0, done.output
    assert f"metier run -r {other} --workshop {recipe.parent / 'runs'}" in done.output
    (recipe.parent / "list.csv").write_text("question,reference\nWho?,She.\n")
    recipe.write_text(recipe.read_text() + "own: {step: own-exam, files: [list.csv]}\n")
    refused = metier("fix", "-r", recipe, "--only", "forgetting", "--output", other.with_name("second.yaml"))
    assert isinstance(refused.exception, Mistake) and refused.exception.found == "own: list.csv"
    assert str(recipe.with_name("second.yaml")) in str(refused.exception.hint)
    beside = recipe.with_name("second.yaml")
    assert metier("fix", "-r", recipe, "--only", "forgetting", "--output", beside).exit_code == 0


def test_the_command_that_is_told_writes_what_was_shown(recipe: Path) -> None:
    shown = metier("fix", "doctor", "-r", recipe, "--only", "forgetting", "--remedy", "forgetting=lower rate")
    told = shlex.split(shown.output.splitlines()[-1].removeprefix("next: metier "))
    assert told[:-2] == ["fix", "doctor", "--only=forgetting", "--remedy=forgetting=lower rate", "--write"]
    assert metier(*told).exit_code == 0
    now = yaml.safe_load(recipe.read_text())
    assert now["sft"]["learning_rate"] == 1e-4 and now["cpt"]["replay_share"] == 0.1


def test_two_remedies_of_one_learning_rate_are_not_both_applied(recipe: Path) -> None:
    told = json.loads(metier("fix", "-r", recipe, "--remedy", "forgetting=LoRA", "--json").stdout)
    assert [one["kind"] for one in told["applied"]] == ["LoRA"]
    (left,) = told["left_out"]
    assert left["kind"] == "lower rate" and "the remedy of forgetting changes" in left["because"]
    now = yaml.safe_load(told["recipe"])
    assert (now["cpt"]["method"], now["cpt"].get("learning_rate"), now["sft"]["learning_rate"]) == ("lora", None, None)


def test_the_doctor_looks_at_the_data_that_a_remedy_has_cleaned(recipe: Path) -> None:
    text, loaded = recipe.read_text(), load_recipe(recipe)
    clear = {"step": "decontaminate", "corpus": "$docs", "tasks": ["$talks"]}
    changes: list[dict[str, Any]] = [
        {"insert": {"name": "docs-clear", "entry": clear}, "after": "docs"},
        {"step": "cpt", "field": "corpus", "from": "$docs", "to": "$docs-clear"},
    ]
    workshop = Workshop(recipe.parent / "runs")
    mended = mend(text, loaded, workshop, {"recipe": {}}, [Chosen("contamination", "decontaminate", "why", changes)])
    now = yaml.safe_load(mended.text)
    assert now["doctor"]["trained_on"] == ["$docs-clear", "$talks"] and now["cpt"]["corpus"] == "$docs-clear"
    assert "corpus: $docs-clear      # the trade" in mended.text


def test_a_link_to_a_recipe_stays_one_and_the_file_keeps_its_mode(recipe: Path, tmp_path: Path) -> None:
    real = tmp_path / "shared" / "ours.yaml"
    real.parent.mkdir()
    real.write_text(recipe.read_text())
    real.chmod(0o640)
    recipe.unlink()
    recipe.symlink_to(real)
    assert metier("fix", "-r", recipe, "--write", "--only", "forgetting").exit_code == 0
    assert recipe.is_symlink() and "replay_share: 0.3" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_recipe_that_was_changed_since_is_refused(recipe: Path) -> None:
    folder = next((recipe.parent / "runs").glob("doctor-*"))
    recipe.write_text(recipe.read_text().replace("learning_rate: 2e-4", "learning_rate: 3e-4"))
    refused = metier("fix", folder, "-r", recipe, "--write")
    assert isinstance(refused.exception, Mistake) and "no longer matches the diagnosis" in str(refused.exception)
    assert not list(recipe.parent.glob("*.before*"))


def test_steps_are_found_under_another_name(recipe: Path) -> None:
    folder = next((recipe.parent / "runs").glob("doctor-*"))
    recipe.write_text(recipe.read_text().replace("cpt:\n", "reading:\n").replace("$cpt", "$reading"))
    told = json.loads(metier("fix", folder, "-r", recipe, "--only", "forgetting", "--json").stdout)
    assert yaml.safe_load(told["recipe"])["reading"]["replay_share"] == 0.3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "boredom"), "has not found 'boredom'"),
        (("--remedy", "forgetting=prayer"), "no remedy 'prayer'"),
        (("nothing",), "there is no artifact"),
    ],
)
def test_what_cannot_be_done_is_said(recipe: Path, arguments: tuple[str, ...], words: str) -> None:
    refused = metier("fix", *arguments, "-r", recipe)
    assert refused.exit_code != 0 and words in str(refused.exception) + refused.output


def test_write_and_output_exclude_each_other_and_a_remedy_names_a_fault(recipe: Path) -> None:
    for arguments in (("--write", "--output", "x.yaml"), ("--remedy", "forgetting")):
        ended = in_a_process("fix", "-r", recipe, *arguments)
        assert ended.returncode == 2 and "Traceback" not in ended.stderr
