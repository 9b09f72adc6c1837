"""E-mail: single messages and mailboxes. Attachments are read by the reader of their own kind."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from contextlib import suppress
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from io import BytesIO

from metier.corpus.charset import Undecodable, decode
from metier.corpus.read.found import NO_TEXT, TOO_LARGE, Content, Unread
from metier.corpus.read.kinds import Kind
from metier.corpus.read.lines import bounded_lines
from metier.corpus.read.sources import Options, Source
from metier.corpus.read.text import name_as_title

_SHOWN = ("From", "To", "Cc", "Date", "Subject")
_FROM_LINE = re.compile(rb"From \S.*\d{4}")
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)


def read_mail(source: Source, options: Options, kind: Kind) -> Iterator[Content | Unread | Source]:
    """Yield one message and its attachments."""
    yield from _message(source.data(options.max_bytes), source, options, kind, "")


def read_mbox(source: Source, options: Options, kind: Kind) -> Iterator[Content | Unread | Source]:
    """Yield the messages of a mailbox (RFC 4155, with or without quoted "From " lines), one in memory at a time."""
    number, lines, size, blank = 0, list[bytes](), 0, True
    for line in bounded_lines(source.stream, options.max_bytes):
        if line is None:  # a line beyond the limit: so is its message
            size = options.max_bytes + 1
            continue
        if blank and line.startswith(b"From ") and _FROM_LINE.match(line):
            yield from _of_mailbox(number, lines, size, source, options)
            number, lines, size, blank = number + 1, [], 0, False
            continue
        blank = not line.strip()
        size += len(line)
        if size <= options.max_bytes:
            lines.append(line)
        else:
            lines.clear()
    yield from _of_mailbox(number, lines, size, source, options)


def _of_mailbox(
    number: int, lines: list[bytes], size: int, source: Source, options: Options
) -> Iterator[Content | Unread | Source]:
    part = f"message {number}"
    if size > options.max_bytes:
        yield Unread(TOO_LARGE, part)
    elif number and lines:
        data = _QUOTED_FROM.sub(rb"\1", b"".join(lines))
        yield from _message(data, source, options, Kind("mail", "message/rfc822"), part)
    elif any(line.strip() for line in lines):
        yield Unread("no message before the first From line", "beginning")


def _message(
    data: bytes, source: Source, options: Options, kind: Kind, part: str
) -> Iterator[Content | Unread | Source]:
    try:
        # The older policy: the newer one raises on headers that real mail has.
        message = email.message_from_bytes(data, policy=email.policy.compat32)
    except (MessageError, ValueError, LookupError) as error:
        yield Unread("damaged message", part, str(error))
        return
    headers = {name: _header(message, name) for name in _SHOWN}
    if not any(headers.values()):
        yield Unread("no mail: no headers", part)
        return
    text = _body(message).strip()
    shown = [f"{name}: {said}" for name, said in headers.items() if said]
    if text:
        title = headers["Subject"] or name_as_title(source.file_name)
        yield Content("\n".join(shown) + "\n\n" + text, title, kind.media_type, part)
    attached = list(_attachments(message))
    if not text and not attached:
        yield Unread(NO_TEXT, part)
    for number, (name, inner) in enumerate(attached, 1):
        name = name or f"attachment {number}"
        place = f"{part}/{name}" if part else name
        yield source.member(place, BytesIO(_payload(inner)), media_type=inner.get_content_type())


def _header(message: Message, name: str) -> str:
    """Return a header's text, its encoded words decoded; addresses and dates stay as they were written."""
    said = ""
    for raw in message.get_all(name, [])[:1]:
        try:
            pieces = decode_header(str(raw))
        except (MessageError, ValueError):
            pieces = [(str(raw), None)]
        for piece, charset in pieces:
            said += _text(piece, charset) if isinstance(piece, bytes) else piece
    return " ".join(said.split())


def _body(message: Message) -> str:
    """Return the text of a message: plain where there is one, else the HTML as Markdown; parts in their order."""
    kind = message.get_content_type()
    if kind == "multipart/alternative":
        parts = [part for part in message.get_payload() if isinstance(part, Message)]
        plain = [part for part in parts if part.get_content_type() == "text/plain"]
        texts = [said for said in map(_body, plain or parts) if said.strip()] or list(map(_body, parts))
        return next((said for said in texts if said.strip()), "")
    if message.is_multipart():
        inner = message.get_payload()
        if not isinstance(inner, list) or kind == "message/rfc822":
            return ""
        return "\n\n".join(filter(str.strip, map(_body, inner)))
    if message.get_content_disposition() == "attachment" or kind not in ("text/plain", "text/html"):
        return ""
    charset = message.get_content_charset()
    text = _text(_payload(message), charset)
    if kind == "text/plain":
        return text.replace("\r\n", "\n")
    from metier.corpus.html import fragment_to_markdown

    return fragment_to_markdown(text)


def _attachments(message: Message) -> Iterator[tuple[str, Message]]:
    """Yield (file name, part) of what is attached: files, and forwarded messages."""
    if message.get_content_type() == "message/rfc822" and message.is_multipart():
        inner = message.get_payload(0)
        if isinstance(inner, Message):
            yield _file_name(message) or "message.eml", message
        return
    if message.is_multipart():
        for part in message.get_payload():
            if isinstance(part, Message):
                yield from _attachments(part)
        return
    is_text = message.get_content_type() in ("text/plain", "text/html")
    shown = is_text and message.get_content_disposition() != "attachment"
    picture = message.get_content_maintype() in ("image", "audio", "video")
    if not shown and not picture and _payload(message):
        yield _file_name(message), message


def _file_name(message: Message) -> str:
    said = message.get_filename() or ""
    with suppress(MessageError, ValueError):
        said = "".join(_text(p, c) if isinstance(p, bytes) else p for p, c in decode_header(said))
    return said.replace("\\", "/").rpartition("/")[2].strip()


def _payload(message: Message) -> bytes:
    if message.get_content_type() == "message/rfc822":
        return b"".join(part.as_bytes() for part in message.get_payload() if isinstance(part, Message))
    found = message.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _text(data: bytes, charset: str | None) -> str:
    """Return text in the charset that is claimed, in another where that is wrong, with marks where none is right."""
    if not data.strip():
        return ""
    try:
        return decode(data, charset)
    except (Undecodable, LookupError):
        return data.decode("utf-8", "replace")
