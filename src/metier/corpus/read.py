"""Read a folder of HTML, Markdown, plain text and PDF into documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import Field

from metier.core import Estimate, Host, LocalPath, Mistake, Step, Work
from metier.core.files import files_below
from metier.core.types import Document, Documents
from metier.corpus.documents import new_document
from metier.corpus.formats import MEDIA_TYPES, Unread

_MEMORY_A_WORKER = 4 << 30
_READABLE = "HTML, Markdown, plain text and PDF"


class Listing(NamedTuple):
    """The files of a folder: those to read, in one fixed order, and how many are passed over for which reason."""

    paths: list[Path]
    passed_over: Counter[str]


class Read(Step[Documents]):
    """Read every HTML, Markdown, text and PDF file below a folder, one document a file.

    HTML becomes Markdown: headings, tables and code stay, menus and page furniture go. A file that cannot be read is
    counted in the ledger with its reason and stops nothing. Hidden files and folders (.git) are not looked at.
    """

    name: ClassVar[str] = "read"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    folder: LocalPath = Field(description="The folder with the files.")
    include: tuple[str, ...] = Field(("*",), description="Patterns of relative paths to read; * crosses folders.")
    exclude: tuple[str, ...] = Field((), description="Patterns of relative paths to pass over.")
    language: str | None = Field(None, description="Language of the documents, where you know it.")
    max_megabytes: float = Field(100.0, gt=0, description="Larger files are passed over.")
    max_seconds: float = Field(60.0, gt=0, description="Time limit for reading one file.")

    def run(self, work: Work) -> None:
        """Read the files in parallel and write them as documents."""
        from metier.corpus.workers import Limits, Readers

        root = self.folder.path
        listing = list_files(root, self.include, self.exclude)
        limits = Limits(self.max_seconds, int(self.max_megabytes * 1e6), _MEMORY_A_WORKER)
        reasons = Counter(listing.passed_over)
        workers = min(work.host.cores, len(listing.paths))
        unread = work.folder / "unread.tsv"
        with (
            work.progress("reading", len(listing.paths), "files") as bar,
            Readers(workers, limits) as readers,
            unread.open("w", encoding="utf-8", errors="backslashreplace") as log,
        ):

            def documents() -> Iterator[Document]:
                for path, content in zip(listing.paths, readers.read(listing.paths), strict=True):
                    bar.advance()
                    source = path.relative_to(root).as_posix()
                    if isinstance(content, Unread):
                        reasons[content.reason] += 1
                        log.write(f"{source}\t{content.reason}\n")
                    else:
                        yield new_document(source, content.text, content.title, content.media_type, self.language)

            made = Documents.write(work.folder, documents())
        if made == 0:
            raise Mistake(
                f"none of the files in {self.folder.written} could be read",
                found=_told(reasons),
                hint=f"give a folder with {_READABLE}",
            )
        came = len(listing.paths) + listing.passed_over.total()
        work.count("file", came, made, reasons, made={"document": made})

    def estimate(self, host: Host) -> Estimate | None:
        """Return the time and disk that reading will take, from the sizes of the files."""
        try:
            size = sum(path.stat().st_size for path in list_files(self.folder.path, self.include, self.exclude).paths)
        except (Mistake, OSError):
            return None
        # Measured on the SQLite manual: 8 MB of HTML a second and core; text shrinks to a fifth in Parquet.
        return Estimate(
            seconds=1 + size / 8e6 / host.cores, memory_bytes=200_000_000 * host.cores, disk_bytes=size // 3
        )


def list_files(root: Path, include: Iterable[str] = ("*",), exclude: Iterable[str] = ()) -> Listing:
    """Return the files of `root` to read.

    Raises:
        Mistake: it is no folder, holds no files, or none of a kind that can be read.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing there"
        raise Mistake(f"{root} is not a folder", found=found, hint=f"give a folder with {_READABLE}")
    paths, passed_over = [], Counter[str]()
    include, exclude = tuple(include), tuple(exclude)
    for path in files_below(root):
        name = path.relative_to(root).as_posix()
        if not _matches(name, include) or _matches(name, exclude):
            passed_over["left out by include or exclude"] += 1
        elif path.suffix.lower() not in MEDIA_TYPES:
            passed_over[f"not a readable kind of file ({path.suffix.lower() or 'no suffix'})"] += 1
        else:
            paths.append(path)
    if not paths and not passed_over:
        raise Mistake(f"{root} holds no files", found="an empty folder", hint=f"put {_READABLE} files in it")
    if not paths:
        raise Mistake(
            f"nothing in {root} can be read", found=_told(passed_over), hint=f"give a folder with {_READABLE}"
        )
    return Listing(paths, passed_over)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _told(reasons: Counter[str]) -> str:
    some = [f"{count} {'file' if count == 1 else 'files'}: {reason}" for reason, count in reasons.most_common(4)]
    return "; ".join(some) or "nothing"
