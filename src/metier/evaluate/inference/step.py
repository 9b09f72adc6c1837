"""The step that measures how fast a model answers, and what it takes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from metier.core import Artifact, Failure, LocalPath, Mistake, Step, Work
from metier.core.chat import Endpoint
from metier.core.files import write_json_atomic, write_text_atomic
from metier.core.host import Host
from metier.core.journal import append_to_journal, read_journal
from metier.core.types import Export, Model
from metier.evaluate.inference.cells import Cell, failed, figures, table

_SCRATCH = ".scratch"
_SPARE_TOKENS = 128  # for a template, and for words that are more tokens than one


class Speed(Artifact):
    """How fast a model answered: `speed.json` and `speed.md`."""


class InferenceBench(Step[Speed]):
    """Measure tokens a second, time to the first token and memory, by requests at once and by length.

    Of a model in our engine, of an export or a GGUF file in llama.cpp, or of any OpenAI-compatible endpoint: the same
    requests to each, so that engines and machines compare. A cell that fails or takes too long is a row with a reason,
    and a killed run goes on with the next cell.
    """

    name: ClassVar[str] = "inference-bench"
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    model: Step[Model] | None = Field(None, description="A model, in our engine.")
    export: Step[Export] | None = Field(None, description="An export, whose served GGUF file llama.cpp reads.")
    gguf: LocalPath | None = Field(None, description="A GGUF file of any origin, likewise.")
    endpoint: Endpoint | None = Field(None, description="An OpenAI-compatible endpoint that streams.")
    machine: str = Field(
        "here", description="What the machine is called; another name measures anew, as a record says nothing of today."
    )
    concurrency: tuple[int, ...] = Field((1, 2, 4, 8), min_length=1, description="Requests at once.")
    prompt_tokens: tuple[int, ...] = Field((128, 512), min_length=1, description="Tokens read, about.")
    output_tokens: tuple[int, ...] = Field((64,), min_length=1, description="Tokens written, at the most.")
    repeats: int = Field(5, ge=1, description="Repeats of each cell; the interval is over them.")
    waves: int = Field(2, ge=1, description="Requests of a repeat, for each of those at once.")
    warm_up: int = Field(1, ge=0, description="Repeats before those that count.")
    cell_seconds: float = Field(600.0, gt=0, description="A cell that takes longer is given up.")
    ignore_eos: bool = Field(
        False, description="Ask an endpoint for answers of full length; vLLM, SGLang and llama.cpp know how."
    )
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="Arithmetic of our engine.")
    seed: int = Field(0, description="Draws the prompts.")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        given = [name for name in ("model", "export", "gguf", "endpoint") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"of model, export, gguf and endpoint one is measured, not {' and '.join(given) or 'none'}"
            )
        if min(*self.concurrency, *self.prompt_tokens, *self.output_tokens, 10**9) < 1:
            raise ValueError("requests at once and lengths are 1 or more")
        return self

    @property
    def cells(self) -> list[Cell]:
        """Every cell once, the lightest first."""
        return sorted({Cell(c, p, o) for c in self.concurrency for p in self.prompt_tokens for o in self.output_tokens})

    def run(self, work: Work) -> None:
        """Measure each cell, write speed.json and speed.md."""
        self._check()
        path = work.folder / "cells.jsonl"
        rows = {_cell(row): row for row in read_journal(path)}
        with work.progress("measuring", len(self.cells), "cells") as bar:
            bar.resume_at(len(rows))
            for row in self._measured(work, [cell for cell in self.cells if cell not in rows]):
                append_to_journal(path, [row])
                rows[_cell(row)] = row
                bar.advance()
        ordered = [rows[cell] for cell in self.cells]
        if all(row["tokens_per_second"] is None for row in ordered):
            path.unlink()  # or the next attempt would find these rows and measure nothing
            raise Failure(
                "nothing could be measured",
                found=f"{len(ordered)} of {len(ordered)} cells failed, the first one: {ordered[0]['reason']}",
                hint="see that it answers one request, then run again; longer waits: `timeout_seconds` of the endpoint,"
                " `cell_seconds`",
            )
        told = self._told(work)
        shown = {name: told[name] for name in ("engine", "what")}
        write_json_atomic(
            work.folder / "speed.json",
            {**shown, "model": told["what"], "machine": self.machine, "host": work.host.as_dict(), "cells": ordered},
        )
        write_text_atomic(work.folder / "speed.md", table(ordered))
        broken = sum(row["tokens_per_second"] is None for row in ordered)
        work.count("cell", len(ordered), len(ordered) - broken, {"could not be measured": broken} if broken else {})
        work.figure("speed", {**shown, "cells": len(ordered), "best": _best(ordered)})
        work.say(table(ordered))

    def _check(self) -> None:
        key = self.endpoint.api_key_env if self.endpoint is not None else None
        if key is not None and not os.environ.get(key):
            raise Mistake(f"the environment variable {key} is not set", hint=f"export {key}=...")
        if (self.gguf or self.export) and importlib.util.find_spec("xllamacpp") is None:
            raise Mistake("llama.cpp is not installed", hint='pip install "metier[serve]"')

    def _measured(self, work: Work, cells: list[Cell]) -> Iterator[dict[str, Any]]:
        """Yield a row for each cell; the process is started anew after one that it did not survive."""
        from metier.evaluate.inference.watched import Ended, Watched

        told, errors = self._told(work), work.folder / _SCRATCH / "errors.txt"
        errors.parent.mkdir(exist_ok=True)
        left = list(cells)
        while left:
            loaded = False
            try:
                with Watched(told, errors) as watched:
                    loaded = True
                    while left:
                        cell = left[0]
                        found = watched.measure(
                            cell, cell.concurrency * self.waves, self.repeats, self.warm_up, self.cell_seconds
                        )
                        gpu = None if self.endpoint else gpu_bytes(work.host)
                        memory = None if self.endpoint else found.memory_bytes
                        yield figures(cell, found.repeats, memory, gpu)
                        left.pop(0)
            except Ended as end:
                for cell in [left.pop(0)] if loaded else left:
                    yield failed(cell, str(end))
                left = left if loaded else []

    def _told(self, work: Work) -> dict[str, Any]:
        """Return what the measured process loads."""
        told: dict[str, Any] = {"host": work.host.as_dict(), "seed": self.seed, "precision": self.precision}
        if self.endpoint is not None:
            more = {"ignore_eos": True} if self.ignore_eos else {}
            named = {"engine": self.endpoint.base_url, "what": self.endpoint.model}
            return {**told, **self.endpoint.model_dump(), **named, "kind": "endpoint", "more": more}
        if self.model is not None:
            folder = work.made(self.model).model_folder
            return {**told, "kind": "engine", "path": str(folder), "engine": "metier", "what": self.model.name}
        gguf = self.gguf.path if self.gguf is not None else _served(work.made(self.export))  # type: ignore[arg-type]
        context = max(self.prompt_tokens) * 2 + max(self.output_tokens) + _SPARE_TOKENS
        sizes = {"most": max(self.concurrency), "context_tokens": context}
        return {**told, **sizes, "kind": "gguf", "path": str(gguf), "engine": "llama.cpp", "what": gguf.name}


def gpu_bytes(host: Host) -> int | None:
    """Return the memory in use on all GPUs, by whoever uses it; None without one, or where it cannot be read."""
    if not host.gpus:
        return None
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        return sum(int(line) for line in answer.split()) << 20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _served(export: Export) -> Path:
    try:
        return export.folder / str(json.loads((export.folder / "export.json").read_text())["served"])
    except (OSError, ValueError, KeyError) as error:
        raise Failure(f"{export.folder.name} does not say what it serves", hint="remove it and run again") from error


def _cell(row: dict[str, Any]) -> Cell:
    return Cell(row["concurrency"], row["prompt_tokens"], row["output_tokens"])


def _best(rows: list[dict[str, Any]]) -> float | None:
    rates = [row["tokens_per_second"]["value"] for row in rows if row["tokens_per_second"]]
    return round(max(rates), 2) if rates else None
