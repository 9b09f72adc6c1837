"""Replay rows without any data set: the origin model's own replies to general requests, to keep what it can do."""

from __future__ import annotations

import random
import re
from typing import ClassVar

from pydantic import Field

from metier.core import Step, Work
from metier.core.chat import Decoding, Message, Reply
from metier.core.journal import append_to_journal, read_journal
from metier.core.types import Conversation, Conversations, Model
from metier.evaluate.forgetting import Request, conversation, general_requests


class Rehearsal(Step[Conversations]):
    """Make general conversations from a model's own greedy replies, for training to replay (self-distillation).

    Their requests are never those of the examination. A reply that was cut is kept as far as its last whole sentence.
    """

    name: ClassVar[str] = "rehearsal"
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    origin: Step[Model] = Field(description="The model whose abilities are to be kept.")
    prompts: int = Field(160, ge=1, le=204, description="How many of the 204 general requests to use.")
    max_tokens: int = Field(96, ge=8, description="Most tokens of a reply.")
    seed: int = Field(0, description="Another seed chooses other requests.")

    def run(self, work: Work) -> None:
        """Write the conversations."""
        from metier.core.engine import EngineChat

        requests = general_requests("rehearsal", self.prompts, random.Random(self.seed))
        log = work.folder / "replies.jsonl"
        known = {id: Reply(*reply) for id, *reply in read_journal(log)}
        left = [request for request in requests if request.id not in known]
        with work.progress("rehearsing", len(requests), "requests") as bar:
            bar.resume_at(len(requests) - len(left))

            def replied(at: int, replies: list[Reply]) -> None:
                known[left[at].id] = replies[0]
                append_to_journal(log, [[left[at].id, *replies[0]]])
                bar.advance()

            if left:
                chat = EngineChat(work.made(self.origin).model_folder, work.host)
                asked = [conversation(request.prompt) for request in left]
                chat.complete(asked, Decoding(max_tokens=self.max_tokens), replied)
        rows = [row for request in requests if (row := rehearsed(request, known[request.id])) is not None]
        Conversations.write(work.folder, rows)
        log.unlink(missing_ok=True)
        empty = {"no whole sentence": len(requests) - len(rows)} if len(rows) < len(requests) else {}
        work.count("request", len(requests), len(rows), empty, made={"conversation": len(rows)})


def rehearsed(request: Request, reply: Reply) -> Conversation | None:
    """Return a training row, or None where the reply holds no whole sentence."""
    text = reply.text.strip() if reply.finished else whole_sentences(reply.text)
    if not text:
        return None
    messages = [*conversation(request.prompt), Message("assistant", text)]
    return Conversation(request.id, messages, "general", source="rehearsal")


_SENTENCE_END = re.compile(r"(?<!\d)[.!?](?=\s|$)|[。！？]")


def whole_sentences(text: str) -> str:
    """Return a cut text up to its last sentence end; a number's point ("2.") is none."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]].strip() if ends else ""
