"""Log files: whole if they are small, else in stretches that end between two entries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from metier.corpus.charset import charset_of
from metier.corpus.read.found import NO_TEXT, TOO_LARGE, Content, Unread, Unreadable
from metier.corpus.read.kinds import Kind
from metier.corpus.read.lines import bounded_lines
from metier.corpus.read.sources import Options, Source
from metier.corpus.read.text import refuse_unbroken

PART_BYTES = 1_000_000
_MOST_BYTES = 4 * PART_BYTES  # where no line begins like an entry
_MAX_LINE = 1_000_000
# An entry begins with a date, a time, a level or a bracket; the lines of a stack trace do not.
_ENTRY = re.compile(
    rb"\[?(?:\d{4}[-/.]\d\d[-/.]\d\d|\d\d[-/.]\d\d[-/.]\d{2,4}|\d\d:\d\d:\d\d|[A-Z][a-z]{2} [ \d]\d |\d{9,}[. ]|<\d+>|"
    rb"(?:TRACE|DEBUG|INFO|WARN|ERROR|FATAL)\b|\d{1,3}(?:\.\d{1,3}){3} )"
)


def read_log(source: Source, options: Options, kind: Kind) -> Iterator[Content | Unread]:
    """Yield a log as documents of about a megabyte. A line of over a megabyte is no entry: it is left out alone."""
    first, number, lines, size = 1, 0, list[bytes](), 0
    whole, charset = True, None
    for line in bounded_lines(source.stream, _MAX_LINE):
        number += 1
        if line is None:
            whole = False
            yield Unread(TOO_LARGE, f"line {number}")
            continue
        if size >= PART_BYTES and (_ENTRY.match(line) or size >= _MOST_BYTES):
            whole = False
            charset = charset or charset_of(b"".join(lines), whole=False)
            yield _content(lines, charset, f"lines {first}-{number - 1}", source, options, kind)
            first, lines, size = number, [], 0
        lines.append(line)
        size += len(line)
    if lines:
        part = "" if whole else f"lines {first}-{number}"
        yield _content(lines, charset or charset_of(b"".join(lines)), part, source, options, kind)


def _content(
    lines: list[bytes], charset: str, part: str, source: Source, options: Options, kind: Kind
) -> Content | Unread:
    try:
        text = b"".join(lines).decode(charset)
        refuse_unbroken(text, options.max_unbroken)
    except UnicodeDecodeError:
        return Unread(f"invalid {charset.upper()}", part)
    except Unreadable as error:
        return Unread(error.reason, part, error.detail)
    if not text.strip():
        return Unread(NO_TEXT, part)
    return Content(text, source.file_name, kind.media_type, part)
