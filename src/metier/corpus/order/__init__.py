"""Put documents into another order: shuffled, from easy to hard, or like next to like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.types import Documents, Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.corpus.order.curriculum import KeyTask
    from metier.corpus.tasks import Tasks

By = Literal["shuffled", "length", "noise", "readability", "loss", "similarity"]


class Order(Step[Documents]):
    """Put documents into another order, each once. Those that are held out come last, as they were.

    `shuffled` is the control. `length`, `noise`, `readability` and `loss` are curricula from easy to hard. `similarity`
    lays each document next to the one it is most like, for in-context pre-training: pack it with a small `buffer` and
    `attention: window`. Memory: some 40 bytes a document; the text itself goes from disk to disk.
    """

    name: ClassVar[str] = "order"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="the documents")
    by: By = Field("shuffled", description="what the order goes by")
    descending: bool = Field(
        False, description="a curriculum from hard to easy: the longest, noisiest, unlikeliest first"
    )
    pacing: Literal["sorted", "linear", "root"] = Field(
        "sorted",
        description="a curriculum's pace: strictly sorted, or drawn at random from a share of the easiest that grows "
        "evenly or like a square root",
    )
    start: float = Field(0.1, gt=0, lt=1, description="with a pace: share of the documents drawn from at first")
    model: Step[Model] | None = Field(None, description="the model whose loss per byte `loss` goes by")
    embedder: LocalPath | None = Field(
        None, description="folder of a text encoder for `similarity`; null compares the documents' rarest words"
    )
    tokens: int = Field(512, ge=16, description="tokens of each document that a model or an encoder reads")
    seed: int = Field(0, ge=0, description="another seed shuffles, draws and groups otherwise")

    @model_validator(mode="after")
    def _fields_agree(self) -> Order:
        curriculum = self.by in ("length", "noise", "readability", "loss")
        if (self.model is not None) != (self.by == "loss"):
            raise ValueError("`model` is needed for `by: loss`, and used for nothing else")
        if self.embedder is not None and self.by != "similarity":
            raise ValueError("`embedder` is used for `by: similarity` only")
        if not curriculum and (self.descending or self.pacing != "sorted"):
            raise ValueError(f"`descending` and `pacing` say nothing of an order by {self.by}")
        return self

    def run(self, work: Work) -> None:
        """Write the documents in their new order."""
        import numpy as np

        from metier.corpus.order.curriculum import HARDNESS, KeyTask, ShardKeys, read_keys
        from metier.corpus.order.rearrange import rearrange
        from metier.corpus.tasks import tasks_over

        scratch = work.folder.absolute() / ".scratch-order"
        scratch.mkdir(exist_ok=True)
        shards = [shard.absolute() for shard in work.made(self.corpus).shards]
        tasks = [KeyTask(shard, scratch / f"shard-{at:05d}.npy") for at, shard in enumerate(shards)]
        with tasks_over(work, shards) as pool:
            with work.progress("measuring", len(tasks), "shards") as bar:
                counts = []
                for count in pool.every(ShardKeys(self.by if self.by in HARDNESS else None), tasks, what="measuring"):
                    counts.append(count)
                    bar.advance()
            if self.model is not None:
                from metier.corpus.order.by_model import loss_keys

                loss_keys(work, work.made(self.model).model_folder, tasks, self.tokens)
            keys, sizes, held_out = read_keys(tasks, counts)
            if not keys.size:
                raise Mistake("there are no documents to order", hint="look at what the steps before left out")
            order = self._order(work, pool, tasks, keys, held_out)
            rearrange(work, pool, shards, order, sizes, scratch)
        work.count("document", order.size, order.size, source="corpus", made={"document": int(order.size)})
        if self.by not in ("shuffled", "similarity"):
            names = ("least", "lower quarter", "median", "upper quarter", "most")
            values = np.quantile(keys, (0, 0.25, 0.5, 0.75, 1)).round(4).tolist()
            work.figure(self.by, dict(zip(names, values, strict=True)))

    def _order(
        self, work: Work, pool: Tasks, tasks: list[KeyTask], keys: NDArray[np.float64], held_out: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the documents' numbers in their new order."""
        import numpy as np

        from metier.core.permutation import Permutation
        from metier.corpus.order.curriculum import curriculum

        if self.by == "similarity":
            return self._similar(work, pool, [task.shard for task in tasks], held_out)
        train = np.flatnonzero(~held_out)
        if self.by == "shuffled":
            chosen: Any = Permutation(train.size, f"order/{self.seed}").whole()
        else:
            chosen = curriculum(keys[train], self.descending, self.pacing, self.start, self.seed)
        return np.concatenate([train[chosen], np.flatnonzero(held_out)])

    def _similar(self, work: Work, pool: Tasks, shards: list[Path], held_out: NDArray[np.bool_]) -> NDArray[np.int64]:
        from metier.corpus.order.in_context import similar_order
        from metier.corpus.order.neighbours import VectorTask

        scratch = work.folder.absolute() / ".scratch-order"
        tasks = [VectorTask(shard, scratch / f"vectors-{at:05d}") for at, shard in enumerate(shards)]
        if self.embedder is not None:
            from metier.corpus.order.by_model import embeddings

            embeddings(work, self.embedder.path, tasks, self.tokens)
        found = similar_order(work, pool, tasks, held_out, self.embedder is not None, self.seed)
        work.figure("similarity", {"neighbours": round(found.neighbours, 4), "shuffled": round(found.shuffled, 4)})
        return found.order
