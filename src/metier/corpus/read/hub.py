"""Read a data set of the Hugging Face hub, at one commit, as a stream."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.types import Documents
from metier.corpus.read.hub_layout import choose_files, front_matter, language_of, license_of

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CARD = "README.md"


class HubDataset(Step[Documents]):
    """Read a column of text from a data set of the Hugging Face hub, one document a row, at a pinned commit.

    Only what is read is fetched: with `limit`, the beginning of the first files. A branch can move, and the same recipe
    would then read other text, so only a full commit hash is taken. A folder with the same layout does as well.
    """

    name: ClassVar[str] = "hub-dataset"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    id: str | None = Field(None, description="The data set, as in HuggingFaceFW/fineweb-edu.")
    revision: str | None = Field(None, description="Full commit hash, 40 hexadecimal digits; required with `id`.")
    folder: LocalPath | None = Field(None, description="In place of `id`: a local copy of the repository.")
    config: str | None = Field(None, description="The configuration, where the data set has several.")
    split: str = Field("train", description="The split.")
    column: str = Field("text", description="The column with the text.")
    title_column: str | None = Field(None, description="The column with a title, if there is one.")
    language_column: str | None = Field(None, description="The column with the language, if there is one.")
    license_column: str | None = Field(None, description="The column with the licence, if there is one.")
    language: str | None = Field(None, description="Language of the text; null: what the data set's card states.")
    license: str | None = Field(None, description="Licence of the text; null: what the data set's card states.")
    limit: int | None = Field(None, ge=1, description="Read only so many rows.")
    max_megabytes: float = Field(100.0, gt=0, le=1000, description="Rows larger than this are passed over.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.id is None) == (self.folder is None):
            raise Mistake("a hub-dataset names an id or a folder, one of them", hint="id: owner/name, revision: ...")
        if self.id is not None and (self.revision is None or not _COMMIT.fullmatch(self.revision)):
            raise Mistake(
                f"{self.id} has no pinned revision",
                found=f"revision: {self.revision}",
                hint="set revision to the 40-digit commit hash that the data set's 'Files' page shows",
            )
        return self

    def run(self, work: Work) -> None:
        """Write every row with text as a document."""
        from metier.corpus.read.listing import list_local
        from metier.corpus.read.reader import Limits, Opener
        from metier.corpus.read.reading import LocalFiles, Reading, nowhere
        from metier.corpus.read.remote import Remote
        from metier.corpus.read.step import there
        from metier.corpus.read.task import PathOf

        path_of: PathOf = nowhere
        opener: Opener | None = None
        if self.folder is not None:
            root, written = there(self.folder), self.folder.written
            path_of = LocalFiles(root)
            listed = list(list_local(root, ("*",), ()))
            card = (root / _CARD).read_bytes() if (root / _CARD).is_file() else b""
        else:
            written = str(self.id)
            remote = Remote(f"hf://datasets/{self.id}@{self.revision}")
            listed = list(remote.files(("*",), ()))
            card = remote.open(_CARD).read(1 << 20) if any(file.name == _CARD for file in listed) else b""
            opener = remote.opener
        stated = front_matter(card.decode("utf-8", "replace"))
        wanted = choose_files([file.name for file in listed], stated, self.config, self.split, written)
        of_name = {file.name: file for file in listed}
        options = self._options(stated)
        limits = Limits(seconds=60.0, memory_bytes=4 << 30)
        counts = Reading(work, options, limits, path_of, opener, self.limit).run(of_name[name] for name in wanted)
        if counts.documents == 0:
            told = counts.parts_dropped or counts.dropped
            raise Mistake(
                f"{written} holds no text",
                found="; ".join(f"{n}: {reason}" for reason, n in told.most_common(3)),
                hint="is `column` the right one?",
            )
        work.count("file", counts.files, counts.kept, counts.dropped, made={"document": counts.documents})
        work.count("row", counts.parts, counts.parts_kept, counts.parts_dropped)
        work.figure("origin", self._origin(options, wanted))

    def _options(self, stated: dict[str, Any]) -> Any:
        from metier.corpus.read.sources import Options

        return Options(
            column=self.column,
            title_column=self.title_column,
            language_column=self.language_column,
            license_column=self.license_column,
            language=self.language or language_of(stated),
            license=self.license or license_of(stated),
            max_bytes=int(self.max_megabytes * 1e6),
            max_unbroken=None,
        )

    def _origin(self, options: Any, files: Iterable[str]) -> dict[str, Any]:
        return {
            "data_set": self.id or (self.folder.written if self.folder is not None else ""),
            "revision": self.revision,
            "config": self.config,
            "split": self.split,
            "licence": options.license,
            "files": len(list(files)),
        }
