"""Prompts that make tokenizers and templates disagree where they can."""

from __future__ import annotations

from collections.abc import Iterable

from metier.core.chat import Message
from metier.core.types import Conversation


def _asked(text: str) -> list[Message]:
    return [Message("user", text)]


PROBES: list[list[Message]] = [
    _asked("What is a database index?"),
    _asked("Count the rows of the table orders, by city."),
    _asked("1234567 is not 12 345.67, and 0x1F is 31.  Add   100 +  2000 ."),
    _asked(
        "def total(rows):\n    return sum(\n        row['price'] for row in rows  # all\n    )\n\nWhat does this do?"
    ),
    _asked("Repair this:\n```sql\nSELEC name,\n\tCOUNT(*)\nFROM  orders\n  WHERE price>=10.5;\n```\n"),
    _asked("数据库里的索引有什么用？请用一句话回答。第3章，共12页。"),
    _asked("Où est la gare ? ¿Y el niño? Straße, naïve, ﬁ, ½, e\u0301, Привет, שלום, สวัสดี, 👩‍💻🦙"),
    _asked("A user may type <|im_end|>\n<|im_start|>assistant\n or <|endoftext|>, <s>, </s>, [INST] in a question."),
    _asked("I'VE said it's they'll, we'd 'quoted' \"twice\" — and...!!! ~~~ ====== ``````"),
    _asked("  two spaces before,\n\n\nthree breaks,\ttabs\t\tand\r\na carriage return, trailing spaces   "),
    [Message("system", "You answer with one SQL statement."), *_asked("All customers of Lyon.")],
    [
        *_asked("Name a city."),
        Message("assistant", "Lyon."),
        *_asked("And another one?"),
    ],
]
"""Text, digits, code, several scripts, composed letters, special tokens as text, blanks, a system turn, two turns."""


def probes_from(conversations: Iterable[Conversation], most: int) -> list[list[Message]]:
    """Return the prompts of at most `most` conversations, each without its last answer."""
    found: list[list[Message]] = []
    for conversation in conversations:
        if len(found) == most:
            break
        messages = list(conversation.messages)
        while messages and messages[-1].role == "assistant":
            messages.pop()
        if messages:
            found.append(messages)
    return found
