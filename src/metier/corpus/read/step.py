"""Read a folder, a file or a URL of almost any material into documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from metier.core import Estimate, Host, LocalPath, Mistake, Step, Work
from metier.core.types import Documents
from metier.corpus.read.place import Place

if TYPE_CHECKING:
    from metier.corpus.read.journal import Counts
    from metier.corpus.read.reader import Limits
    from metier.corpus.read.sources import Options

READABLE = "HTML, PDF, Office, Markdown, text, code, tables, mail, logs or archives"
"""What can be read, for messages."""

# Bytes of input a second and core, measured on Debian's documentation; text passes at the speed of its digest.
_SPEEDS = {"html": 9e6, "pdf": 4e6, "docx": 3e6, "pptx": 3e6, "sheets": 4e6, "mail": 8e6, "mbox": 8e6}
_OTHER_SPEED = 60e6


class Read(Step[Documents]):
    """Read everything below a folder: web pages, PDF, Word, PowerPoint, Excel, Markdown, LaTeX, text, code, notebooks,
    JSON, CSV and Parquet tables, mail, logs, web archives, and what is packed in zip, tar, gzip, bzip2, xz and
    Zstandard files.

    Web pages and Office files become Markdown: headings, lists, tables and code stay, menus and page furniture go.
    Markdown, LaTeX, text and code stay as they are, to the byte. A file gives one document; a table one for each row, a
    mailbox one for each message, a workbook one for each sheet, an archive what is in it. What cannot be read is
    counted with its reason, listed in `unread.tsv`, and stops nothing. Hidden files and folders (.git) are not looked
    at. Files are read in processes of their own, under a limit of time and memory; large ones as a stream.
    """

    name: ClassVar[str] = "read"
    version: ClassVar[int] = 2
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    folder: Place = Field(description="A folder, a file, or a URL that fsspec knows (s3://bucket/folder).")
    include: tuple[str, ...] = Field(
        ("*",), description="Patterns of relative paths to read; * crosses folders, and goes for members of archives."
    )
    exclude: tuple[str, ...] = Field((), description="Patterns of relative paths to pass over.")
    language: str | None = Field(None, description="Language of the documents that state none, where you know it.")
    license: str | None = Field(
        None, description="Licence of the documents whose files and folders state none, as an SPDX identifier."
    )
    column: str = Field("text", description="The column of tables (JSON lines, CSV, Parquet) that holds the text.")
    title_column: str | None = Field(None, description="The column of tables with a title, if there is one.")
    language_column: str | None = Field(None, description="The column of tables with the language, if there is one.")
    license_column: str | None = Field(None, description="The column of tables with the licence, if there is one.")
    split_pages: bool = Field(False, description="A document for each page of a PDF and each slide, not for the file.")
    max_megabytes: float = Field(
        100.0,
        gt=0,
        le=1000,
        description="Larger documents are passed over: files, rows, messages, members of archives.",
    )
    max_seconds: float = Field(60.0, gt=0, description="Time limit for reading one document.")
    max_memory_gigabytes: float = Field(4.0, ge=0.5, description="Address space of one reading process.")
    max_unbroken: int | None = Field(
        1_000_000, ge=1000, description="Characters without white space that make a text data, not text; null: any."
    )
    max_unpacked_ratio: float = Field(
        200.0, gt=0, description="A file that unpacks to more than 64 MB and so many times its size is given up."
    )
    max_unpacked_gigabytes: float = Field(100.0, gt=0, description="A file that unpacks to more than this is given up.")
    max_nesting: int = Field(4, ge=1, description="Archives in archives, the compression of a .tar.gz counted.")
    readers: Mapping[str, str] = Field(
        default_factory=dict,
        description="Readers of your own by suffix, {.abc: package.module:function}; (bytes, file name) -> text.",
    )
    as_of: str | None = Field(
        None, description="For a URL: a label of yours, a date for example. Another label reads the place again."
    )

    @field_validator("readers")
    @classmethod
    def _checked(cls, readers: Mapping[str, str]) -> Mapping[str, str]:
        for suffix, place in readers.items():
            if not suffix.startswith(".") or suffix != suffix.lower() or place.count(":") != 1:
                raise ValueError(f"{suffix}: {place} is not of the form .suffix: package.module:function")
        return dict(readers)

    def run(self, work: Work) -> None:
        """Read the files in parallel and write them as documents."""
        read_place(work, self, self.folder)

    def estimate(self, host: Host) -> Estimate | None:
        """Return the time and disk that reading will take, from the sizes of the files; None for a URL."""
        return None if isinstance(self.folder, str) else estimate_local(self.folder, self.include, self.exclude, host)


def read_place(work: Work, step: Read, place: LocalPath | str) -> None:
    """Read a place with the settings of a step, write documents, and count what came and what was dropped."""
    from metier.corpus.read.listing import list_local
    from metier.corpus.read.reading import LocalFiles, Reading, nowhere
    from metier.corpus.read.remote import Remote

    options, limits = settings(step)
    if isinstance(place, str):
        remote = Remote(place)
        files = remote.files(step.include, step.exclude)
        counts = Reading(work, options, limits, nowhere, remote.opener).run(files)
    else:
        files = list_local(there(place), step.include, step.exclude)
        counts = Reading(work, options, limits, LocalFiles(place.path)).run(files)
    account(work, counts, place if isinstance(place, str) else place.written)


def settings(step: Read) -> tuple[Options, Limits]:
    """Return what reading processes are told. Raises Mistake if a reader of the user's own is not there."""
    from metier.corpus.read.own import own_reader
    from metier.corpus.read.reader import Limits
    from metier.corpus.read.sources import Options

    for suffix, place in step.readers.items():
        try:
            own_reader(place)
        except (ImportError, AttributeError) as error:
            raise Mistake(
                f"the reader of {suffix} cannot be imported",
                found=f"{place}: {error}",
                hint="put it in a module that Python finds, and name it as package.module:function",
            ) from error
    options = Options(
        include=step.include,
        exclude=step.exclude,
        column=step.column,
        title_column=step.title_column,
        language_column=step.language_column,
        license_column=step.license_column,
        language=step.language,
        license=step.license,
        split_pages=step.split_pages,
        max_bytes=int(step.max_megabytes * 1e6),
        max_unbroken=step.max_unbroken,
        max_ratio=step.max_unpacked_ratio,
        max_unpacked_bytes=int(step.max_unpacked_gigabytes * 1e9),
        max_nesting=step.max_nesting,
        readers=dict(step.readers),
    )
    return options, Limits(step.max_seconds, int(step.max_memory_gigabytes * 2**30))


def there(place: LocalPath) -> Path:
    """Return a local file or folder. Raises Mistake if nothing is there."""
    if not place.path.exists():
        raise Mistake(f"{place.written} does not exist", found="nothing there", hint=f"give a folder with {READABLE}")
    return place.path


def account(work: Work, counts: Counts, written: str) -> None:
    """Write the ledger of a reading. Raises Mistake if it gave no document."""
    if counts.files == 0:
        raise Mistake(f"{written} holds no files", found="an empty folder", hint=f"give one with {READABLE}")
    if counts.documents == 0:
        told = [f"{n} {'file' if n == 1 else 'files'}: {reason}" for reason, n in counts.dropped.most_common(4)]
        raise Mistake(
            f"none of the files in {written} could be read",
            found="; ".join(told),
            hint=f"give a folder with {READABLE}; unread.tsv in {work.folder} names each file",
        )
    work.count("file", counts.files, counts.kept, counts.dropped, made={"document": counts.documents})
    if counts.parts:
        work.count("part", counts.parts, counts.parts_kept, counts.parts_dropped)
    work.figure("documents_by_media_type", dict(counts.kinds.most_common()))
    work.figure("text_megabytes", round(counts.text_bytes / 1e6, 3))


def estimate_local(place: LocalPath, include: tuple[str, ...], exclude: tuple[str, ...], host: Host) -> Estimate | None:
    """Return the time and disk that reading a local place will take, from the names and sizes of its files."""
    from metier.corpus.read.kinds import by_name
    from metier.corpus.read.listing import list_local

    bytes_of: Counter[str] = Counter()
    if not place.path.exists():
        return None
    for file in list_local(place.path, include, exclude):
        if file.reason is None:
            kind = by_name(file.name.rpartition("/")[2])
            bytes_of[kind.reader if kind is not None else "text"] += file.size
    seconds = sum(size / _SPEEDS.get(reader, _OTHER_SPEED) for reader, size in bytes_of.items())
    workers = max(1, host.threads)
    return Estimate(
        seconds=1 + seconds / workers,
        memory_bytes=150_000_000 + 120_000_000 * workers,
        disk_bytes=bytes_of.total() // 3,
    )
