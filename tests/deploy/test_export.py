"""Export: what leaves has been compared with what was trained."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from metier.core import Failure, Workshop
from metier.core.chat import Message
from metier.core.ledger import Line
from metier.core.llamacpp import Llama, Sampling
from metier.core.types import Export, Score
from metier.deploy import ExportModel
from metier.deploy.card import Card, File, Made, card_text
from metier.deploy.modelfile import modelfile, turn_template
from metier.deploy.parity import Parity, Reference, check_tokens, compare, divergence, references, require
from metier.deploy.probes import PROBES
from metier.models.tiny import TinyModel, make_tiny_model, tiny_tokenizer


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    step = ExportModel(
        model=TinyModel(), title="tiny-smith", quantise=("Q8_0", "Q4_K_M"), limits=("It knows nothing.",)
    )
    return Workshop(tmp_path_factory.mktemp("export-shop")).make(step)


@pytest.fixture(scope="session")
def expected(tiny_model_folder: Path) -> list[Reference]:
    return references(tiny_model_folder, PROBES, tokens=4, threads=1)


def test_divergence_is_zero_when_both_agree() -> None:
    share = [math.log(0.5), math.log(0.3), math.log(0.2)]
    assert divergence(share, {0: share[0], 1: share[1]}) == pytest.approx(0)


def test_divergence_is_worked_out_with_the_rest_as_one() -> None:
    # p = 0.5 | 0.5 rest, q = 0.25 | 0.75 rest: 0.5 ln 2 + 0.5 ln(2/3)
    reference = [math.log(0.5), math.log(0.3), math.log(0.2)]
    assert divergence(reference, {0: math.log(0.25)}) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


def test_a_divergence_that_is_no_number_never_passes() -> None:
    nan = Parity("a.gguf", "F16", math.nan, math.nan, 0.1, 1.0, 8, 2)
    assert not nan.within
    with pytest.raises(Failure, match="nan"):
        require(nan)


def test_too_far_says_which_file_how_far_and_what_to_do() -> None:
    with pytest.raises(Failure, match="Q4_0") as caught:
        require(Parity("model-Q4_0.gguf", "Q4_0", 0.5, 0.9, 0.4, 0.5, 8, 2))
    assert "0.5000 nats over 8 tokens, bound 0.4" in str(caught.value)
    assert "Q8_0" in str(caught.value)


def test_the_16_bit_file_reads_and_says_what_the_model_does(tiny_gguf: Path, expected: list[Reference]) -> None:
    with Llama(tiny_gguf, threads=1, context_tokens=512) as llama:
        check_tokens(llama, expected)
        parity = compare(llama, expected, "F16")
    assert parity.divergence < 1e-6
    assert parity.tokens == 4 * len(PROBES)


def test_another_models_file_is_told_apart(tiny_model_folder: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    # Random weights give nearly even probabilities; these are a hundred times as sharp.
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    with torch.no_grad():
        model.model.norm.weight *= 100
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "sharp"))
    model.save_pretrained(folder)
    sharp = references(folder, PROBES[:3], tokens=4, threads=1)
    with Llama(tiny_gguf, threads=1, context_tokens=512) as llama:
        check_tokens(llama, sharp)
        parity = compare(llama, sharp, "F16")
    with pytest.raises(Failure, match="too far"):
        require(parity)


def test_a_tokenizer_that_cuts_otherwise_is_refused(tiny_model_folder: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "other"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = tokenizer["pre_tokenizer"]["pretokenizers"][1]  # digits no longer stand alone
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    expected = references(folder, PROBES[2:5], tokens=1, threads=1)
    with Llama(tiny_gguf, threads=1, context_tokens=512) as llama, pytest.raises(Failure, match="cuts otherwise"):
        check_tokens(llama, expected)


def test_another_template_is_refused(tiny_model_folder: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "other"))
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant\\n", "assistant:\\n"))
    expected = references(folder, PROBES[:1], tokens=1, threads=1)
    with Llama(tiny_gguf, threads=1, context_tokens=512) as llama, pytest.raises(Failure, match="renders other text"):
        check_tokens(llama, expected)


def test_an_export_holds_all_that_is_promised(export: Export) -> None:
    names = {path.name for path in export.folder.iterdir()}
    assert {"hf", "README.md", "Modelfile", "parity.json", "export.json"} <= names
    assert {"model-f16.gguf", "model-Q8_0.gguf", "model-Q4_K_M.gguf"} <= names
    assert not [name for name in names if name.startswith(".scratch")]
    parities = json.loads((export.folder / "parity.json").read_text())
    assert [row["quantisation"] for row in parities] == ["F16", "Q8_0", "Q4_K_M"]
    assert json.loads((export.folder / "export.json").read_text())["served"] == "model-Q8_0.gguf"


def test_tensors_that_fall_back_are_a_warning(export: Export) -> None:
    assert "15 of 20 tensors" in export.record.warnings[0]


def test_the_tokenizer_leaves_byte_for_byte(export: Export, tiny_model_folder: Path) -> None:
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (export.folder / "hf" / name).read_bytes() == (tiny_model_folder / name).read_bytes()


def test_the_card_states_base_licence_key_and_limits(export: Export) -> None:
    card = (export.folder / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "Base model: random weights" in card
    assert "It knows nothing." in card
    assert export.record.inputs["model"][0][:16] in card


def test_a_card_shows_ledger_and_figures_with_their_intervals() -> None:
    line = Line(unit="document", came=10, kept=7, dropped={"too | short": 3}, made={"token": 1200})
    text = card_text(
        Card(
            *("smith", None, ("en", "fr"), None, "someone/base", ()),
            made=[Made("docs", "read", "ab" * 32, [line])],
            scores=[
                Score("sql", "sft", "held_out", 0.7, 0.65, 0.75, 112),
                Score("loss", "sft", "all", 1.5, None, None, None),
            ],
            files=[File("model-f16.gguf", 270_000_000)],
            parities=[],
        )
    )
    assert "| sql | sft | held_out | 0.700 | 0.650 to 0.750 | 112 |" in text
    assert "| loss | sft | all | 1.500 |  |  |" in text
    assert "| docs | document | 10 | 7 | too \\| short: 3 | 1,200 tokens |" in text
    assert "not stated" in text
    assert "base_model: someone/base" in text
    assert "- en\n- fr" in text


def test_a_chatml_template_becomes_one_for_ollama() -> None:
    turns = turn_template(tiny_tokenizer())
    assert turns is not None
    assert turns.around["user"] == ("<|im_start|>user\n", "<|im_end|>\n")
    text = modelfile("model.gguf", turns, ["<|im_end|>"], Sampling(), 2048)
    assert text.startswith('FROM ./model.gguf\nTEMPLATE """{{ range .Messages }}')
    assert 'PARAMETER stop "<|im_end|>"\nPARAMETER temperature 0.0' in text
    assert "PARAMETER num_ctx 2048" in text and "PARAMETER repeat_penalty 1.0" in text and "num_predict" not in text
    searched = modelfile("model.gguf", turns, [], Sampling(0.6, 0.9, 40, 0.0, 1.1, 200), 2048)
    for line in (
        "temperature 0.6",
        "top_p 0.9",
        "top_k 40",
        "repeat_penalty 1.1",
        "repeat_last_n -1",
        "num_predict 200",
    ):
        assert f"\nPARAMETER {line}\n" in searched


def test_a_default_system_turn_is_kept_for_ollama() -> None:
    tokenizer: Any = tiny_tokenizer()
    default = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    tokenizer.chat_template = default + tokenizer.chat_template
    turns = turn_template(tokenizer)
    assert turns is not None
    assert turns.default == "<|im_start|>system\nBe kind.<|im_end|>\n"
    assert turns.render([Message("user", "a")]).count("Be kind.") == 1


def test_a_template_that_does_more_is_left_to_ollama() -> None:
    tokenizer: Any = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages | length }}" + tokenizer.chat_template
    assert turn_template(tokenizer) is None
    assert "TEMPLATE" not in modelfile("model.gguf", None, [], Sampling(), 2048)


def test_a_second_attempt_takes_over_the_files_of_the_first(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Workshop(tmp_path)
    step = ExportModel(model=TinyModel(), title="tiny-smith", quantise=("Q8_0",))
    shop.make(step.model)
    left = shop.folder_of(step)
    shutil.copytree(export.folder, left, ignore=shutil.ignore_patterns("record.json", "*.md", "*.json", "*Q4*"))
    shutil.copytree(export.folder / "hf", left / "hf", dirs_exist_ok=True)
    monkeypatch.setattr("metier.deploy.export.hf_to_gguf", lambda *_: pytest.fail("converted again"))
    assert shop.make(step).exists


@pytest.mark.slow
def test_a_model_of_other_widths_and_cut_survives(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "wide", vocab_size=500, hidden=256, layers=3, seed=3)
    shop = Workshop(tmp_path / "shop")
    from metier.core import LocalPath
    from metier.models import LocalModel

    made = shop.make(
        ExportModel(model=LocalModel(folder=LocalPath(folder)), quantise=("Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"))
    )
    assert not made.record.warnings


@pytest.mark.slow
def test_the_real_model_leaves_within_bounds_and_answers(tmp_path: Path) -> None:
    from metier.core import Host
    from metier.core.chat import Decoding
    from metier.models import PackagedGguf
    from metier.serve.llama import LlamaChat

    made = Workshop(tmp_path).make(ExportModel(model=PackagedGguf(), quantise=("Q8_0", "Q4_K_M"), probe_tokens=8))
    assert made.record.figures["divergence F16"] < 1e-4
    with LlamaChat(made.folder, Host(cores=1, threads=1, memory_bytes=1 << 30)) as chat:
        (reply,) = chat.complete([[Message("user", "What is the capital of France? One word.")]], Decoding())[0]
    assert "Paris" in reply.text
    assert reply.finished
