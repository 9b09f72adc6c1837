"""The step pass-at-k: every sample is graded and kept, and the gate can compare two models by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metier.core import LocalPath, Mistake, Workshop
from metier.evaluate.gate import check
from metier.evaluate.pass_step import PassAtK
from metier.models.local import LocalModel


def problems(path: Path, count: int = 9) -> LocalPath:
    rows = [
        {
            "id": f"p{at}",
            "question": f"Print {at}.",
            "tests": "echo done",
            "language": "sh",
            "command": ["sh", "answer.sh"],
            "file": "answer.sh",
            "sentinel": "done",
        }
        for at in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return LocalPath(path)


def step(model: Path, file: LocalPath, label: str, seed: int = 0) -> PassAtK:
    base = LocalModel(folder=LocalPath(model))
    return PassAtK(model=base, problems=file, samples=2, ks=(1, 2), max_tokens=4, seed=seed, label=label)


def test_every_sample_is_kept_and_two_models_pass_the_gate_or_are_told_why_not(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    shop = Workshop(tmp_path / "runs")
    file = problems(tmp_path / "problems.jsonl")
    first, second = (shop.make(step(tiny_model_folder, file, label)) for label in ("one", "two"))
    rows = [json.loads(line) for line in (first.folder / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == 18 and {row["cluster"] for row in rows} == {f"p{at}" for at in range(9)}
    figures = {figure.name: figure for figure in first.figures()}
    assert set(figures) == {"pass@1", "pass@2"} and figures["pass@2"].value >= figures["pass@1"].value
    assert not any(one.lost for one in check(first, second))
    other = shop.make(step(tiny_model_folder, problems(tmp_path / "other.jsonl", 8), "three"))
    with pytest.raises(Mistake, match="unlike exams"):
        check(first, other)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": ["cobolx", "p.cob"]}, "the sandbox has no cobolx"),
        ({"tests": ""}, r"problems\.jsonl:1: a check for a program has no 'tests'"),
    ],
)
def test_problems_that_no_answer_could_solve_are_refused_before_the_model_writes(
    tmp_path: Path, tiny_model_folder: Path, change: dict[str, object], said: str
) -> None:
    file = problems(tmp_path / "problems.jsonl")
    first, *others = file.path.read_text().splitlines()
    file.path.write_text("\n".join([json.dumps({**json.loads(first), **change}), *others]))
    with pytest.raises(Mistake, match=said):
        Workshop(tmp_path / "runs").make(step(tiny_model_folder, LocalPath(file.path), "one"))
    assert not list((tmp_path / "runs").glob("*/answers.jsonl"))


def test_a_folder_to_read_that_is_not_there_is_named(tmp_path: Path, tiny_model_folder: Path) -> None:
    made = step(tiny_model_folder, problems(tmp_path / "problems.jsonl"), "one")
    with pytest.raises(Mistake, match="nothing that programs could read"):
        Workshop(tmp_path / "runs").make(made.model_copy(update={"readable": ("/nonexistent",)}))
