"""The gate on the command line: exit codes for CI, words, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from metier.core import Step, Work
from metier.core.types import Score, Scores
from tests.cli.test_cli import in_a_process, metier


class Sat(Step[Scores]):
    """An examination of 40 questions, of which the first `right` are answered."""

    name: ClassVar[str] = "test-sat"
    right: int
    exam: str = "one"

    def run(self, work: Work) -> None:
        rows = [{"name": "execution", "split": "repair", "id": str(at), "score": at < self.right} for at in range(40)]
        (work.folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (work.folder / "exam.json").write_text(json.dumps({"conditions": {}, "counts": {}, "digest": self.exam}))
        figure = Score("execution", self.name, "repair", self.right / 40, 0.6, 0.9, 40)
        (work.folder / "scores.json").write_text(json.dumps([figure._asdict()]))
        work.figure("execution/repair", self.right / 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("gate")
    (tmp_path / "metier.yaml").write_text(
        "base: {step: test-sat, right: 30}\nbetter: {step: test-sat, right: 33}\nworse: {step: test-sat, right: 18}\n"
        "unlike: {step: test-sat, right: 30, exam: other}\nlate: {step: test-sat, right: 2}\n"
        "numbers: {step: test-count, upto: 2}\n"
    )
    made = metier("run", "-r", tmp_path / "metier.yaml", "base", "better", "worse", "unlike", "numbers", "--json")
    assert made.exit_code == 0, made.output
    return tmp_path


def gate(folder: Path, *arguments: str) -> tuple[int, str]:
    found = metier("gate", *arguments, "-r", folder / "metier.yaml")
    return found.exit_code, found.output + str(found.exception or "")


class Read(Step[Scores]):
    """The perplexity of one text: a single cluster, which gives an interval no end."""

    name: ClassVar[str] = "test-read"
    nats: float

    def run(self, work: Work) -> None:
        row = {"name": "perplexity", "split": "general", "id": "a", "cluster": "a", "tokens": 100, "bytes": 400}
        (work.folder / "answers.jsonl").write_text(json.dumps({**row, "nats": self.nats}) + "\n")
        (work.folder / "exam.json").write_text(json.dumps({"conditions": {}, "counts": {}, "digest": "read"}))


def test_what_has_no_end_is_null_in_json_and_not_infinity(tmp_path: Path) -> None:
    (tmp_path / "metier.yaml").write_text("a: {step: test-read, nats: 200}\nb: {step: test-read, nats: 210}\n")
    assert metier("run", "-r", tmp_path / "metier.yaml", "a", "b", "--json").exit_code == 0
    told = metier("gate", "b", "--against", "a", "-r", tmp_path / "metier.yaml", "--json").stdout
    figures = json.loads(told, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["figures"]
    assert [(one["high"], one["lost"]) for one in figures] == [(None, False)]


def test_a_run_leads_to_its_figures_and_they_are_shown_with_intervals(folder: Path) -> None:
    ran = metier("run", "base", "-r", folder)
    assert ran.output.endswith(f"next: metier show base -r {folder}\n")
    shown = metier("show", "base", "-r", folder).output
    assert "  execution/repair: 0.75 [0.6, 0.9], n = 40\n" in shown and shown.count("execution") == 1


def test_exit_code_0_where_nothing_is_lost_and_1_where_something_is(folder: Path) -> None:
    assert gate(folder, "better", "--against", "base")[0] == 0
    code, words = gate(folder, "worse", "--against", "base")
    # 12 lost of 12 that differ: p = 1 / 4096
    assert code == 1 and "LOST  execution (repair): 75.0% → 45.0%, -30.0 points" in words and "p = 0.000244" in words
    assert "at 80% power; 3 points would need" in words and "worse against base: 1 of 1 figures lost" in words


def test_a_figure_that_cannot_show_a_loss_is_no_quiet_pass(folder: Path) -> None:
    """The base is right in three quarters: of a margin of 60 points and a floor beyond, not so much can be lost."""
    code, words = gate(folder, "better", "--against", "base", "--margin", "60")
    assert code == 0 and "sees no loss, however large; 3 points would need" in words
    assert "nothing lost in 1 figures; 1 of them cannot show a loss" in words
    assert "cannot show" not in gate(folder, "better", "--against", "base")[1]
    (figure,) = json.loads(gate(folder, "better", "--against", "base", "--margin", "60", "--json")[1])["figures"]
    assert figure["noise_floor"] is None


def test_a_margin_lets_a_known_loss_through(folder: Path) -> None:
    assert gate(folder, "worse", "--against", "base", "--margin", "execution=35")[0] == 0
    assert gate(folder, "worse", "--against", "base", "--margin", "35")[0] == 0
    assert gate(folder, "worse", "--against", "base", "--margin", "2")[0] == 1


def test_json_for_a_program(folder: Path) -> None:
    found = json.loads(gate(folder, "better", "--against", "base", "--json")[1])
    (figure,) = found["figures"]
    assert found["passed"] and (figure["first"], figure["second"], figure["lost"]) == (0.75, 0.825, False)
    assert figure["noise_floor"] > 0 and figure["items_for_3_points"] > 40


def test_folders_need_no_recipe(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(metier("ls", "-r", folder, "--json").stdout)
    folders = {row["name"]: str(folder / "runs" / row["folder"]) for row in rows}
    monkeypatch.chdir(tmp_path)
    assert metier("gate", folders["better"], "--against", folders["base"]).exit_code == 0
    assert metier("gate", folders["worse"], "--against", folders["base"]).exit_code == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("late", [], "not a finished scores"),
        ("numbers", [], "makes no scores"),
        ("unlike", [], "unlike exams"),
        ("base", [], "against itself"),
        ("nobody", [], "there is no artifact"),
        ("better", ["--margin", "much"], "number of points"),
    ],
)
def test_a_users_mistake_is_no_loss(folder: Path, name: str, more: list[str], words: str) -> None:
    from metier.core import Mistake

    found = metier("gate", name, "--against", "base", *more, "-r", folder / "metier.yaml")
    told = found.output + str(found.exception)
    assert words in told and (isinstance(found.exception, Mistake) or found.exit_code == 2)


def test_a_mistake_ends_with_2_in_a_process(tmp_path: Path) -> None:
    ended = in_a_process("gate", tmp_path, "--against", tmp_path)
    assert ended.returncode == 2 and "no finished examination" in ended.stderr
