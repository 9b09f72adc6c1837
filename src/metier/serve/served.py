"""What is served: one GGUF file of an export, under the export's name and with its way of sampling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Mistake
from metier.core.llamacpp import Sampling


class Served(NamedTuple):
    """A GGUF file, the name clients ask for, and how answers are drawn when they do not say."""

    gguf: Path
    name: str
    sampling: Sampling


def find_served(path: Path, quantisation: str | None = None) -> Served:
    """Return what to serve of an export's folder, or a GGUF file by itself (greedy, named as the file).

    Args:
        quantisation: "Q8_0", "f16", ...; the export's first if None.

    Raises:
        Mistake: it is neither, or has no such file.
    """
    if path.is_file():
        return Served(path, path.stem, Sampling())
    told = path / "export.json"
    if not told.is_file():
        found = ", ".join(sorted(file.name for file in path.iterdir())[:8]) if path.is_dir() else "nothing there"
        raise Mistake(f"{path} is neither an export nor a GGUF file", found=found, hint="`metier run` makes an export")
    export: dict[str, Any] = json.loads(told.read_text())
    name = export["served"]
    if quantisation is not None:
        wanted = f"model-{quantisation}.gguf".lower()
        match = [file for file in export["files"] if file.lower() == wanted]
        if not match:
            kinds = ", ".join(file.removeprefix("model-").removesuffix(".gguf") for file in export["files"])
            raise Mistake(f"{path.name} has no {quantisation}", found=kinds, hint="add it to the step's `quantise`")
        name = match[0]
    return Served(path / name, export["title"], Sampling(**export["sampling"]))
