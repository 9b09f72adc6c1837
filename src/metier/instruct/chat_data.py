"""Steps that read conversations and preferences from the team's own files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.chat import Message
from metier.core.types import (
    HELD_OUT,
    TRAIN,
    Conversation,
    Conversations,
    Judgement,
    Judgements,
    Preference,
    Preferences,
)
from metier.instruct.formats import BadRow, Format, choice, talk, verdict
from metier.instruct.row_files import FileRow, files_of, read_file

T = TypeVar("T")
_EMPTY = "empty row"


class _RowFiles(BaseModel):
    """Fields of both steps."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    files: tuple[LocalPath, ...] = Field(min_length=1, description="JSON, JSON lines, CSV, Parquet, or folders of them")
    columns: dict[str, str] = Field({}, description="the files' names of fields, where they differ: {output: answer}")
    bad_rows: Literal["raise", "drop"] = Field("raise", description="what to do with a row that cannot be read")


class ChatData(Step[Conversations], _RowFiles):
    """Read conversations in any of the usual formats, found by the names of their fields.

    alpaca (instruction, input, output, system, history), ShareGPT (conversations of from and value), OpenAI (messages
    of role and content, with tool calls, weights and reasoning), and prompt with completion. A row's own `id` and
    `split` are kept.
    """

    name: ClassVar[str] = "chat-data"
    extras: ClassVar[tuple[str, ...]] = ()

    format: Literal["auto"] | Format = Field("auto", description="the rows' format; auto looks at each row's fields")
    task: str = Field("chat", description="what the rows are examined and counted as")
    system: str | None = Field(None, description="system message of rows that have none")
    trained: Literal["all", "last"] = Field("all", description="which answers are trained if rows do not say it")
    reasoning: Literal["keep", "drop"] = Field("keep", description="whether what the model thought is trained too")
    held_out_share: float = Field(0.0, ge=0, lt=1, description="share of the rows held out, drawn by prompt")
    seed: int = Field(0, description="of which rows are held out")

    def run(self, work: Work) -> None:
        """Write the conversations, and count what was left out."""
        dropped: Counter[str] = Counter()
        counts: Counter[str] = Counter()

        def conversations() -> Iterator[Conversation]:
            for _, conversation in _read(self, work, self._conversation, dropped):
                counts[conversation.split] += 1
                yield conversation

        kept = Conversations.write(work.folder, conversations())
        _count(work, "conversation", kept, dropped)
        work.figure("rows", dict(sorted(counts.items())))

    def _conversation(self, row: FileRow, fields: dict[str, Any]) -> Conversation:
        found = talk(fields, None if self.format == "auto" else self.format, self.reasoning == "keep")
        messages, weights = found
        if self.system is not None and messages[0].role != "system":
            messages = [Message("system", self.system), *messages]
            weights = None if weights is None else [0, *weights]
        if weights is None and self.trained == "last":
            weights = [0] * (len(messages) - 1) + [1]
        question = "\n".join(message.content for message in messages if message.role == "user")
        return Conversation(
            str(fields.get("id") or row.place),
            messages,
            self.task,
            split=str(fields.get("split") or self._split(question)),
            source=row.file.name,
            weights=weights,
        )

    def _split(self, question: str) -> str:
        # By what is asked, so that the same question is never on both sides.
        digest = hashlib.sha256(f"{self.seed}/{question}".encode()).digest()
        return HELD_OUT if int.from_bytes(digest[:8], "big") < self.held_out_share * 2**64 else TRAIN


class PreferenceData(Step[Preferences], _RowFiles):
    """Read preference pairs: a prompt with `chosen` and `rejected`, as texts or messages, in any usual format."""

    name: ClassVar[str] = "preference-data"
    extras: ClassVar[tuple[str, ...]] = ()

    def run(self, work: Work) -> None:
        """Write the pairs, and count what was left out."""
        dropped: Counter[str] = Counter()
        kept = Preferences.write(work.folder, (pair for _, pair in _read(self, work, self._pair, dropped)))
        _count(work, "pair", kept, dropped)

    def _pair(self, row: FileRow, fields: dict[str, Any]) -> Preference:
        prompt, chosen, rejected = choice(fields)
        scores = []
        for side, default in (("chosen", 1.0), ("rejected", 0.0)):
            said = fields.get(f"{side}_score", fields.get(f"score_{side}"))
            try:
                scores.append(default if said in (None, "") else float(said))
            except (TypeError, ValueError):
                raise BadRow(
                    f"'{side}_score' is no number", repr(said)[:80], "leave it out, or write a number"
                ) from None
        name = str(fields.get("id") or row.place)
        reason = str(fields.get("reason") or "from a file")
        return Preference(name, prompt, chosen, rejected, scores[0], scores[1], reason, row.file.name)


class JudgementData(Step[Judgements], _RowFiles):
    """Read answers that were judged one by one: a prompt, its `completion`, and a `label` that is true or false.

    The prompt and the answer stand in any of the formats that `chat-data` reads.
    """

    name: ClassVar[str] = "judgement-data"
    extras: ClassVar[tuple[str, ...]] = ()

    def run(self, work: Work) -> None:
        """Write the judgements, and count what was left out."""
        dropped: Counter[str] = Counter()
        good = 0

        def judgements() -> Iterator[Judgement]:
            nonlocal good
            for _, judgement in _read(self, work, self._judgement, dropped):
                good += judgement.good
                yield judgement

        kept = Judgements.write(work.folder, judgements())
        _count(work, "judgement", kept, dropped)
        work.figure("judgements", {"good": good, "bad": kept - good})

    def _judgement(self, row: FileRow, fields: dict[str, Any]) -> Judgement:
        prompt, answer, good = verdict(fields)
        return Judgement(str(fields.get("id") or row.place), prompt, answer, good, row.file.name)


def _read(
    step: _RowFiles, work: Work, convert: Callable[[FileRow, dict[str, Any]], T], dropped: Counter[str]
) -> Iterator[tuple[FileRow, T]]:
    """Yield each row with what it became. Raises Mistake with place, finding and fix of the first bad row."""
    names = {theirs: ours for ours, theirs in step.columns.items()}
    files = [file for path in step.files for file in files_of(path.path)]
    with work.progress("reading", None, "rows") as bar:
        for row in (row for file in files for row in read_file(file)):
            bar.advance()
            fields = {names.get(name, name): value for name, value in row.fields.items() if name is not None}
            if not any(value not in (None, "", [], {}) for value in fields.values()):
                dropped[_EMPTY] += 1
                continue
            try:
                made = convert(row, fields)
            except BadRow as error:
                if step.bad_rows == "raise":
                    hint = f"{error.hint}; bad_rows: drop leaves such rows out"
                    raise Mistake(f"{row.place}: {error.what}", found=error.found, hint=hint) from error
                if not dropped[error.what]:
                    work.event("dropped", place=row.place, what=error.what, found=error.found)
                dropped[error.what] += 1
                continue
            yield row, made


def _count(work: Work, unit: str, kept: int, dropped: Counter[str]) -> None:
    if not kept:
        raise Mistake(
            f"the files gave no {unit}",
            found="; ".join(f"{count}: {reason}" for reason, count in dropped.most_common(3)) or "no rows",
            hint="look at the first row, and at `format` and `columns`",
        )
    work.count(unit, kept + dropped.total(), kept, dropped, made={unit: kept})
