"""Open questions from held-out documents: what is X, what does Y do, what does the manual say about Z.

The reference is the document's own sentences. Shared words with it are a screening, and say little of one answer: for
what matters, let people or a judge read the answers.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Iterable, Sequence

from metier.core.chat import Message
from metier.core.entries import entries
from metier.core.questions import Pair, pair, vocabulary
from metier.core.types import HELD_OUT, Conversation, Document
from metier.evaluate import dimensions
from metier.evaluate.multiple_choice import Item

TASK = "open"
SHEET = "questions.csv"
"""The exam as a table for people to read and amend, and for `own-exam` to read again."""

_BOM = "\ufeff"  # without it Excel takes a CSV for one in the encoding of its country, and garbles Chinese


def open_questions(documents: Iterable[Document], known: Iterable[Conversation], seed: int) -> list[Conversation]:
    """Return the open questions that documents give, in the order of their documents.

    Args:
        known: rows that are asked anyway: neither their questions nor their answers come again.
        seed: another seed words the questions differently.
    """
    asked = {_bare(row.messages[-2].content) for row in known if len(row.messages) > 1}
    asked |= {_bare(row.messages[-1].content) for row in known}
    found = []
    for document in sorted(documents, key=lambda document: document.id):
        words = vocabulary(document.text)
        for entry in entries(document.text, document.title):
            rng = random.Random(_digest(str(seed), document.id, entry.kind, entry.name))
            made = pair(entry, document.title, words, rng)
            if isinstance(made, Pair) and not {_bare(made.question), _bare(made.answer)} & asked:
                asked |= {_bare(made.question), _bare(made.answer)}
                found.append(_row(made, document))
    return found


def _row(made: Pair, document: Document) -> Conversation:
    return Conversation(
        id=_digest(document.id, made.question)[:16],
        messages=[Message("user", made.question), Message("assistant", made.answer)],
        task=f"{TASK}/{made.kind}",
        split=HELD_OUT,
        source=document.id,
        cluster=document.id,
        check={"scorer": "agreement", "reference": made.answer},
    )


def sheet(items: Sequence[Item], rows: Sequence[Conversation]) -> str:
    """Return multiple-choice and open questions as CSV, with the columns that `own-exam` reads.

    It begins with a byte order mark, by which spreadsheets know UTF-8. Tasks that are graded by running something are
    not in it.
    """
    options = max((len(item.options) for item in items), default=0)
    letters = [chr(ord("A") + at) for at in range(options)]
    out = io.StringIO(_BOM)
    out.seek(len(_BOM))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "dimension", "source", "question", *letters, "answer", "reference", "accepts", "system"])
    for item in items:
        cells = [*item.options, *[""] * (options - len(item.options))]
        dimension, right = dimensions.of_item(item), letters[item.answer]
        writer.writerow([item.id, dimension, item.source, item.question, *cells, right, "", "", ""])
    for row in rows:
        if (row.check or {}).get("scorer") == "agreement":
            reference, question = row.messages[-1].content, row.messages[-2].content
            source = row.cluster or row.source
            accepts = (row.check or {}).get("accepts")
            graded = ["", reference, json.dumps(accepts, ensure_ascii=False) if accepts else ""]
            system = "\n".join(message.content for message in row.messages if message.role == "system")
            writer.writerow([row.id, dimensions.of_row(row), source, question, *[""] * options, *graded, system])
    return out.getvalue()


def _bare(text: str) -> str:
    return " ".join(text.lower().split())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
