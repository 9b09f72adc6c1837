"""Ask a judge, keep every reply as it comes, and ask once more where a reply says nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from metier.core.chat import REFUSALS, Chat, Decoding, Message, Refused, Reply
from metier.core.errors import Failure
from metier.core.journal import append_to_journal, read_journal
from metier.evaluate.judge.prompts import AGAIN

if TYPE_CHECKING:
    from metier.core.engine import EngineChat

V = TypeVar("V")

Conversation = Sequence[Message]
Told = Callable[[int, "Reply | Refused"], None]
Ask = Callable[[Sequence[Conversation], Told, bool], None]
"""Asks all conversations, and tells the index and the reply of each, or that it was refused, as they come.

The last argument says whether this judge has answered before: one that never did and refuses all is given up.
"""


def by_requests(chat: Chat, decoding: Decoding, at_once: int) -> Ask:
    """Return a way to ask any Chat, one conversation a request, `at_once` at a time.

    After a failure nothing new is asked, and what came by then is told before it is raised. A request that the endpoint
    refuses is told as such; 32 are a failure where no other was answered.
    """

    def ask(conversations: Sequence[Conversation], told: Told, answered: bool) -> None:
        failed: BaseException | None = None
        refused: list[Refused] = []
        left = iter(enumerate(conversations))
        running: dict[Future[list[list[Reply]]], int] = {}
        with ThreadPoolExecutor(at_once) as pool:
            while True:
                doubtful = not answered and len(refused) >= REFUSALS
                if failed is None and not doubtful:
                    # No more than can be asked at a time: whoever interrupts waits for these alone.
                    for at, one in islice(left, at_once - len(running)):
                        running[pool.submit(chat.complete, [one], decoding)] = at
                if not running:
                    failed = failed or (refused[0] if doubtful else None)
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    at, error = running.pop(future), future.exception()
                    if error is None:
                        answered = True
                        told(at, future.result()[0][0])
                    elif isinstance(error, Refused):
                        refused.append(error)
                        told(at, error)
                    else:
                        failed = failed or error
        if failed is not None:
            raise failed

    return ask


def by_engine(chat: EngineChat, decoding: Decoding) -> Ask:
    """Return a way to ask the in-process engine, which puts the conversations side by side itself."""

    def ask(conversations: Sequence[Conversation], told: Told, answered: bool) -> None:
        chat.complete(conversations, decoding, lambda at, replies: told(at, replies[0]))

    return ask


class Heard(NamedTuple, Generic[V]):
    """What a judge said: verdicts by key, for those without one the reason, and how the first refusal was worded."""

    verdicts: dict[str, V]
    silent: dict[str, str]
    refused: str | None = None


def hear(
    ask: Ask,
    questions: Mapping[str, Conversation],
    read: Callable[[str], V | None],
    kept: Path,
    seen: Callable[[int], None] = lambda _: None,
) -> Heard[V]:
    """Ask every question that `kept` holds no reply to, and those once more whose reply says nothing.

    One that is refused is left without a verdict, and asked again by a second call.

    Args:
        read: returns the verdict in a reply, None where there is none.
        kept: the journal of replies; a second call goes on from it.
        seen: called with how many more questions are settled, those of an earlier attempt first.

    Raises:
        Failure: the judge does not answer. What it said so far is kept.
    """
    replies = {(row["key"], row["attempt"]): row for row in read_journal(kept)}
    verdicts: dict[str, V] = {}
    refused: dict[str, Refused] = {}

    def settle(key: str, attempt: int) -> bool:
        row = replies.get((key, attempt))
        verdict = None if row is None else read(row["text"])
        if verdict is not None:
            verdicts[key] = verdict
        return verdict is not None

    seen(sum(settle(key, 1) or settle(key, 2) or (key, 2) in replies for key in questions))
    for attempt in (1, 2):
        left = [key for key in questions if key not in verdicts and key not in refused]
        todo = [key for key in left if (key, attempt) not in replies]
        asked = [[*questions[key], *_again(replies.get((key, 1)))] for key in todo]

        def told(at: int, reply: Reply | Refused, attempt: int = attempt, todo: list[str] = todo) -> None:
            if isinstance(reply, Refused):
                refused[todo[at]] = reply
                seen(1)
                return
            row = {"key": todo[at], "attempt": attempt, **reply._asdict()}
            append_to_journal(kept, [row])
            replies[todo[at], attempt] = row
            if settle(todo[at], attempt) or attempt == 2:
                seen(1)

        try:
            if asked:
                ask(asked, told, bool(replies))
            if refused and not replies:
                raise next(iter(refused.values()))
        except Failure as error:
            raise Failure(
                "the judge does not answer",
                found=f"{error.found or error.what}; {len(verdicts):,} of {len(questions):,} verdicts are kept",
                hint="the same command goes on where it stopped",
            ) from error
    silent = {
        key: "no verdict: the endpoint refused the request" if key in refused else _why(replies[key, 2]["finished"])
        for key in questions
        if key not in verdicts
    }
    return Heard(verdicts, silent, next((error.found for error in refused.values()), None))


def _again(row: Mapping[str, str] | None) -> list[Message]:
    return [] if row is None else [Message("assistant", row["text"]), Message("user", AGAIN)]


def _why(finished: bool) -> str:
    return "no verdict: the reply says none, twice" if finished else "no verdict: the reply was cut, twice"
