"""Turn documents into packed shards of token ids that a trainer streams."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.core import Mistake, Step, Work
from metier.core.tokens import Attention, Layout, Shard, Tokens, write_layout
from metier.core.types import Documents, Model

if TYPE_CHECKING:
    from metier.corpus.pack.ids import Prepared
    from metier.corpus.pack.shards import Packed, PackTask


class Pack(Step[Tokens]):
    """Tokenise documents and pack them into windows of one length, to be streamed by a training.

    No document is cut unless it is longer than a window, each ends in the tokenizer's document end, and where each
    begins is kept. The windows are the same to the byte whatever the number of workers; a killed attempt goes on with
    the next shard.
    """

    name: ClassVar[str] = "pack"
    extras: ClassVar[tuple[str, ...]] = ("corpus", "train")

    corpus: Step[Documents] = Field(description="the documents; those of the split 'train' are packed")
    model: Step[Model] = Field(description="the model whose tokenizer is used")
    sequence_length: int = Field(2048, ge=16, description="tokens of a window")
    buffer: int | None = Field(
        None,
        ge=1,
        description="pieces that may wait for a window with room, for documents whose order counts: 32 costs some 2% "
        "of padding; null packs a whole shard at once, as tight as can be, and shuffles the windows",
    )
    attention: Attention = Field(
        "document",
        description="'document': a token sees only its own document; 'window': all before it in the window, as "
        "in-context pre-training wants",
    )
    unsplit: bool = Field(False, description="whether documents that were never split are packed too")
    seed: int = Field(0, description="seed of the order of windows in a shard")

    def run(self, work: Work) -> None:
        """Write the windows and how they are laid out."""
        from metier.corpus.pack.ids import ModelFolder, prepare
        from metier.corpus.pack.shards import Packing, tasks
        from metier.corpus.tasks import done_apart, tasks_over

        documents = work.made(self.corpus)
        folder = ModelFolder(work.made(self.model).model_folder.absolute(), work.folder.absolute() / ".scratch")
        prepared = done_apart(work, documents.shards, prepare, folder, "preparing the tokenizer")
        packing = Packing(
            prepared.encoder, self.sequence_length, self.buffer, self.seed, self.unsplit, prepared.size <= 1 << 16
        )
        todo = tasks([shard.absolute() for shard in documents.shards], work.folder.absolute() / "tokens")
        results: list[Packed] = []
        with (
            work.progress("packing", documents.record.ledger.made("document"), "documents") as bar,
            tasks_over(work, documents.shards) as pool,
        ):
            for packed in pool.every(packing, todo, what="packing documents"):
                results.append(packed)
                bar.advance(packed.came)
        self._finish(work, prepared, todo, results)

    def _finish(self, work: Work, prepared: Prepared, todo: list[PackTask], results: list[Packed]) -> None:
        """Write the layout, the ledger and the figures. Raises Mistake if nothing was packed."""
        dropped, channels = Counter[str](), Counter[str]()
        for packed in results:
            dropped.update(packed.dropped)
            channels.update(packed.channels)
        came, kept, windows, tokens, pieces, cut = (
            sum(getattr(packed, field) for packed in results)
            for field in ("came", "kept", "windows", "tokens", "pieces", "cut")
        )
        if not kept:
            raise Mistake(
                "there is no text to pack",
                found="; ".join(f"{count} documents: {reason}" for reason, count in dropped.most_common(3))
                or "nothing",
                hint="put the step 'split' or 'mix' before this one, or set `unsplit: true`",
            )
        shards = [Shard(task.out.name, done.windows, done.tokens) for task, done in zip(todo, results, strict=True)]
        layout = Layout(
            self.sequence_length,
            self.attention,
            self.buffer is not None,
            prepared.vocabulary,
            prepared.encoder.end,
            shards,
        )
        write_layout(work.folder, layout)
        work.count("document", came, kept, dropped, source="corpus", made={"window": windows, "token": tokens})
        work.figure("windows", windows)
        work.figure("tokens", tokens)
        work.figure("document_end", prepared.end_token)
        work.figure("padding_share", round(1 - tokens / (windows * self.sequence_length), 5))
        work.figure("documents_cut", cut)
        work.figure("pieces", pieces)
        if set(channels) != {""}:
            work.figure("channel_tokens", dict(sorted(channels.items())))
