"""Models that bring code of their own: it is neither asked for nor run, wherever a model is loaded."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metier.core import Host, Mistake

SOURCE = Path(__file__).parents[2] / "src" / "metier"
HOST = Host(cores=1, threads=1, memory_bytes=8 << 30)

CODE = """
from pathlib import Path
from transformers import PretrainedConfig, PreTrainedTokenizerFast
Path(MARKER).touch()
class OddConfig(PretrainedConfig):
    model_type = "odd"
class OddTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def odd(tmp_path: Path, tiny_model_folder: Path) -> Path:
    """A model of an unknown kind, with code that leaves a file named `ran` beside it when it is run."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for file in tiny_model_folder.iterdir():
        (folder / file.name).symlink_to(file)
    for name, named in (
        ("config.json", {"AutoConfig": "conf.OddConfig", "AutoModelForCausalLM": "conf.OddModel"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["conf.OddTokenizer", None]}),
    ):
        told = json.loads((folder / name).read_text())
        told = {**told, "model_type": "odd", "auto_map": named, "tokenizer_class": "OddTokenizer"}
        (folder / name).unlink()
        (folder / name).write_text(json.dumps(told))
    (folder / "conf.py").write_text(CODE.replace("MARKER", repr(str(tmp_path / "ran"))))
    return folder


def load_for_training(folder: Path) -> Any:
    from metier.train.base import load_whole

    return load_whole(folder)


def load_to_compare(folder: Path) -> Any:
    from metier.train.weights.closeness import load

    return load(folder, torch.float32, HOST)


def load_to_answer(folder: Path) -> Any:
    from metier.core.engine.network import Network

    return Network.load(folder, HOST)


def tokenizer_to_train(folder: Path) -> Any:
    from metier.train.network import load_tokenizer

    return load_tokenizer(folder)


def tokenizer_to_answer(folder: Path) -> Any:
    from metier.core.engine import load_tokenizer

    return load_tokenizer(folder)


LOADERS = [load_for_training, load_to_compare, load_to_answer, tokenizer_to_train, tokenizer_to_answer]


@pytest.mark.parametrize("load", LOADERS)
def test_code_in_a_models_folder_is_not_run_even_where_a_y_is_piped_in(
    load: Callable[[Path], Any], odd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with pytest.raises(Mistake, match=r"odd needs code of its own to be loaded") as caught:
        load(odd)
    assert caught.value.hint == "take a model whose class transformers has"
    assert "conf.Odd" in str(caught.value.found)
    assert sys.stdin.tell() == 0 and "[y/N]" not in "".join(capsys.readouterr())
    assert not (odd.parent / "ran").exists()


def test_code_beside_a_model_that_transformers_knows_is_left_alone(odd: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        told = json.loads((odd / name).read_text())
        (odd / name).write_text(
            json.dumps({**told, "model_type": "llama", "tokenizer_class": "PreTrainedTokenizerFast"})
        )
    for load in LOADERS:
        assert load(odd) is not None
    assert not (odd.parent / "ran").exists()


def test_nothing_loads_a_model_past_the_one_place_that_refuses_code() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "from_pretrained" and "Peft" not in ast.unparse(node.value)
    ]
    assert len(found) == 1 and found[0].startswith("core/pretrained.py")
