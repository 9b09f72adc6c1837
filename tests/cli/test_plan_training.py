"""`metier plan --model`: the table, JSON, files, and words instead of tracebacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from metier.cli import group
from metier.cli.planning import _METHODS, _OPTIMIZERS, _PRECISIONS
from metier.core.errors import Mistake


def metier(*arguments: object) -> Result:
    return CliRunner().invoke(group, [str(argument) for argument in arguments], catch_exceptions=True)


def test_the_table_shows_every_alternative_and_the_choice() -> None:
    shown = metier("plan", "--model", "8B-llama", "--host", "8xA100-80G,nvme=7000G", "--tokens", 10**9)
    assert shown.exit_code == 0
    for words in (
        "8.03B parameters",
        "ZeRO-1",
        "ZeRO-3, all nvme",
        "FSDP2 tp8",
        "qlora",
        "chosen: full",
        "hours",
    ):
        assert words in shown.output


def test_json_says_the_same() -> None:
    told = json.loads(metier("plan", "--model", "8B", "--host", "1xL4-24G", "--method", "lora", "--json").output)
    assert told["chosen"]["fits"] and told["fields"]["method"] == "lora"
    assert told["model"]["parameters"] == 8_030_261_248
    assert {row["method"] for row in told["alternatives"]} == {"lora"}


def test_a_model_folder_is_planned_on_this_machine(tmp_path: Path) -> None:
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 600}
    (tmp_path / "config.json").write_text(json.dumps(shape | {"intermediate_size": 128}))
    shown = metier("plan", "--model", tmp_path, "--length", 128)
    assert shown.exit_code == 0 and "this machine" in shown.output and "chosen:" in shown.output


def test_write_makes_the_files(tmp_path: Path) -> None:
    shown = metier("plan", "--model", "70B", "--host", "2x8xH100-80G", "--write", tmp_path / "plan")
    assert shown.exit_code == 0
    assert {"accelerate.yaml", "train.sbatch", "ray_train.py"} <= {path.name for path in (tmp_path / "plan").iterdir()}


def test_nothing_fits_exits_two_and_writes_nothing(tmp_path: Path) -> None:
    asked = ("plan", "--model", "405B", "--host", "1xT4-16G")
    shown = metier(*asked)
    assert shown.exit_code == 2 and "nothing fits" in shown.output
    refused = metier(*asked, "--write", tmp_path / "plan")
    assert isinstance(refused.exception, Mistake) and not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    "asked",
    [
        ("--host", "8xA100-80G"),
        ("--model", "8B", "--host", "8xFOO"),
        ("--model", "nothing"),
        ("--model", "8B", "--method", "lora", "--ladder", "up"),
        ("--model", "8B", "a-target"),
    ],
)
def test_what_does_not_go_together_is_a_mistake_with_a_hint(asked: tuple[str, ...]) -> None:
    refused = metier("plan", *asked)
    assert isinstance(refused.exception, Mistake) and refused.exception.hint


def test_the_words_of_the_command_line_are_those_of_the_planner() -> None:
    from metier.train.plan.job import _KINDS

    assert set(_METHODS) - {"auto"} == set(_KINDS["method"])
    assert (set(_PRECISIONS), set(_OPTIMIZERS)) == (set(_KINDS["precision"]), set(_KINDS["optimizer"]))
