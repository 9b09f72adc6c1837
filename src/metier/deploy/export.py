"""The step that lets a model leave: converted, quantised, compared, described."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from metier.core import Estimate, Host, Step, Work
from metier.core.chat import LOOKS_BACK
from metier.core.files import write_json_atomic, write_text_atomic
from metier.core.gguf_header import gguf_metadata
from metier.core.llamacpp import Llama, Sampling
from metier.core.pretrained import load_pretrained
from metier.core.step import dependencies_first
from metier.core.types import HELD_OUT, Conversations, Export, Model, Scores
from metier.deploy.card import Card, File, Made, card_text
from metier.deploy.convert import converter_folder, hf_to_gguf
from metier.deploy.modelfile import modelfile, turn_template
from metier.deploy.parity import Parity, Reference, check_tokens, compare, references, require
from metier.deploy.probes import PROBES, probes_from
from metier.deploy.quantise import Quantisation, quantise

F16 = "model-f16.gguf"
_BESIDE = ("*token*", "*vocab*", "*.jinja", "*.model", "merges.txt", "LICENSE*")
"""What belongs to a model folder beside configuration and weights."""


class Origin(NamedTuple):
    """Where the weights first came from, as far as it is known."""

    model: str | None
    licence: str | None


class ExportModel(Step[Export]):
    """Make a model's files for others: a Hugging Face folder, GGUF files, a Modelfile and a model card.

    Nothing leaves unchecked: every file must read prompts as the same tokens as the trained model and stay near its
    probabilities, or the step fails and says which file, by how much and what to do.
    """

    name: ClassVar[str] = "export"
    extras: ClassVar[tuple[str, ...]] = ("deploy", "serve")

    model: Step[Model] = Field(description="the model to export")
    title: str = Field("metier-model", pattern=r"^[\w][\w.:-]*$", description="what it is called when it is served")
    quantise: tuple[Quantisation, ...] = Field(
        ("Q8_0",), description="kinds of smaller GGUF files, the served one first"
    )
    scores: tuple[Step[Scores], ...] = Field((), description="figures that go on the card")
    probes: Step[Conversations] | None = Field(None, description="conversations whose prompts are compared too")
    probe_count: int = Field(12, ge=0, description="at most this many prompts of `probes`")
    probe_tokens: int = Field(16, ge=1, le=256, description="answer tokens compared for each prompt")
    description: str | None = Field(None, description="first paragraph of the card")
    languages: tuple[str, ...] = Field(("en",), description="language codes on the card")
    licence: str | None = Field(None, description="licence of the result; that of the base model if not given")
    base_model: str | None = Field(None, description="name of the base model; what its step says if not given")
    limits: tuple[str, ...] = Field((), description="what users must know it cannot do")

    def run(self, work: Work) -> None:
        """Write and compare every file, passing over those that a killed attempt finished."""
        converter_folder()  # its absence is told before the first file is written
        source = work.made(self.model).model_folder
        origin = self._origin(work)
        sampling = Sampling.of_model(source)
        with work.progress("exporting", 3 + 2 * len(self.quantise), "files") as bar:
            merged = write_model_folder(source, work.folder / "hf")
            bar.advance()
            if not (work.folder / F16).exists():
                hf_to_gguf(merged, work.folder / F16, self._metadata(origin, sampling), work.host.threads)
            bar.advance()
            kinds: dict[str, str] = {F16: "F16"}
            for kind in self.quantise:
                kinds[f"model-{kind}.gguf"] = kind
                self._quantise(work, kind)
                bar.advance()
            parities = []
            reference = references(merged, self._probes(work), self.probe_tokens, work.host.threads)
            for name, called in kinds.items():
                parities.append(compared(work, name, called, reference))
                bar.advance()
        self._describe(work, origin, sampling, parities)

    def estimate(self, host: Host) -> Estimate:
        """Return a guess for a model of 135M parameters; most of it is loading and comparing."""
        return Estimate(seconds=30 + 10 * len(self.quantise), memory_bytes=3 << 30, disk_bytes=(550 + 150) << 20)

    def _quantise(self, work: Work, kind: Quantisation) -> None:
        target = work.folder / f"model-{kind}.gguf"
        if target.exists():
            return
        made = quantise(work.folder / F16, target, kind)
        work.event("quantised", quantisation=kind, types=made.types, fallbacks=made.fallbacks)
        if made.fallbacks:
            kinds = sorted(set(made.fallbacks.values()))
            work.warn(
                f"{kind}: {len(made.fallbacks)} of {sum(made.types.values())} tensors were kept as {', '.join(kinds)}, "
                "as their rows do not fit its blocks; the file is larger than its name promises and no worse"
            )

    def _probes(self, work: Work) -> list[Any]:
        if self.probes is None:
            return PROBES
        rows = work.made(self.probes)
        held_out = probes_from(rows.rows(HELD_OUT), self.probe_count)
        return PROBES + (held_out or probes_from(rows.rows(), self.probe_count))

    def _origin(self, work: Work) -> Origin:
        """Return what the first model of the chain says about itself, under what this step's fields say."""
        told: dict[str, Any] = {}
        for step in dependencies_first([self.model]):
            artifact = work.made(step)
            if isinstance(artifact, Model) and artifact.exists and "origin" in artifact.record.figures:
                told = artifact.record.figures["origin"]
                break
        return Origin(self.base_model or told.get("model"), self.licence or told.get("licence"))

    def _metadata(self, origin: Origin, sampling: Sampling) -> dict[str, Any]:
        told: dict[str, Any] = {
            "general.name": self.title,
            "general.description": self.description,
            "general.license": origin.licence,
            "general.languages": list(self.languages),
            "general.sampling.temp": sampling.temperature,
            "general.sampling.top_p": sampling.top_p,
            "general.sampling.top_k": sampling.top_k,
            "general.sampling.min_p": sampling.min_p,
        }
        if sampling.repetition_penalty != 1:
            told["general.sampling.penalty_repeat"] = sampling.repetition_penalty
            told["general.sampling.penalty_last_n"] = LOOKS_BACK
        if origin.model:
            told["general.base_models"] = [{"name": origin.model}]
        return {key: value for key, value in told.items() if value is not None}

    def _describe(self, work: Work, origin: Origin, sampling: Sampling, parities: list[Parity]) -> None:
        from metier.core.engine import load_tokenizer

        tokenizer = load_tokenizer(work.folder / "hf")
        served = f"model-{self.quantise[0]}.gguf" if self.quantise else F16
        turns = turn_template(tokenizer)
        if turns is None:
            work.warn(
                "the chat template does more than put text around turns: the Modelfile leaves it to Ollama's guess"
            )
        metadata = gguf_metadata(work.folder / F16)
        context = int(metadata.get(f"{metadata['general.architecture']}.context_length", 4096))
        stops = [tokenizer.eos_token] if tokenizer.eos_token else []
        write_text_atomic(work.folder / "Modelfile", modelfile(served, turns, stops, sampling, min(context, 4096)))
        files = [File(path.name, path.stat().st_size) for path in sorted(work.folder.glob("*.gguf"))]
        scores = [score for step in self.scores for score in work.made(step).figures()]
        card = Card(
            *(self.title, self.description, self.languages, origin.licence, origin.model, self.limits),
            *(self._made(work), scores, files, parities),
        )
        write_text_atomic(work.folder / "README.md", card_text(card))
        write_json_atomic(work.folder / "parity.json", [parity._asdict() for parity in parities])
        write_json_atomic(
            work.folder / "export.json",
            {
                "title": self.title,
                "served": served,
                "files": [file.name for file in files],
                "sampling": sampling._asdict(),
            },
        )
        for parity in parities:
            work.figure(f"divergence {parity.quantisation}", round(parity.divergence, 6))
            work.figure(f"agreement {parity.quantisation}", round(parity.agreement, 4))
        for file in files:
            work.figure(f"bytes {file.name}", file.file_bytes)

    def _made(self, work: Work) -> list[Made]:
        found = []
        for step in dependencies_first([self.model]):
            artifact = work.made(step)
            if artifact.exists:  # an input may be gone where what was made of it stands
                record = artifact.record
                found.append(Made(record.called or record.step, record.step, record.key, record.ledger.lines))
        return found


def compared(work: Work, name: str, kind: str, reference: list[Reference]) -> Parity:
    """Return how one file of the export compares with the trained model. Raises Failure if it may not leave."""
    with Llama(work.folder / name, threads=work.host.threads) as llama:
        check_tokens(llama, reference)
        parity = compare(llama, reference, kind)
    work.event("compared", **parity._asdict())
    require(parity)
    return parity


def write_model_folder(source: Path, target: Path) -> Path:
    """Write a model in bfloat16 with its tokenizer's files as they are, whole or not at all; return `target`."""
    if target.is_dir():
        return target
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    scratch = target.with_name(f".scratch-{target.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    model = load_pretrained(AutoModelForCausalLM, source, dtype=torch.bfloat16)
    model.save_pretrained(scratch)
    for path in (path for pattern in _BESIDE for path in sorted(source.glob(pattern))):
        # Byte for byte: a tokenizer that was loaded and saved again need not be the one that was trained with.
        if path.is_file() and not (scratch / path.name).exists():
            shutil.copyfile(path, scratch / path.name)
    scratch.rename(target)
    return target
