"""The text that the corpus room is measured on: Debian's documentation packages, and copies of known similarity.

`python -m benchmarks.corpus.material` fetches and reads them once into `benchmarks/.material`, never committed.
The text belongs to the packages' authors, under the licences that their `copyright` files state; it is read, never
passed on. Planted copies are made from it with edits of several kinds; their Jaccard similarity is worked out here by
plain Python sets, apart from the code that is measured.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import regex

from metier.core.tables import read_rows, write_rows
from metier.demo.deb import unpack_deb

FOLDER = Path(__file__).parents[1] / ".material"
PACKAGES = (
    "linux-doc-6.1", "python3.11-doc", "postgresql-doc-15", "git-doc", "python-django-doc", "sqlite3-doc",
    "lilypond-doc-html", "lilypond-doc-html-de", "lilypond-doc-html-fr", "libreoffice-help-zh-cn",
    "libreoffice-help-de", "libreoffice-help-fr", "debian-reference-zh-cn", "manpages-zh", "libboost1.81-doc",
    "libstdc++-12-doc", "openjdk-17-doc", "rust-doc",
)  # fmt: skip
_SUFFIXES = (".html", ".htm", ".txt", ".rst", ".txt.gz", ".rst.gz", ".7.gz", ".1.gz", ".md")
_MOST_BYTES = 2_000_000  # whole books in one page say nothing about documents
_MOST_A_PACKAGE = 24_000_000  # characters of one package, so that no style is most of the corpus
_COLUMNS = dict.fromkeys(("id", "text", "source", "title", "language", "media_type", "digest", "split"), "string")
_COLUMNS |= dict.fromkeys(("part", "license", "channel"), "string")

# The measure, said once more and apart from the package: runs of letters, marks and numbers, each Han or kana alone.
_TOKEN = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}--[\p{P}\p{S}]]|[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}]]+", regex.V1
)


class Planted(NamedTuple):
    """A copy, what it was made from, how, and the exact Jaccard similarity of their word 5-grams."""

    one: str
    other: str
    edit: str
    jaccard: float


def documents(copies: str | None = "report") -> Path:
    """Return the folder of Parquet shards: the real text, and the planted copies of one set ("tune" or "report").

    None gives the real text alone. What is not there yet is made.
    """
    real = FOLDER / "real"
    if not (real / "done").is_file():
        _make_real(real)
    if copies is None:
        return real / "documents"
    folder = FOLDER / f"planted-{copies}"
    if not (folder / "done").is_file():
        _plant(real / "documents", folder, seed={"tune": 1, "report": 2}[copies])
    return folder / "documents"


def planted(copies: str = "report") -> list[Planted]:
    """Return the planted pairs of one set, with their exact similarity."""
    documents(copies)
    return [Planted(**row) for row in read_rows(FOLDER / f"planted-{copies}" / "pairs")]


def texts(megabytes: float, copies: str | None = "report") -> list[str]:
    """Return texts of `megabytes` of UTF-8 in all, spread over the whole corpus, or all of it if it is smaller."""
    rows = [row["text"] for row in read_rows(documents(copies), ["text"])]
    random.Random(0).shuffle(rows)
    chosen, size = [], 0
    for text in rows:
        if size >= megabytes * 1e6:
            break
        chosen.append(text)
        size += len(text.encode())
    return chosen


def enlarged(folder: Path, megabytes: float) -> Path:
    """Write a corpus of `megabytes` below `folder`: the real text again and again, its words renamed each time.

    A round renames every word of more than three letters in its own way, so that rounds are no copies of each other but
    have the lengths, markup and repetition of real text.
    """

    def rows() -> Iterator[dict[str, str | None]]:
        size = number = 0
        while True:
            for row in read_rows(documents()):
                text = _renamed(row["text"], number)
                size += len(text.encode())
                yield row | {"id": _id(f"{row['id']}/{number}"), "source": f"{number}/{row['source']}", "text": text}
                if size >= megabytes * 1e6:
                    return
            number += 1

    if not (folder / "done").is_file():
        write_rows(folder / "documents", rows(), _COLUMNS, weight=lambda row: len(row["text"]))
        (folder / "done").touch()
    return folder / "documents"


def files() -> Path:
    """Return the folder with the packages' own files (HTML, text, manual pages), one folder a package."""
    documents(None)
    return FOLDER / "files"


def package(name: str) -> Path:
    """Return the folder with the files of any Debian package, fetched if it is not there."""
    folder = FOLDER / "files" / name
    _fetch(name, folder)
    return folder


def shingles(text: str, width: int = 5) -> set[tuple[str, ...]]:
    """Return the word n-grams of a text as the package defines them, as plain Python."""
    tokens = _TOKEN.findall(text.lower())
    return {tuple(tokens[at : at + width]) for at in range(max(len(tokens) - width, 0) + 1)} if tokens else set()


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of two texts, exactly."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a | b else 1.0


def _make_real(folder: Path) -> None:
    for package in PACKAGES:
        _fetch(package, FOLDER / "files" / package)
    shutil.rmtree(folder, ignore_errors=True)
    paths = [path for package in PACKAGES for path in _text_files(FOLDER / "files" / package)]
    with ProcessPoolExecutor() as workers:
        found = workers.map(_text, paths, chunksize=64)
        count = write_rows(
            folder / "documents", _rows(zip(paths, found, strict=True)), _COLUMNS, weight=lambda row: len(row["text"])
        )
    (folder / "done").touch()
    print(f"real text: {count:,} documents")


def _fetch(package: str, folder: Path) -> None:
    if (folder / "done").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"fetching {package}", flush=True)
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
    (deb,) = folder.glob("*.deb")
    unpack_deb(deb, folder)
    (folder / "done").write_text(f"{deb.name} sha256 {hashlib.sha256(deb.read_bytes()).hexdigest()}\n")
    deb.unlink()


def _text_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(_SUFFIXES)
        and path.is_file()
        and not path.is_symlink()
        and path.stat().st_size < _MOST_BYTES
    )


def _text(path: Path) -> str | None:
    from selectolax.lexbor import LexborHTMLParser

    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = data.decode("utf-8", "replace")
    if ".htm" in path.name:
        body = LexborHTMLParser(text).body
        text = body.text(separator=" ") if body is not None else ""
        text = regex.sub(r"\n\s*\n\s*", "\n\n", regex.sub(r"[ \t]+", " ", text)).strip()
    return text if len(text) >= 200 and "\0" not in text else None


def _rows(found: Iterable[tuple[Path, str | None]]) -> Iterator[dict[str, str | None]]:
    used: dict[str, int] = {}
    for path, text in found:
        source = path.relative_to(FOLDER / "files").as_posix()
        package = source.partition("/")[0]
        if text is not None and used.get(package, 0) < _MOST_A_PACKAGE:
            used[package] = used.get(package, 0) + len(text)
            yield _row(source, text)


def _row(source: str, text: str) -> dict[str, str | None]:
    blank = dict.fromkeys(_COLUMNS)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return blank | {
        "id": _id(source), "text": text, "source": source, "title": "", "media_type": "text/plain",
        "digest": digest, "part": "",
    }  # fmt: skip


def _id(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _plant(real: Path, folder: Path, seed: int) -> None:
    """Write the real text with copies of three documents in ten among it, edited in one of the ways below."""
    rng = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    pairs: list[Planted] = []

    def rows() -> Iterator[dict[str, str | None]]:
        waiting: list[dict[str, str | None]] = []
        for row in read_rows(real):
            yield row
            text = row["text"]
            if 600 <= len(text) <= 200_000 and rng.random() < 0.3:
                edit = rng.choice(sorted(EDITS))
                copy = EDITS[edit](text, rng)
                made = _row(f"copy/{seed}/{row['source']}", copy)
                pairs.append(Planted(row["id"], str(made["id"]), edit, similarity(text, copy)))
                waiting.append(made)
            if len(waiting) > 500:  # copies lie apart from what they copy
                yield waiting.pop(rng.randrange(len(waiting)))
        yield from waiting

    count = write_rows(folder / "documents", rows(), _COLUMNS, weight=lambda row: len(row["text"]))
    columns = {"one": "string", "other": "string", "edit": "string", "jaccard": "float"}
    write_rows(folder / "pairs", (pair._asdict() for pair in pairs), columns)
    (folder / "done").touch()
    near = sum(pair.jaccard >= 0.8 for pair in pairs)
    print(f"with copies: {count:,} documents, {len(pairs):,} planted pairs, {near:,} at 0.8 or more")


def _replaced(text: str, rng: random.Random) -> str:
    """Replace single words, one in 20 to one in 400."""
    rate = 1 / rng.choice([20, 40, 60, 100, 200, 400])
    parts = regex.split(r"(\s+)", text)
    return "".join(f"edit{rng.randrange(10**6)}" if part.strip() and rng.random() < rate else part for part in parts)


def _replaced_characters(text: str, rng: random.Random) -> str:
    """Replace single characters, as in text without spaces: Chinese for Chinese, letters for letters."""
    rate = 1 / rng.choice([60, 120, 250, 600])
    chars = list(text)
    for at, char in enumerate(chars):
        if char.isalpha() and rng.random() < rate:
            chars[at] = chr(rng.randrange(0x4E00, 0x9000)) if ord(char) > 0x2E80 else rng.choice("aeinorst")
    return "".join(chars)


def _moved(text: str, rng: random.Random) -> str:
    """Put the lines of the text's last part first."""
    lines = text.split("\n")
    at = rng.randrange(1, max(len(lines), 2))
    return "\n".join(lines[at:] + lines[:at])


def _framed(text: str, rng: random.Random) -> str:
    """Put a header and a footer around the text, as another site's template would."""
    words = [f"site{rng.randrange(300)}" for _ in range(rng.choice([5, 15, 40]))]
    return f"{' '.join(words)}\n\n{text}\n\nprinted {rng.randrange(10**6)} {' '.join(reversed(words))}"


def _cut(text: str, rng: random.Random) -> str:
    """Leave out a run of lines, up to a quarter of them."""
    lines = text.split("\n")
    size = rng.randrange(max(len(lines) // 4, 1) + 1)
    at = rng.randrange(max(len(lines) - size, 1))
    return "\n".join(lines[:at] + lines[at + size :])


def _reset(text: str, rng: random.Random) -> str:
    """Change only what should not count: case, punctuation, white space."""
    text = regex.sub(r"[.,;:]", lambda _: rng.choice([" ", ".", ";", " - "]), text)
    text = text.upper() if rng.random() < 0.3 else text
    return str(regex.sub(r"\s+", lambda _: rng.choice([" ", "\n", "\u3000", "\t "]), text))


EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "words replaced": _replaced,
    "characters replaced": _replaced_characters,
    "lines moved": _moved,
    "framed": _framed,
    "lines cut": _cut,
    "reset": _reset,
}


def _renamed(text: str, number: int) -> str:
    if number == 0:
        return text
    return str(regex.sub(r"\p{L}{4,}", partial(_rename, number), text))


def _rename(number: int, found: regex.Match[str]) -> str:
    word = found[0]
    # Rotate the word and add a letter of the round: lengths and repetition stay, shingles differ between rounds.
    return f"{word[number % len(word) :]}{word[: number % len(word)]}{chr(97 + number % 26)}"


if __name__ == "__main__":
    for copies in sys.argv[1:] or ["tune", "report"]:
        documents(copies)
