"""The step that gives a model pieces of words that its domain uses, so that text takes fewer tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from metier.core import Estimate, Host, Mistake, Step, Work
from metier.core.files import write_json_atomic
from metier.core.types import HELD_OUT, TRAIN, Documents, Model
from metier.train.memory import config_of
from metier.train.weights.merge_models import Format, estimate_of_copy

if TYPE_CHECKING:
    from pathlib import Path

    from metier.core.types import Document
    from metier.train.weights.pieces import Piece

_PIECES = "pieces.json"
_OUTDATED = ("vocab.json", "merges.txt", "vocab.txt")  # the same vocabulary again, for older readers


class ExpandVocabulary(Step[Model]):
    """Learn pieces from documents, add them to tokenizer and embeddings, and measure what that does before training.

    Old ids and merges stay, so that text without new pieces is cut as before. New rows are the mean of the rows of the
    pieces they replace, in input and output embeddings. The model has to be trained further (`cpt`) before it is better
    for it; until then its loss on the domain is higher, and the record says how much.
    """

    name: ClassVar[str] = "expand-vocabulary"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    model: Step[Model] = Field(description="the model to give new pieces")
    corpus: Step[Documents] = Field(description="documents of the domain: pieces from 'train', figures from 'held_out'")
    general: Step[Documents] | None = Field(None, description="general documents, to measure that little changes there")
    pieces: int = Field(1000, ge=1, description="most pieces that are added")
    least: int = Field(20, ge=2, description="how often a pair of pieces must occur to become one")
    multiple: int = Field(1, ge=1, description="pad the embeddings to a multiple of this many rows (64 suits GPUs)")
    characters: int = Field(200_000_000, ge=1, description="most characters that are learnt from")
    measured_characters: int = Field(
        40_000, ge=0, description="most characters of held-out text read by the model; 0: none"
    )
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="arithmetic of the measurements")
    dtype: Format = Field("own", description="number format of the result; own: that of `model`")
    shard_gigabytes: float = Field(4.0, gt=0, description="largest file of weights, in 2^30 bytes")

    def run(self, work: Work) -> None:
        """Learn, extend, write, measure; what a killed attempt learnt and wrote is kept."""
        from metier.train.weights.folder import ModelFolder, write_folder
        from metier.train.weights.pieces import bpe_of, write_tokenizer
        from metier.train.weights.rows import check_written, extending, plans_with_rows, rows_needed

        before = ModelFolder(work.made(self.model).model_folder, "the model")
        tokenizer = bpe_of(before.folder)
        learnt = self._learn(work, tokenizer)
        target = work.folder / "model"
        write_tokenizer(before.folder, target, learnt)
        rows = rows_needed(before, len(learnt), self.multiple)
        plans = plans_with_rows(before, rows, None if self.dtype == "own" else self.dtype)
        produce = extending(before, tokenizer, learnt, rows)
        shard_bytes = round(self.shard_gigabytes * 2**30)
        write_folder(work, target, before, plans, produce, shard_bytes, {"vocab_size": rows}, "writing")
        for name in _OUTDATED:
            (target / name).unlink(missing_ok=True)
        check_written(before, target, rows)
        self._measure(work, before.folder, target)
        work.count("piece", len(learnt), len(learnt), made={"piece": len(learnt)})
        work.figure("pieces", len(learnt))
        work.figure("rows", {"before": before.weights.shape(before.inputs)[0], "after": rows})

    def estimate(self, host: Host) -> Estimate | None:
        """Return what writing takes; None where the model's shape is not known."""
        return estimate_of_copy(self.model, 1)

    def shape(self) -> dict[str, Any] | None:
        """Return the model's shape with as many rows as all pieces need."""
        config = config_of(self.model)
        if config is None or "vocab_size" not in config:
            return config
        rows = config["vocab_size"] + self.pieces
        return {**config, "vocab_size": -(-rows // self.multiple) * self.multiple}

    def _learn(self, work: Work, tokenizer: Any) -> list[Piece]:
        from metier.train.weights.pieces import Piece, learn, words_of

        path = work.folder / _PIECES
        if path.is_file():
            return [Piece(*row) for row in json.loads(path.read_text())]
        made = work.made(self.corpus)
        split = TRAIN if next(made.rows(TRAIN), None) is not None else None
        with work.progress("counting words", unit="documents") as bar:
            words = words_of(tokenizer, _texts(made.rows(split), self.characters, bar.advance))
        with work.progress("learning pieces", self.pieces, "pieces") as bar:
            learnt = learn(tokenizer, words, self.pieces, self.least)
            bar.advance(len(learnt))
        if not learnt:
            raise Mistake(
                "the documents ask for no new piece",
                found=f"no pair of pieces occurs {self.least} times in {sum(words.values()):,} words",
                hint="give more documents, or lower `least`",
            )
        if len(learnt) < self.pieces:
            work.warn(f"only {len(learnt):,} of {self.pieces:,} pieces: no further pair occurs {self.least} times")
        write_json_atomic(path, [list(piece) for piece in learnt])
        return learnt

    def _measure(self, work: Work, before: Path, after: Path) -> None:
        from metier.train.weights.pieces import compared
        from metier.train.weights.text_loss import bits_per_byte

        told: dict[str, Any] = {}
        for name, source in (("domain", self.corpus), ("general", self.general)):
            if source is None:
                continue
            made = work.made(source)
            split = HELD_OUT if next(made.rows(HELD_OUT), None) is not None else None
            if name == "domain" and split is None:
                work.warn("no document is held out: fertility is measured on the text that was learnt from")
            texts = list(_texts(made.rows(split), 5_000_000))
            told[name] = compared(before, after, texts)
            some = list(_texts(iter(made.rows(split)), self.measured_characters))
            if some:
                told[name]["bits_per_byte"] = {
                    "before": round(bits_per_byte(before, some, work.host, self.precision), 4),
                    "after": round(bits_per_byte(after, some, work.host, self.precision), 4),
                }
        work.figure("text", told)
        for name, one in told.items():
            work.say(
                f"{name}: {one['tokens_per_word']['before']} → {one['tokens_per_word']['after']} tokens a word, "
                f"{one['words_cut_otherwise']:.1%} of the words are cut otherwise"
            )


def _texts(documents: Iterable[Document], characters: int, seen: Any = None) -> Iterable[str]:
    for document in documents:
        if characters <= 0:
            return
        yield document.text[:characters]
        characters -= len(document.text)
        if seen is not None:
            seen()
