"""Examples of good and bad text, from documents or from a file that a person made."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.files import files_below
from metier.core.types import Documents
from metier.corpus.charset import Undecodable, decode

_TABLES = frozenset((".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"))
_LINES = frozenset((".txt", ".text", ".md", ""))


class Example(NamedTuple):
    """One text that a person calls good or bad. `source` is where it comes from, as far as that is told."""

    text: str
    source: str | None = None
    language: str | None = None
    media_type: str | None = None


class Examples(NamedTuple):
    """Examples of one class, and how many were passed over for which reason."""

    kept: list[Example]
    dropped: Counter[str]


def read_examples(work: Work, given: LocalPath | Step[Documents], column: str, most: int, characters: int) -> Examples:
    """Return at most `most` examples, each cut at `characters`: a sample by hash, so always the same ones.

    Raises:
        Mistake: the file is not there, or not of a kind that can be read.
    """
    found = _documents(work, given) if isinstance(given, Step) else _file(given, column)
    chosen: dict[bytes, Example] = {}
    dropped = Counter[str]()
    for example in found:
        text = example.text[:characters]
        if not text.strip():
            dropped["no text"] += 1
            continue
        place = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
        if place in chosen:
            dropped["the same text again"] += 1
            continue
        chosen[place] = example._replace(text=text)
        if len(chosen) > 2 * most:
            _thin(chosen, most, dropped)
    _thin(chosen, most, dropped)
    return Examples([chosen[place] for place in sorted(chosen)], dropped)


def _thin(chosen: dict[bytes, Example], most: int, dropped: Counter[str]) -> None:
    """Keep the `most` lowest places, which is a sample in no order of the file."""
    for place in sorted(chosen)[most:]:
        del chosen[place]
        dropped["more examples than are used"] += 1


def _documents(work: Work, step: Step[Documents]) -> Iterator[Example]:
    for row in work.made(step).rows():
        yield Example(row.text, row.source, row.language, row.media_type)


def _file(given: LocalPath, column: str) -> Iterator[Example]:
    path = given.path
    if path.is_dir():
        yield from _folder(path)
    elif path.suffix.lower() in _TABLES:
        yield from _table(path, column)
    elif path.suffix.lower() in _LINES and path.is_file():
        yield from (Example(line) for line in _text(path).split("\n"))
    else:
        raise Mistake(
            f"{given.written} holds no examples",
            found=f"a file '*{path.suffix}'" if path.exists() else "nothing there",
            hint="give .jsonl, .csv, .tsv or .parquet with a column of text, .txt with one example a line, or a "
            "folder with one example a file",
        )


def _table(path: Path, column: str) -> Iterator[Example]:
    from metier.corpus.table import rows

    for number, row in enumerate(rows(path), start=1):
        if column not in row:
            raise Mistake(
                f"{path.name}:{number} has no '{column}'",
                found=", ".join(map(str, row)) or "an empty row",
                hint="name the column with the text: column: ...",
            )
        text, source, language = row[column], row.get("source"), row.get("language")
        yield Example(
            text if isinstance(text, str) else "",
            source if isinstance(source, str) else None,
            language if isinstance(language, str) else None,
        )


def _folder(folder: Path) -> Iterator[Example]:
    for path in files_below(folder):
        if path.suffix.lower() in _LINES:
            yield Example(_text(path))


def _text(path: Path) -> str:
    try:
        return decode(path.read_bytes())
    except Undecodable as error:
        raise Mistake(f"{path.name} is no text", found=str(error), hint="give text files, in UTF-8") from error
    except OSError as error:
        raise Mistake(f"{path.name} cannot be read", found=error.strerror) from error


def shared(good: Iterable[Example], bad: Iterable[Example]) -> set[str]:
    """Return the texts that are in both classes: the same words, whatever their case and spacing."""
    return {_words(one.text) for one in good} & {_words(one.text) for one in bad}


def without(examples: Iterable[Example], texts: set[str]) -> list[Example]:
    """Return the examples whose words are not among `texts`."""
    return [one for one in examples if _words(one.text) not in texts]


def _words(text: str) -> str:
    return " ".join(text.lower().split())
