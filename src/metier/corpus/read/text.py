"""Text that is read as it stands: plain text, Markdown, LaTeX and source code, byte for byte inside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from metier.corpus.charset import decode
from metier.corpus.read.found import NO_TEXT, Content, Unreadable
from metier.corpus.read.kinds import Kind
from metier.corpus.read.licences import spdx_tag
from metier.corpus.read.sources import Options, Source

_HEADING = re.compile(r"^#{1,3}[ \t]+(\S[^\r\n]*?)[ \t]*#*[ \t]*\r?$", re.MULTILINE)
_SETEXT = re.compile(r"\A\s*(\S[^\r\n]*)\r?\n(?:={3,}|-{3,}|\*{3,})[ \t]*\r?$", re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---[ \t]*\r?\n", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*\r?$", re.MULTILINE)
_LATEX_TITLE = re.compile(r"\\title(?:\[[^\]]*\])?\{((?:[^{}]|\{[^{}]*\})*)\}")
_SPACE = re.compile(r"\s")


def read_text(source: Source, options: Options, kind: Kind) -> Iterator[Content]:
    """Yield the one document of a text file."""
    text = decode(source.data(options.max_bytes), source.charset)
    yield text_content(text, kind, source.file_name, options)


def text_content(text: str, kind: Kind, file_name: str, options: Options) -> Content:
    """Return text as a document. Raises Unreadable if it is empty, or data rather than text."""
    if not text.strip():
        raise Unreadable(NO_TEXT)
    refuse_unbroken(text, options.max_unbroken)
    title = {"markdown": _markdown_title, "latex": _latex_title}.get(kind.reader, lambda _: None)(text)
    if title is None:
        title = file_name if kind.reader == "code" else name_as_title(file_name)
    return Content(text, title, kind.media_type, language=kind.language, license=spdx_tag(text))


def refuse_unbroken(text: str, limit: int | None) -> None:
    """Raise Unreadable if the text holds more than `limit` characters, or a little less, without white space.

    No language writes so; base64, keys and dumps do. Only whole windows of half the limit are looked at, so that a text
    of any length is checked in the time of one look at each.
    """
    if limit is None or len(text) <= limit:
        return
    window = max(1, limit // 2)
    for start in range(0, len(text) - window + 1, window):
        if _SPACE.search(text, start, start + window) is None:
            raise Unreadable("too long without white space", f"from character {start}")


def name_as_title(file_name: str) -> str:
    """Return a file's name as words."""
    return PurePosixPath(file_name).stem.replace("_", " ").replace("-", " ").strip()


def _markdown_title(text: str) -> str | None:
    front = _FRONT_MATTER.match(text)
    titled = _FRONT_TITLE.search(front.group(1)) if front is not None else None
    heading = titled or _SETEXT.match(text) or _HEADING.search(text)
    return heading.group(1).strip() if heading is not None else None


def _latex_title(text: str) -> str | None:
    found = _LATEX_TITLE.search(text)
    if found is None:
        return None
    plain = re.sub(r"\\\\(?:\[[^\]]*\])?", " ", found.group(1))
    return " ".join(re.sub(r"\\[a-zA-Z]+\*?|[{}~]", " ", plain).split()) or None
