"""What a model may have lost: its replies to general requests, and whether it now answers everything in SQL."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, NamedTuple

from metier.core.chat import Decoding, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from metier.core.engine import EngineChat


class Request(NamedTuple):
    """One general request of a list."""

    id: str
    subject: str
    prompt: str


def general_requests(use: Literal["examination", "rehearsal"], limit: int, rng: random.Random) -> list[Request]:
    """Return at most `limit` general requests, as many of each subject as of any other (one more or less)."""
    import yaml

    listed = yaml.safe_load(files("metier.evaluate").joinpath("general_prompts.yaml").read_text(encoding="utf-8"))[use]
    queues = []
    for subject, prompts in listed.items():
        requests = [Request(f"{use}/{subject}/{at}", subject, prompt) for at, prompt in enumerate(prompts)]
        queues.append(rng.sample(requests, len(requests)))
    rng.shuffle(queues)
    turns = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    return sorted(turns[:limit])


def conversation(prompt: str) -> list[Message]:
    """Return a general request as it is asked: alone, with the template's own system message, if it has one."""
    return [Message("user", prompt)]


def replies_to(
    chat: EngineChat, requests: Sequence[Request], max_tokens: int, seen: Callable[[int], None]
) -> list[str]:
    """Return a model's own greedy replies, cut at `max_tokens`. `seen(1)` is called as each comes."""
    answered = chat.complete(
        [conversation(request.prompt) for request in requests], Decoding(max_tokens=max_tokens), lambda *_: seen(1)
    )
    return [replies[0].text for replies in answered]


_FENCE = re.compile(r"```[ \t]*(\w*)[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_STATEMENT = re.compile(
    r"""^\s*(?:
        SELECT\b.+\bFROM\b | SELECT\s+(?:\*|\d|'|\w+\() | WITH\s+(?:RECURSIVE\s+)?\w+\s*(?:\([^)]*\))?\s*AS\s*\( |
        (?:INSERT|REPLACE)\s+(?:OR\s+\w+\s+)?INTO\b | UPDATE\s+\w+\s+SET\b | DELETE\s+FROM\b |
        CREATE\s+(?:TEMP\w*\s+|UNIQUE\s+|VIRTUAL\s+)*(?:TABLE|INDEX|VIEW|TRIGGER)\b |
        DROP\s+(?:TABLE|INDEX|VIEW|TRIGGER)\b |
        ALTER\s+TABLE\b | PRAGMA\s+\w+
    )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_SHOUTED = re.compile(r"^\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA|ALTER|EXPLAIN)\s+\S")


def sql_in_reply(reply: str) -> str | None:
    """Return why a reply to a general request counts as SQL, or None where it does not.

    It counts if a line begins a statement (a keyword with what must follow it, or a keyword in capitals), or if a code
    fence says sql. Prose that names a keyword does not: "Select a ripe melon from the shelf" is advice.
    """
    for language, inside in _FENCE.findall(reply):
        if language.lower() in ("sql", "sqlite", "postgresql", "mysql"):
            return f"a code fence of {language.lower()}"
        if not language and _begins_statement(inside, prose=False):
            return "a statement in a code fence"
    for line in _FENCE.sub("", reply).splitlines():
        if _begins_statement(line, prose=True):
            return f"a line that begins a statement: {line.strip()[:40]}"
    return None


def _begins_statement(text: str, prose: bool) -> bool:
    if _SHOUTED.match(text):
        return True
    # where prose may stand, lower case must look like code: a ';' at its end, or no article in it
    found = _STATEMENT.match(text)
    code = not prose or text.rstrip().endswith(";") or not re.search(r"\b(?:a|an|the|your|some)\b", text.lower())
    return bool(found) and code
