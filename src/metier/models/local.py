"""A base model from a local folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from metier.core import LocalPath, Step, Work
from metier.core.types import Model
from metier.models.folder import MODEL_FILES, check_model_folder, stated_licence, warn_without_template


class LocalModel(Step[Model]):
    """Take a base model from a local Hugging Face folder."""

    name: ClassVar[str] = "local-model"

    folder: LocalPath = Field(description="folder with config.json, *.safetensors and the tokenizer's files")
    licence: str | None = Field(None, description="licence of the model; what its README.md states if not given")

    def run(self, work: Work) -> None:
        """Check the folder and copy what a model is made of."""
        source = self.folder.path
        check_model_folder(source, self.folder.written)
        copy_model_files(work, source, work.folder / "model")
        warn_without_template(work, work.folder / "model")
        work.figure("origin", {"model": source.name, "licence": self.licence or stated_licence(source)})

    def shape(self) -> dict[str, Any] | None:
        """Return the folder's config.json, or None where it cannot be read."""
        try:
            found: dict[str, Any] = json.loads((self.folder.path / "config.json").read_text())
        except (OSError, ValueError):
            return None
        return found


def copy_model_files(work: Work, source: Path, target: Path) -> None:
    """Copy the files of a model from `source` to `target`, whole or not at all, passing over those already there."""
    # Copied, not linked: `save_pretrained` writes over files in place, and an artifact must not change with its source.
    target.mkdir(exist_ok=True)
    paths = sorted({path for pattern in MODEL_FILES for path in source.glob(pattern) if path.is_file()})
    with work.progress("copying the model", len(paths), "files") as bar:
        for path in paths:
            done = target / path.name
            if not done.exists():
                partial = target / f".{path.name}.partial"
                shutil.copyfile(path, partial)
                partial.replace(done)
            bar.advance()
