"""Documents that were made before: the folder that a step, or `metier corpus … -o`, left behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from metier.core import LocalPath, Mistake, Record, Step, Work
from metier.core.artifact import RECORD
from metier.core.types import Document, Documents

_ORIGIN = "origin.json"


class Saved(Step[Documents]):
    """Take documents that another run of Metier wrote, as they are, with the list of what it had left out."""

    name: ClassVar[str] = "saved-documents"

    folder: LocalPath = Field(description="The folder, or the `documents` folder in it, with part-*.parquet.")

    def run(self, work: Work) -> None:
        """Link the shards into the artifact, or copy them where they lie on another disk."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = self.folder.path
        folder = folder / "documents" if (folder / "documents").is_dir() else folder
        shards = sorted(folder.glob("part-*.parquet"))
        if not shards:
            raise Mistake(
                f"{self.folder.written} holds no documents of Metier",
                found="no part-*.parquet in it",
                hint="the step `read` takes any other folder",
            )
        target = work.folder / "documents"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        made = 0
        for number, shard in enumerate(shards):
            try:
                with pq.ParquetFile(shard) as file:
                    missing = [name for name in Document._fields[:3] if name not in file.schema_arrow.names]
                    made += file.metadata.num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise Mistake(f"{shard.name} is no readable Parquet file", found=str(error)) from error
            if missing:
                raise Mistake(
                    f"{shard.name} holds no documents of Metier",
                    found=f"no column {', '.join(missing)}",
                    hint="the step `read` reads Parquet files of other programs: name their column with `column`",
                )
            _link(shard, target / f"part-{number:05d}.parquet")
        whole = folder if folder.name != "documents" else folder.parent
        _keep_origin(whole, work.folder)
        work.count("document", made, made, made={"document": made})


def origin(artifact: Documents) -> Record:
    """Return the record of the run that made the documents, where this artifact only took them over."""
    kept = artifact.folder / _ORIGIN
    return Record.model_validate_json(kept.read_text()) if kept.is_file() else artifact.record


def _keep_origin(folder: Path, target: Path) -> None:
    if (folder / RECORD).is_file():
        shutil.copyfile(folder / RECORD, target / _ORIGIN)
    for shard in sorted((folder / "dropped").glob("part-*.parquet")):
        (target / "dropped").mkdir(exist_ok=True)
        (target / "dropped" / shard.name).unlink(missing_ok=True)
        _link(shard, target / "dropped" / shard.name)


def _link(source: os.PathLike[str], target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
