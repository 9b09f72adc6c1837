"""Ask a model for questions about a document, and believe only answers that the document gives word for word."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from metier.core.chat import REFUSALS, Chat, Decoding, Message, Refused, Reply
from metier.core.markdown import blocks, plain
from metier.core.questions import Asked, Pair, Rejected, own_sentences
from metier.core.types import Document
from metier.core.work import Work

_PART_CHARS = 1800
_MIN_PART_CHARS = 300
_MAX_TOKENS = 700
_ORDER = (
    "You write study questions about technical documentation. Read the text and write {count} questions that it "
    "answers, each understandable without seeing the text. Copy each answer word for word from the text: one to three "
    'whole sentences. Reply with a JSON list only: [{{"question": "...", "answer": "..."}}]'
)


class Teacher:
    """A model that is asked about documents. Replies are kept in a file, so that nothing is asked twice after a kill.

    Args:
        chat: the model.
        model: its name, part of what a kept reply is known by.
        pairs: questions to ask for in each part of a document.
        kept: the file of replies, one JSON object a line.
    """

    def __init__(self, chat: Chat, model: str, pairs: int, kept: Path) -> None:
        self._chat, self._model, self._pairs, self._kept = chat, model, pairs, kept
        self._replies = _read_replies(kept)
        self.refused: list[Refused] = []

    def __call__(self, document: Document) -> Asked:
        """Return the grounded pairs about one document, and what was rejected.

        Raises:
            Failure: the model does not answer, or only refuses. What it answered so far is kept.
        """
        found: list[Pair] = []
        rejected: Counter[str] = Counter()
        for part in parts(document.text):
            try:
                reply = self._reply(part)
            except Refused as error:
                self.refused.append(error)
                if not self._replies and len(self.refused) == REFUSALS:
                    raise
                rejected["the teacher's endpoint refused to be asked"] += 1
                continue
            for one in read_pairs(reply, part):
                if isinstance(one, Pair):
                    found.append(one)
                else:
                    rejected[one.reason] += 1
        return Asked(found, rejected)

    def tell(self, work: Work) -> None:
        """Warn of what was refused to be asked. Raises Refused if nothing was answered."""
        if not self.refused:
            return
        if not self._replies:
            raise self.refused[0]
        work.warn(
            f"the teacher's endpoint refused {len(self.refused):,} requests, the first so: {self.refused[0].found}"
        )

    def _reply(self, part: str) -> Reply:
        order = _ORDER.format(count=self._pairs)
        key = hashlib.sha256("\n".join((self._model, order, part)).encode()).hexdigest()
        if key not in self._replies:
            conversation = [Message("system", order), Message("user", part)]
            reply = self._chat.complete([conversation], Decoding(max_tokens=_MAX_TOKENS))[0][0]
            self._replies[key] = reply
            with self._kept.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"key": key, **reply._asdict()}, ensure_ascii=False) + "\n")
        return self._replies[key]


def parts(text: str) -> Iterator[str]:
    """Yield a document in parts of whole blocks, each about `_PART_CHARS` long; code is passed over."""
    part: list[str] = []
    for block in blocks(text):
        if block.kind == "code":
            continue
        words = block.text if block.kind == "table" else plain(block.text)
        if part and sum(map(len, part)) + len(words) > _PART_CHARS:
            yield "\n\n".join(part)
            part = []
        part.append(words)
    if sum(map(len, part)) >= _MIN_PART_CHARS:
        yield "\n\n".join(part)


def read_pairs(reply: Reply, part: str) -> Iterator[Pair | Rejected]:
    """Yield the pairs in a reply, each kept only if its answer stands in the text it was asked about."""
    start, end = reply.text.find("["), reply.text.rfind("]")
    try:
        rows = json.loads(reply.text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):  # a reply that loops opens thousands of brackets
        rows = None
    if not isinstance(rows, list):
        yield Rejected("teacher's reply is no list of pairs" if reply.finished else "teacher's reply was cut")
        return
    said = " ".join(part.split())
    for row in rows:
        question, answer = (row.get("question"), row.get("answer")) if isinstance(row, dict) else (None, None)
        if not isinstance(question, str) or not isinstance(answer, str) or len(question.split()) < 3:
            yield Rejected("teacher's pair is incomplete")
            continue
        own = own_sentences(" ".join(answer.split()))
        if isinstance(own, Rejected):
            yield own
        elif own not in said:
            yield Rejected("teacher's answer is not in the document")
        else:
            yield Pair("teacher", " ".join(question.split()), own)


def _read_replies(path: Path) -> dict[str, Reply]:
    """Return the replies kept by an earlier attempt; a line cut by a kill is passed over."""
    replies: dict[str, Reply] = {}
    if not path.is_file():
        return replies
    text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.split("\n"):
        try:
            row = json.loads(line)
            replies[row["key"]] = Reply(row["text"], row["tokens"], row["finished"])
        except (ValueError, KeyError, TypeError):
            continue
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as out:
            out.write("\n")
    return replies
