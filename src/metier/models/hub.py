"""A base model from the Hugging Face hub, at one commit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from metier.core import Failure, Mistake, Step, Work
from metier.core.types import Model
from metier.models.folder import MODEL_FILES, check_model_folder, stated_licence, warn_without_template
from metier.models.local import copy_model_files

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Hub(Step[Model]):
    """Fetch a base model from the Hugging Face hub, at a pinned commit.

    A branch or tag can move and the same recipe would then make another model, so only a full commit hash is taken.
    """

    name: ClassVar[str] = "hub"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    id: str = Field(description="repository, as in HuggingFaceTB/SmolLM2-135M-Instruct")
    revision: str | None = Field(None, description="full commit hash, 40 hexadecimal digits; required")

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.revision is None or not _COMMIT.fullmatch(self.revision):
            raise Mistake(
                f"{self.id} has no pinned revision",
                found=f"revision: {self.revision}",
                hint="set revision to the 40-digit commit hash that the repository's 'Files' page shows, "
                "or use step local-model with a folder",
            )
        return self

    def run(self, work: Work) -> None:
        """Download the commit into the hub's cache, or find it there, and copy it from the cache."""
        snapshot = self._snapshot()
        check_model_folder(snapshot, f"{self.id} at {self.revision}")
        copy_model_files(work, snapshot, work.folder / "model")
        warn_without_template(work, work.folder / "model")
        work.figure("origin", {"model": self.id, "revision": self.revision, "licence": stated_licence(snapshot)})

    def _snapshot(self) -> Path:
        from huggingface_hub import errors, snapshot_download

        try:
            return Path(snapshot_download(self.id, revision=self.revision, allow_patterns=list(MODEL_FILES)))
        except errors.GatedRepoError as error:
            raise Mistake(
                f"{self.id} asks for its licence to be accepted",
                hint="accept it on the model's page, then `hf auth login`",
            ) from error
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
            raise Mistake(
                f"the hub has no {self.id} at {self.revision}",
                found=_first_line(error),
                hint="check the id and the commit; a private repository needs `hf auth login`",
            ) from error
        except (
            errors.HfHubHTTPError,
            errors.LocalEntryNotFoundError,
            errors.IncompleteSnapshotError,
            OSError,
        ) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk, which the workshop explains
            raise Failure(
                f"{self.id} could not be fetched from the hub",
                found=_first_line(error),
                hint="run again to go on from what was fetched, or bring the folder over and use step local-model",
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
