"""The step that measures how well a model predicts held-out texts, per token and per byte."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.files import write_json_atomic
from metier.core.types import HELD_OUT, Documents, Model, Score, Scores
from metier.evaluate import perplexity
from metier.evaluate.answer_log import AnswerLog
from metier.evaluate.material import Passage
from metier.evaluate.statistics import ratio_of_clusters

if TYPE_CHECKING:
    from metier.core.engine import EngineChat

HARNESS = 1
"""Raised when the same texts would give another figure."""

CROSS_ENTROPY, BITS_PER_BYTE = "cross_entropy", "bits_per_byte"
_ALL = "texts"


class Perplexity(Step[Scores]):
    """Measure a model's perplexity and cross-entropy on a set of texts, with a sliding window.

    Every token of a text is scored once, the first one after the token that begins a text; tokens after the first
    window are scored with at least `window - stride` tokens before them. Per byte, models with unlike tokenizers can be
    compared; per token, readers know the numbers. The interval is over documents. Each text is written down as it is
    read, so a killed run goes on with the next.
    """

    name: ClassVar[str] = "perplexity"
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    model: Step[Model] = Field(description="The model.")
    texts: Step[Documents] | LocalPath = Field(
        description="Documents; or a file: JSON lines with `text`, or plain text, which is one document."
    )
    split: str | None = Field(HELD_OUT, description="Only documents of this split; `null` reads all. Files have none.")
    limit: int | None = Field(None, ge=1, description="So many documents at the most, drawn by `seed`.")
    window: int = Field(1024, ge=2, description="Tokens read at once; none above what the model can read.")
    stride: int = Field(
        512, ge=1, description="Tokens by which windows advance: fewer give more context, and take longer."
    )
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="Arithmetic of the measurement.")
    seed: int = Field(0, description="Another seed draws other documents.")
    called: str | None = Field(
        None, description="What the set is called in tables; its split if not given. `general` counts as forgetting."
    )
    label: str | None = Field(None, description="What the model is called in tables; its step's name if not given.")

    @model_validator(mode="after")
    def _windows_meet(self) -> Self:
        if self.stride >= self.window:
            raise ValueError(
                f"`stride` ({self.stride}) is below `window` ({self.window}): windows share a token at least"
            )
        return self

    def run(self, work: Work) -> None:
        """Write scores.json, answers.jsonl and exam.json."""
        from metier.core.engine import EngineChat

        passages, dropped = self._passages(work)
        chat = EngineChat(work.made(self.model).model_folder, work.host, self.precision)
        if self.window > chat.network.longest:
            raise Mistake(
                f"a window of {self.window} tokens is longer than the model can read",
                found=f"the model takes {chat.network.longest}",
                hint="lower `window`, for all models that are to be compared",
            )
        log = AnswerLog(work.folder / "answers.jsonl")
        with work.progress("reading", sum(len(passage.text) for passage in passages), "characters") as bar:
            perplexity.read_passages(chat, passages, self.window, log, bar.advance, self.stride)
        rows = log.finish(map(perplexity.passage_place, passages))
        figures = cross_entropies(rows, self.label or self.model.name)
        write_json_atomic(work.folder / "scores.json", [figure._asdict() for figure in figures])
        card = self._card(passages, chat)
        write_json_atomic(work.folder / "exam.json", card)
        came = len(rows) + sum(dropped.values())
        work.count("text", came, len(rows), dropped, made={"graded item": len(rows)})
        work.figure("exam", card["digest"])
        work.figure("conditions", card["conditions"])
        for unit in ("tokens", "bytes"):
            work.figure(unit, sum(row[unit] for row in rows))
        for figure in figures:
            work.figure(f"{figure.name}/{figure.split}", round(figure.value, 4))

    def _passages(self, work: Work) -> tuple[list[Passage], dict[str, int]]:
        """Return the texts to read, and how many are not read, by reason."""
        called = self.called or (self.split if isinstance(self.texts, Step) and self.split else _ALL)
        if isinstance(self.texts, Step):
            found = [(row.id, row.text) for row in work.made(self.texts).rows(self.split)]
        else:
            found = list(_texts_of(self.texts.path))
        if not found:
            raise Mistake(
                "there is no text to read",
                found=f"no document of the split '{self.split}'" if isinstance(self.texts, Step) else "an empty file",
                hint="give it the result of a `split` step, or `split: null` to read all documents",
            )
        passages = [Passage(id, called, id, text) for id, text in found if text.strip()]
        if not passages:
            raise Mistake("every text is empty", found=f"{len(found)} texts", hint="look at what `texts` reads")
        empty, whole = len(found) - len(passages), len(passages)
        if self.limit is not None and self.limit < len(passages):
            chosen = set(random.Random(self.seed).sample(range(len(passages)), self.limit))
            passages = [passage for at, passage in enumerate(passages) if at in chosen]
        dropped = {"empty": empty, "over the limit": whole - len(passages)}
        return passages, {why: count for why, count in dropped.items() if count}

    def _card(self, passages: Sequence[Passage], chat: EngineChat) -> dict[str, Any]:
        texts = hashlib.sha256()
        for passage in passages:
            texts.update(json.dumps([passage.id, passage.split, passage.text]).encode())
        conditions = {
            "harness": HARNESS,
            "window": self.window,
            "stride": self.stride,
            "precision": self.precision,
            "texts": texts.hexdigest(),
        }
        digest = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()
        return {"digest": digest, "conditions": conditions, "counts": {"texts": len(passages)}}


def cross_entropies(rows: Sequence[dict[str, Any]], model: str) -> list[Score]:
    """Return the perplexities of one set per byte and per token, and their logarithms: bits a byte, nats a token."""
    split = rows[0]["split"]
    nats, clusters = [row["nats"] for row in rows], [row["cluster"] for row in rows]
    found = perplexity.perplexities(rows, model)
    for name, unit, one in ((BITS_PER_BYTE, "bytes", math.log(2)), (CROSS_ENTROPY, "tokens", 1.0)):
        interval = ratio_of_clusters([value / one for value in nats], [row[unit] for row in rows], clusters)
        found.append(perplexity.score(name, model, split, interval))
    return found


def _texts_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text of each row of a file.

    Raises:
        Mistake: the file is not UTF-8, or a line has no text or one that UTF-8 cannot write.
    """
    try:
        whole = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise Mistake(f"{path.name} cannot be read as UTF-8 text", found=str(error)) from error
    if path.suffix not in (".jsonl", ".ndjson"):
        yield path.name, whole
        return
    ids: set[str] = set()
    for number, line in enumerate(whole.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise Mistake(f"{path.name}:{number} is not JSON", found=str(error)) from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            found = ", ".join(row) if isinstance(row, dict) else type(row).__name__
            raise Mistake(f"{path.name}:{number} has no 'text'", found=found, hint='{"id": ..., "text": ...}')
        id = str(number if row.get("id") is None else row["id"])
        try:
            (id + row["text"]).encode()
        except UnicodeEncodeError as error:
            raise Mistake(
                f"{path.name}:{number} holds half a character (a lone surrogate, \\ud800 to \\udfff)",
                found=ascii(error.object[max(0, error.start - 20) : error.end + 20]),
                hint="write the other half behind it, or leave it out",
            ) from error
        if id in ids:
            raise Mistake(f"{path.name}:{number} has an id that was there before", found=id)
        ids.add(id)
        yield id, row["text"]
