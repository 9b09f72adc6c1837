"""One form for all texts: composed Unicode, plain spaces, no boilerplate; code and tables untouched."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from pydantic import Field

from metier.core import Step, Work
from metier.core.markdown import Block, blocks
from metier.core.types import Document, Documents
from metier.corpus.documents import changed, sample

# Zero-width and soft characters that a reader never sees; the joiners U+200C/D carry meaning in some scripts.
_INVISIBLE = dict.fromkeys([0x00AD, 0x200B, 0x2060, 0xFEFF, 0x200E, 0x200F, *range(0x202A, 0x202F)])
_CONTROLS = dict.fromkeys([code for code in (*range(32), *range(0x7F, 0xA0)) if code not in (9, 10)])
_SPACES = dict.fromkeys([0x00A0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x2028], " ")
_IMAGE = re.compile(r"!\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_LINK = re.compile(r"\[([^\[\]]+)\]\(\s*(?:[^()\s]|\([^()\s]*\))+(?:\s+[\"'][^\"']*[\"'])?\s*\)")
_REFERENCE = re.compile(r"\[([^\[\]]+)\]\[[^\[\]]*\]")
_REFERENCE_TARGET = re.compile(r"^ {0,3}\[[^\]]+\]:\s+\S+.*$", re.MULTILINE)
_CODE_SPAN = re.compile(r"(`+[^`]*`+)")
_RUN_OF_SPACES = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_NUMBER = re.compile(r"\d+")

EDGE_LINES = 12
"""Boilerplate stands at the edges of a page: only this many lines at either end are looked at."""


class Normalise(Step[Documents]):
    """Bring texts into one form: composed Unicode, plain spaces, links as their text, repeated page furniture gone.

    Code blocks and tables keep every byte. Lines that stand at the edges of many documents, numbers aside ("This page
    last modified on ..."), are boilerplate; which ones were found is in the record.
    """

    name: ClassVar[str] = "normalise"

    corpus: Step[Documents] = Field(description="The documents.")
    boilerplate_share: float | None = Field(
        0.1, gt=0, le=1, description="Share of the documents a line must stand in to be boilerplate; null keeps all."
    )
    boilerplate_at_least: int = Field(8, ge=2, description="Documents a line must stand in to be boilerplate.")
    boilerplate_sample: int = Field(5000, ge=10, description="Documents that are searched for boilerplate.")

    def run(self, work: Work) -> None:
        """Find the boilerplate in a sample of the documents, then write all of them in their normal form."""
        documents = work.made(self.corpus)
        total = documents.record.ledger.made("document") or 0
        repeated: frozenset[str] = frozenset()
        if self.boilerplate_share is not None:
            texts = (document.text for document in sample(documents.rows(), total, self.boilerplate_sample))
            with work.progress("looking for boilerplate", min(total, self.boilerplate_sample), "documents") as bar:
                repeated = repeated_lines(texts, self.boilerplate_share, self.boilerplate_at_least, bar.advance)
        empty = 0
        with work.progress("normalising", total, "documents") as bar:

            def kept() -> Iterator[Document]:
                nonlocal empty
                for document in documents.rows():
                    bar.advance()
                    text = normalise(document.text, repeated)
                    if text:
                        yield changed(document, text)
                    else:
                        empty += 1

            made = Documents.write(work.folder, kept())
        dropped = {"nothing but boilerplate": empty} if empty else {}
        work.count("document", made + empty, made, dropped, source="corpus", made={"document": made})
        work.figure("boilerplate_lines", sorted(repeated))


def normalise(text: str, boilerplate: frozenset[str] = frozenset()) -> str:
    """Return `text` in its one form.

    Prose: NFC, no control or invisible characters, single spaces, links as their text, and no line whose
    `boilerplate_key` is in `boilerplate`. Code and tables keep every byte (line ends become "\\n").
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = [
        (block, block.text if block.kind in ("code", "table") else prose(block.text))
        for block in without_boilerplate(list(blocks(text)), boilerplate)
    ]
    return _joined([(block, words) for block, words in kept if words.strip()])


def prose(text: str) -> str:
    """Return one block of prose in its normal form; code spans inside it keep their bytes."""
    text = _REFERENCE_TARGET.sub("", _IMAGE.sub(r"\1", text))
    parts = _CODE_SPAN.split(text)
    parts[::2] = [_plain(part) for part in parts[::2]]
    lines = ("".join(parts)).split("\n")
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFC", text.translate(_INVISIBLE).translate(_SPACES).translate(_CONTROLS))
    text = _REFERENCE.sub(r"\1", _LINK.sub(r"\1", text))
    return _RUN_OF_SPACES.sub(" ", text)


def _joined(kept: list[tuple[Block, str]]) -> str:
    """Join blocks with one blank line, or none where the source had none (the items of a list)."""
    text = ""
    end = 0
    for block, words in kept:
        if text:
            text += "\n" if block.first == end and block.kind in ("item", "paragraph") else "\n\n"
        text += words
        end = block.end
    return text


def boilerplate_key(line: str) -> str:
    """Return what two lines must share to count as the same boilerplate: words alike, numbers and mark-up aside."""
    return _NUMBER.sub("0", line.strip().strip("*_#>-| ").lower())


def edge_lines(text: str) -> set[str]:
    """Return the keys of the lines at the edges of a text that could be boilerplate: never code, never tables."""
    whole = list(blocks(text))
    keys = {boilerplate_key(line) for block in _at_edge(whole) for line in block.text.split("\n")}
    return {key for key in keys if key}


def repeated_lines(
    texts: Iterable[str], share: float, at_least: int, seen_one: Callable[[], None] = lambda: None
) -> frozenset[str]:
    """Return the keys of lines that stand at the edges of at least `share` of the texts, and of `at_least` texts."""
    seen: Counter[str] = Counter()
    count = 0
    for text in texts:
        seen.update(edge_lines(text))
        count += 1
        seen_one()
    needed = max(at_least, share * count)
    return frozenset(key for key, times in seen.items() if times >= needed)


def without_boilerplate(whole: list[Block], boilerplate: frozenset[str]) -> list[Block]:
    """Return the blocks without boilerplate at the edges, and without headings that then head nothing.

    A repeated heading with a text of its own below it ("Parameters", "Example") is structure and stays.
    """
    if not boilerplate:
        return whole
    edge = {block.first for block in _at_edge(whole)}
    kept = []
    for at, block in enumerate(whole):
        if block.first in edge and block.kind != "heading":
            block = _without_lines(block, lambda line: boilerplate_key(line) in boilerplate)
        elif block.first in edge and boilerplate_key(block.text) in boilerplate:
            follower = whole[at + 1] if at + 1 < len(whole) else None
            if follower is None or (follower.kind == "heading" and follower.level <= block.level):
                continue
        if block.text.strip():
            kept.append(block)
    return kept


def _without_lines(block: Block, unwanted: Callable[[str], bool]) -> Block:
    return block._replace(text="\n".join(line for line in block.text.split("\n") if not unwanted(line)))


def _at_edge(whole: list[Block]) -> list[Block]:
    """Return the blocks of prose that begin in the first or end in the last EDGE_LINES lines with text."""
    chosen: dict[int, Block] = {}
    for order in (whole, whole[::-1]):
        lines = 0
        for block in order:
            if lines >= EDGE_LINES:
                break
            if block.kind not in ("code", "table"):
                chosen[block.first] = block
            lines += block.end - block.first
    return list(chosen.values())
