"""The step that gives a model trained further on documents the manners of a chat model, by arithmetic alone."""

from __future__ import annotations

import gc
import itertools
import shutil
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from metier.core import Estimate, Failure, Host, Mistake, Step, Work
from metier.core.files import write_json_atomic
from metier.core.journal import append_to_journal, read_journal
from metier.core.types import HELD_OUT, Conversations, Documents, Model
from metier.train.weights.merge_models import Format, estimate_of_copy

if TYPE_CHECKING:
    from pathlib import Path

    from metier.core.chat import Message
    from metier.train.weights.search import Measured
    from metier.train.weights.vector import Vector

_MEASURED = ".measured.jsonl"
_CHAT = "chat"


class ChatVector(Step[Model]):
    """Add what turned a base into a chat model to a model that was trained further from that base.

    model + α (chat - base), after Huang et al. 2023. With several α each candidate is measured on held-out documents
    (what was learnt) and on conversations (what chat must keep); the table is `vector.json`. Embeddings are put
    together by token, so that vocabularies may differ: rows of the model alone stay as they are.
    """

    name: ClassVar[str] = "chat-vector"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    model: Step[Model] = Field(description="the base after further training (CPT)")
    base: Step[Model] = Field(description="the base itself")
    chat: Step[Model] = Field(description="the chat model made from the base; gives the chat template")
    alpha: float | tuple[float, ...] = Field(1.0, description="how much of the vector is added; a list is searched on")
    documents: Step[Documents] | None = Field(None, description="documents of the domain; held-out ones are read")
    conversations: tuple[Step[Conversations], ...] = Field(
        (), description="general conversations with good replies, best the chat model's own (the step 'rehearsal')"
    )
    characters: int = Field(40_000, ge=1, description="most characters of `documents` that are read for each α")
    talks: int = Field(32, ge=1, description="most conversations that are read and answered for each α")
    answer_tokens: int = Field(96, ge=1, description="most tokens of an answer; one that is longer has not ended")
    allowed: float = Field(
        0.05, ge=0, description="how much more than the chat model itself the result may lose on replies, as a share"
    )
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="arithmetic of the measurements")
    dtype: Format = Field("own", description="number format of the result; own: that of `model`")
    shard_gigabytes: float = Field(4.0, gt=0, description="largest file of weights, in 2^30 bytes")

    @model_validator(mode="after")
    def _searchable(self) -> ChatVector:
        if isinstance(self.alpha, tuple):
            if not self.alpha:
                raise ValueError("`alpha` is an empty list")
            if self.documents is None or not self.conversations:
                raise ValueError("a search needs `documents` and `conversations`; or give one `alpha`")
        return self

    def run(self, work: Work) -> None:
        """Measure each α where there are several, and write the chosen model."""
        from metier.train.weights.folder import ModelFolder
        from metier.train.weights.vector import Vector

        model, base, chat = (
            ModelFolder(work.made(step).model_folder, called)
            for step, called in ((self.model, "model"), (self.base, "base"), (self.chat, "chat"))
        )
        vector = Vector(model, base, chat)
        for told in vector.told:
            work.warn(told)
        alpha = self._search(work, vector) if isinstance(self.alpha, tuple) else self.alpha
        self._write(work, vector, alpha, work.folder / "model")
        work.count("tensor", len(model.names), len(model.names), made={"tensor": len(model.names)})
        work.figure("alpha", alpha)

    def estimate(self, host: Host) -> Estimate | None:
        """Return what writing takes, for each α; None where the model's shape is not known."""
        tries = len(self.alpha) + 1 if isinstance(self.alpha, tuple) else 1
        one = estimate_of_copy(self.base, 3)
        if one is None or one.seconds is None or one.disk_bytes is None:
            return one
        return one._replace(seconds=one.seconds * tries, disk_bytes=one.disk_bytes * min(tries, 2))

    def _write(self, work: Work, vector: Vector, alpha: float, folder: Path) -> None:
        from metier.train.weights.folder import write_folder

        changes = vector.dress(folder)
        plans = vector.model.plans(None if self.dtype == "own" else self.dtype)
        shard_bytes = round(self.shard_gigabytes * 2**30)
        write_folder(work, folder, vector.model, plans, vector.sum(alpha), shard_bytes, changes, f"adding {alpha:g}")

    def _search(self, work: Work, vector: Vector) -> float:
        from metier.train.weights.search import Measured, choose

        assert isinstance(self.alpha, tuple)
        texts, talks = self._texts(work), self._talks(work)
        journal = work.folder / _MEASURED
        known = {name: Measured(*values) for name, *values in read_journal(journal)}
        wanted: dict[str, float | None] = {_CHAT: None, **{f"{alpha:g}": alpha for alpha in (0.0, *self.alpha)}}
        with work.progress("measuring", 3 * len(wanted), "measurements") as bar:
            bar.resume_at(3 * len(known))
            for name, alpha in wanted.items():
                if name in known:
                    continue
                found = self._measure(work, vector, alpha, texts, talks, bar.advance)
                append_to_journal(journal, [[name, *found]])
                known[name] = found
        shutil.rmtree(work.folder / ".candidate", ignore_errors=True)
        searched = [known[f"{alpha:g}"] for alpha in self.alpha]
        chosen = choose(searched, known[_CHAT], self.allowed)
        self._tell(work, known, searched, chosen.alpha)
        if not chosen.within:
            work.warn(f"no α keeps within {self.allowed:.0%} of the chat model on replies; took the nearest")
        return chosen.alpha

    def _measure(
        self,
        work: Work,
        vector: Vector,
        alpha: float | None,
        texts: list[str],
        talks: list[list[Message]],
        seen: Any,
    ) -> Measured:
        from metier.core.engine import EngineChat
        from metier.train.weights.search import measure

        folder = vector.chat.folder
        if alpha is not None:
            folder = work.folder / ".candidate"
            shutil.rmtree(folder, ignore_errors=True)
            self._write(work, vector, alpha, folder)
        chat = EngineChat(folder, work.host, self.precision)
        found = measure(chat, alpha or 0.0, texts, talks, self.answer_tokens, seen)
        del chat
        gc.collect()
        if found.domain != found.domain or found.replies != found.replies:
            raise Failure(f"the model with α = {alpha} gives no numbers", hint="try smaller values")
        return found

    def _tell(self, work: Work, known: dict[str, Measured], searched: list[Measured], alpha: float) -> None:
        from metier.train.weights.search import pareto

        front = {one.alpha for one in pareto(searched)}
        rows = [{**one._asdict(), "pareto": one.alpha in front, "chosen": one.alpha == alpha} for one in searched]
        told = {
            "rule": f"lowest loss on documents among those that lose at most {self.allowed:.0%} more on replies than "
            "the chat model and end at most a tenth fewer answers; if none does, lowest loss on replies",
            "units": {"domain": "bits a byte", "replies": "bits a byte", "ended": "share of answers"},
            "chat": {name: value for name, value in known[_CHAT]._asdict().items() if name != "alpha"},
            "without": known["0"]._asdict(),
            "candidates": rows,
            "chosen": alpha,
        }
        write_json_atomic(work.folder / "vector.json", told)
        work.figure("candidates", rows)
        for row in rows:
            mark = "chosen" if row["chosen"] else ("" if row["pareto"] else "beaten by another")
            work.say(
                f"α {row['alpha']:<5g} documents {row['domain']:.3f} bits a byte, replies {row['replies']:.3f}, "
                f"answers ended {row['ended']:.0%}  {mark}"
            )

    def _texts(self, work: Work) -> list[str]:
        assert self.documents is not None
        made = work.made(self.documents)
        split = HELD_OUT if next(made.rows(HELD_OUT), None) is not None else None
        found: list[str] = []
        room = self.characters
        for document in made.rows(split):
            if room <= 0:
                break
            found.append(document.text[:room])
            room -= len(found[-1])
        if not found:
            raise Mistake("`documents` holds no text", hint="give documents of the domain")
        return found

    def _talks(self, work: Work) -> list[list[Message]]:
        rows = itertools.chain.from_iterable(work.made(step).rows() for step in self.conversations)
        talks = [row.messages for row in rows if row.messages[-1].role == "assistant" and row.messages[-1].content]
        if not talks:
            raise Mistake("`conversations` holds no reply", hint="give conversations that end in an assistant's turn")
        return talks[: self.talks]
