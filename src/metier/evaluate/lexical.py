"""Passages found by their words: BM25 over documents, in SQLite's own full-text index.

Retrieval here is a baseline to hold a trained model against, so it is the plainest one that teams start with. SQLite
ships with Python, ranks in C, and keeps the index out of memory; languages that write without spaces are cut into
pairs of characters, as Lucene's CJK analyser does.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from metier.core.errors import Failure
from metier.core.types import Document

PASSAGE_CHARACTERS = 1000  # some 250 tokens of English: four of them leave room for an answer in 2,048
MOST_TERMS = 48
"""Words of a query that are looked for: of a longer one (a contract pasted whole) the rarest, which decide the rank."""

_KNOWN_COUNTS = 100_000  # words whose number of passages is remembered
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_TERM = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n")


class Found(NamedTuple):
    """One passage. `id` is its document's; `score` is BM25, higher is nearer."""

    id: str
    title: str
    text: str
    score: float


class LexicalIndex:
    """Documents as an index of their passages; close it, or use it in a `with`.

    The ranking is BM25 with k1 = 1.2 and b = 0.75 (Robertson and Zaragoza 2009) over Porter's stems of English words
    and pairs of Chinese or Japanese characters; a word that stands in more than half of the passages counts for
    nothing. Of a query of more than `MOST_TERMS` words the rarest are looked for: a list of matches is read for each
    word, and those of common words are the longest and say the least.

    Args:
        documents: read once, each cut into passages of about `PASSAGE_CHARACTERS`.
        path: where the index is kept; in memory if None.

    Raises:
        Failure: this Python's SQLite has no full-text search.
    """

    def __init__(self, documents: Iterable[Document], path: Path | None = None) -> None:
        self._db = sqlite3.connect(path or ":memory:")
        try:
            self._db.execute("CREATE VIRTUAL TABLE terms USING fts5(t, content='', tokenize='porter unicode61')")
        except sqlite3.OperationalError as error:
            raise Failure(
                "documents cannot be searched: this Python's SQLite has no full-text search",
                found=f"SQLite {sqlite3.sqlite_version}: {error}",
                hint="use a Python whose sqlite3 has FTS5, as those of Debian, conda and python.org have",
            ) from error
        self._db.execute("CREATE TABLE passages(id TEXT, title TEXT, text TEXT)")
        self.size = 0
        self._counts: dict[str, int] = {}
        for document in documents:
            for text in cut(document.text):
                self.size += 1
                self._db.execute("INSERT INTO passages VALUES (?, ?, ?)", (document.id, document.title, text))
                # the title stands before every passage: a section rarely repeats what its page is about
                told = " ".join(terms(f"{document.title} {text}"))
                self._db.execute("INSERT INTO terms(rowid, t) VALUES (?, ?)", (self.size, told))
        self._db.commit()

    def __enter__(self) -> LexicalIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the index's file."""
        self._db.close()

    def search(self, query: str, count: int) -> list[Found]:
        """Return at most `count` passages that share a word with `query`, the nearest first, none twice."""
        words = list(dict.fromkeys(terms(query)))
        if not words or count < 1:
            return []
        if len(words) > MOST_TERMS:
            # by how many passages hold a word, the rarest first; what no passage holds finds nothing
            known = [word for word in words if self._passages_with(word)]
            words = sorted(known, key=self._passages_with)[:MOST_TERMS] or words[:1]
        match = " OR ".join(f'"{word}"' for word in words)
        rows = self._db.execute(
            "SELECT p.id, p.title, p.text, -bm25(terms) AS score FROM terms JOIN passages p ON p.rowid = terms.rowid "
            "WHERE terms MATCH ? ORDER BY score DESC, terms.rowid LIMIT ?",
            (match, 4 * count),
        )
        once: dict[str, Found] = {}
        for row in rows:
            once.setdefault(row[2], Found(*row))
        return list(once.values())[:count]

    def _passages_with(self, word: str) -> int:
        if word not in self._counts:
            if len(self._counts) >= _KNOWN_COUNTS:
                self._counts.clear()
            (found,) = self._db.execute("SELECT count(*) FROM terms WHERE terms MATCH ?", (f'"{word}"',)).fetchone()
            self._counts[word] = int(found)
        return self._counts[word]


def terms(text: str) -> Iterator[str]:
    """Yield the words of `text` in lower case; runs of Chinese or Japanese as overlapping pairs of characters."""
    for run in _TERM.findall(text.lower()):
        if len(run) > 1 and _IS_UNSPACED.match(run):
            yield from (run[at : at + 2] for at in range(len(run) - 1))
        else:
            yield run


def cut(text: str, characters: int = PASSAGE_CHARACTERS) -> list[str]:
    """Return `text` in passages of at most `characters`, cut at paragraphs, else at sentences, else anywhere."""
    passages: list[str] = []
    room = 0  # characters that the last passage may still take
    for paragraph in re.split(r"\n\s*\n", text):
        for piece in _pieces(paragraph.strip(), characters):
            if passages and len(piece) + 2 <= room:
                passages[-1] += "\n\n" + piece
                room -= len(piece) + 2
            else:
                passages.append(piece)
                room = characters - len(piece)
    return passages


def _pieces(paragraph: str, characters: int) -> Iterator[str]:
    if len(paragraph) <= characters:
        if paragraph:
            yield paragraph
        return
    held = ""
    for sentence in (part.strip() for part in _SENTENCE_END.split(paragraph)):
        while len(sentence) > characters:
            if held:
                yield held
                held = ""
            yield sentence[:characters]
            sentence = sentence[characters:]
        if held and len(held) + 1 + len(sentence) > characters:
            yield held
            held = ""
        held = f"{held} {sentence}".strip()
    if held:
        yield held
