"""What a question asks for, so that a report can say where a model is strong: the dimensions of the radar."""

from __future__ import annotations

from metier.core.types import Conversation
from metier.evaluate.multiple_choice import Item

TERMINOLOGY, SYNTAX, DISAMBIGUATION = "terminology", "syntax", "disambiguation"
UNDERSTANDING, REASONING = "understanding", "reasoning"
DIMENSIONS = (TERMINOLOGY, SYNTAX, DISAMBIGUATION, UNDERSTANDING, REASONING)
TASK = "task: "
"""What the dimension of a task begins with; its name follows."""

_REASONS = frozenset({"because", "if", "when", "for"})
_OPEN = {
    "function": UNDERSTANDING,
    "definition": TERMINOLOGY,
    "section": UNDERSTANDING,
    "document": UNDERSTANDING,
    "question": REASONING,
}


def of_item(item: Item) -> str:
    """Return the dimension of a multiple-choice question: the one it states, or what its kind asks for.

    Naming what is described, or saying what a defined thing is, is terminology. To know which sentence opens which of a
    document's sections is disambiguation. An ending that gives a cause or a condition is reasoning, any other
    understanding.
    """
    if item.dimension is not None:
        return item.dimension
    kind, _, joint = item.kind.partition(", ")
    if kind == "sentence ending":
        return REASONING if joint in _REASONS else UNDERSTANDING
    if kind == "section opening":
        return DISAMBIGUATION
    if kind.startswith("name") or kind == "definition ending":
        return TERMINOLOGY
    return UNDERSTANDING


def of_row(row: Conversation) -> str:
    """Return the dimension of a graded task: the one its check states, what its question is about, or the task itself.

    Questions on documents are labelled doc-qa/definition, open/section and so on.
    """
    stated = (row.check or {}).get("dimension")
    if isinstance(stated, str) and stated:
        return stated
    name, _, kind = row.task.partition("/")
    if name in ("doc-qa", "open") and kind in _OPEN:
        return _OPEN[kind]
    return f"{TASK}{row.task}"
