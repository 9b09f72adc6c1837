"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# As the command line does, and before torch is loaded: threads that spin at barriers starve each other on busy cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder: random-weights Llama, vocabulary of some 600, ChatML. Do not write to it."""
    from metier.models.tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_gguf(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a 16-bit GGUF file named tiny.gguf. Takes some 5 s: the converter loads torch anew."""
    from metier.deploy.convert import hf_to_gguf

    gguf = tmp_path_factory.mktemp("tiny-gguf") / "tiny.gguf"
    hf_to_gguf(tiny_model_folder, gguf, {"general.license": "apache-2.0", "general.name": "tiny"}, threads=1)
    return gguf
