"""The command line: exit codes, JSON, and words instead of tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from metier.cli import COMMANDS, group
from tests.core import steps as _steps  # noqa: F401 - makes the test steps known

RECIPE = "numbers: {step: test-count, upto: 4}\neven: {step: test-even, numbers: $numbers}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "metier.yaml").write_text(RECIPE)
    return tmp_path


def metier(*arguments: object) -> Result:
    return CliRunner().invoke(group, [str(argument) for argument in arguments], catch_exceptions=True)


def in_a_process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "metier.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(name: str) -> None:
    shown = metier(name, "--help").output
    assert "Example" in shown and f"metier {name}" in shown


def test_run_makes_and_a_second_run_does_nothing_and_says_so(folder: Path) -> None:
    first = json.loads(metier("run", "-r", folder, "--json").stdout)
    assert (first["made"], [row["name"] for row in first["targets"]]) == (2, ["even"])
    assert "nothing to do: all 2 steps are done" in metier("run", "-r", folder).output


def test_a_recipe_may_be_the_first_argument_and_a_target_the_next(folder: Path) -> None:
    made = json.loads(metier("run", folder / "metier.yaml", "numbers", "--json").stdout)
    assert [row["name"] for row in made["targets"]] == ["numbers"]


def test_plan_says_what_would_run(folder: Path) -> None:
    assert [row["state"] for row in json.loads(metier("plan", "-r", folder, "--json").stdout)] == ["make", "make"]
    metier("run", "-r", folder, "numbers")
    assert [row["state"] for row in json.loads(metier("plan", "-r", folder, "--json").stdout)] == ["done", "make"]
    assert "1 of 2 steps to make" in metier("plan", "-r", folder).output


def test_why_names_the_field_that_was_set(folder: Path) -> None:
    metier("run", "-r", folder)
    assert "even is done" in metier("why", "even", "-r", folder).output
    answer = json.loads(metier("why", "even", "-r", folder, "--set", "numbers.upto=6", "--json").stdout)
    assert answer["runs"] and any("upto: 4 → 6" in reason for reason in answer["reasons"])


def test_ls_and_show_tell_what_there_is(folder: Path) -> None:
    metier("run", "-r", folder)
    rows = json.loads(metier("ls", "-r", folder, "--json").stdout)
    assert {(row["name"], row["state"]) for row in rows} == {("numbers", "done"), ("even", "done")}
    shown = metier("show", "even", "-r", folder).output
    assert "4 numbers came, 2 kept, dropped: 2 odd" in shown
    assert json.loads(metier("show", "even", "-r", folder, "--json").stdout)["step"] == "test-even"


def test_every_recipe_that_ships_is_listed_offered_and_loads_where_init_writes_it(tmp_path: Path) -> None:
    from importlib import resources

    from metier.core.recipe import load_recipe

    files = (resources.files("metier") / "recipes").iterdir()
    names = sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
    assert {"documents", "sqlite", "sqlite-grpo"} <= set(names)
    listed = metier("init", "--list").output.splitlines()
    assert sorted(line.split()[0] for line in listed) == names and listed[0].startswith("documents ")
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in listed)
    offered = metier("init", "--help").output
    for name in names:
        assert name in offered
        ended = metier("init", tmp_path / name, "--recipe", name)
        assert ended.exit_code == 0
        wrote = Path(ended.output.split("wrote ")[1].split("\n")[0])
        assert wrote.is_file()
        for line in ended.output.splitlines():  # what it says to do next names files and folders that are there
            if line.startswith("next: metier plan -r "):
                load_recipe(Path(line.split("-r ")[1]) / ("metier.yaml" if line.endswith(name) else ""), ())
    told = in_a_process("init", tmp_path / "new", "--recipe", "sqlite", "--from", tmp_path)
    assert told.returncode == 2 and "brings its own documents" in told.stderr
    assert not (tmp_path / "new").exists()


def test_the_demos_material_comes_beside_a_recipe_of_the_demo_that_init_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.demo.sqlite_manual", lambda folder, say: None)
    monkeypatch.setattr("metier.demo.general_text", lambda folder, say: None)
    assert metier("init", tmp_path / "new", "--recipe", "sqlite-grpo").exit_code == 0
    ended = metier("demo", tmp_path / "new", "--material-only")
    assert ended.exit_code == 0 and "differs" not in ended.output
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["grpo.yaml", "metier.yaml"]


def test_init_writes_a_recipe_that_loads_and_never_overwrites(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.md").write_text("# A\n\ntext")
    assert metier("init", tmp_path / "law", "--from", documents).exit_code == 0
    planned = json.loads(metier("plan", "-r", tmp_path / "law", "--json").stdout)
    assert planned[0]["step"] == "read" and planned[-1]["step"] == "report"
    again = in_a_process("init", tmp_path / "law", "--from", documents)
    assert again.returncode == 2 and "is there already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "-r", "nothing.yaml"], "there is no recipe"),
        (["init", "new", "--from", "nothing"], "is not a folder"),
        (["rnu"], "Did you mean 'run'"),
        (["run", "--no-such-option"], "No such option"),
        (["show", "x", "-w", "runs"], "there is no artifact"),
    ],
)
def test_a_users_mistake_ends_with_2_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = in_a_process(*arguments)
    assert ended.returncode == 2 and words in ended.stderr and "Traceback" not in ended.stderr


def test_an_empty_folder_of_documents_is_a_mistake_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = in_a_process("init", tmp_path / "law", "--from", tmp_path / "empty")
    assert ended.returncode == 2 and "holds no files" in ended.stderr and not (tmp_path / "law").exists()


def test_an_unknown_error_is_told_without_a_traceback_and_kept_in_a_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "runs").mkdir()
    (folder / "runs" / ".digests.sqlite").mkdir()
    ended = in_a_process("ls", "-r", folder, TMPDIR=str(tmp_path))
    assert ended.returncode in (1, 2) and "Traceback" not in ended.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    shell = f"{sys.executable} -m metier.cli --help | head -n 1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert ended.returncode == 0 and "Error" not in ended.stderr


def test_shell_completion_works_for_the_installed_command() -> None:
    program = Path(sys.executable).with_name("metier")
    shown = subprocess.run(
        [program], capture_output=True, text=True, env={**os.environ, "_METIER_COMPLETE": "bash_source"}
    )
    assert "_METIER_COMPLETE=bash_complete" in shown.stdout
