"""How hard a document is, and in which order a curriculum gives documents out."""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from metier.core.types import HELD_OUT
from metier.corpus.engine.shards import read_batches, spans, synced_rename

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pacing = Literal["sorted", "linear", "root"]

_CHARACTERS_READ = 100_000  # of a document; what follows is as hard as what came before
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[^\W\d_{_CJK}]+(?:['’\-][^\W\d_]+)*")
_IDEOGRAPH = re.compile(f"[{_CJK}]")
_SENTENCE_END = re.compile(r"[.!?:;](?=\s|$)|[。！？；：]|\n\s*\n")
# Chinese writes words, numbers and foreign names without spaces between them.
_TOKEN = re.compile(rf"[{_CJK}]+|[^\s{_CJK}，。！？；：、（）「」『』《》〈〉【】…—]+")
_PLAIN = re.compile(
    r"""["'“”‘’«»(\[]*+(?:[^\W\d_]++(?:['’\-/][^\W\d_]++)*+|\d++(?:[.,:/\-]\d++)*+%?)["'“”‘’«»)\].,;:!?…]*+"""
)
_CHARACTERS_A_WORD = 1.5  # of Chinese text, on the average


def length(text: str) -> float:
    """Return the characters of a text."""
    return float(len(text))


def noise(text: str) -> float:
    """Return the share of characters, white space apart, in what is neither a word nor a number: 0 is plain prose.

    Markup, symbols, addresses and the debris of a bad scan (`th3 qu|ck`) count as noise; an empty text is all noise.
    """
    clean = total = 0
    for token in _TOKEN.findall(text):
        total += len(token)
        clean += len(token) if _PLAIN.fullmatch(token) else 0
    return 1.0 - clean / total if total else 1.0


def readability(text: str) -> float:
    """Return LIX: words a sentence plus the percentage of words of more than six letters. 25 is easy, 55 hard.

    Björnsson 1968, "Läsbarhet". It needs no dictionary of syllables and was made for several languages. Chinese and
    Japanese characters count as words of 1.5 characters, none of them long; languages are not to be compared by it.
    """
    words = _WORD.findall(text)
    count = len(words) + len(_IDEOGRAPH.findall(text)) / _CHARACTERS_A_WORD
    if not count:
        return 0.0
    sentences = max(1, len(_SENTENCE_END.findall(text)))
    return count / sentences + 100.0 * sum(len(word) > 6 for word in words) / count


HARDNESS: dict[str, Callable[[str], float]] = {"length": length, "noise": noise, "readability": readability}
"""What a curriculum may go by, besides a model's loss; higher is harder."""


class KeyTask(NamedTuple):
    """A shard, and the file for its keys."""

    shard: Path
    out: Path


KEY = [("key", "f8"), ("size", "u4"), ("held_out", "?")]
"""What is kept of each document: its key, its characters, and whether it is held out. 13 bytes."""


@dataclass(frozen=True)
class ShardKeys:
    """Writes the keys of the documents of a shard, an array of KEY.

    Args:
        by: a name in HARDNESS; None leaves the keys 0.
    """

    by: str | None

    def __call__(self, task: KeyTask) -> int:
        """Write the keys of a shard, unless they are there, and return its documents."""
        import numpy as np

        if not task.out.is_file():
            parts = [np.zeros(0, KEY)]
            for batch in read_batches(task.shard, spans(task.shard)):
                texts, splits = batch.column("text").to_pylist(), batch.column("split").to_pylist()
                rows = [
                    (self._key(text), len(text), split == HELD_OUT) for text, split in zip(texts, splits, strict=True)
                ]
                parts.append(np.array(rows, KEY))
            save_array(task.out, np.concatenate(parts))
        return len(np.load(task.out, mmap_mode="r"))

    def _key(self, text: str) -> float:
        if self.by is None:
            return 0.0
        return HARDNESS[self.by](text if self.by == "length" else text[:_CHARACTERS_READ])


def read_keys(
    tasks: Sequence[KeyTask], counts: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[Any]]:
    """Return keys, characters and which documents are held out, of all shards: 13 bytes of memory a document."""
    import numpy as np

    found = [np.zeros(sum(counts), kind) for _, kind in KEY]
    start = 0
    for task, count in zip(tasks, counts, strict=True):
        shard = np.load(task.out)
        for column, (name, _) in zip(found, KEY, strict=True):
            column[start : start + count] = shard[name]
        start += count
    return found[0], found[1], found[2]


def save_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array, whole or not at all."""
    import numpy as np

    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as out:
        np.save(out, array)
    synced_rename(temporary, path)


def curriculum(
    keys: NDArray[np.float64], descending: bool, pacing: Pacing, start: float, seed: int
) -> NDArray[np.int64]:
    """Return the numbers of documents in the order in which they are trained on, each once.

    With the pacing "sorted" it is that of the keys. Else, when a share t of the documents has been given out, the next
    is drawn at random from the easiest share c(t) of all, those given out apart: start + (1 - start) t ("linear") or
    sqrt(start² + (1 - start²) t) ("root"), the competence of Platanios et al. 2019, "Competence-based Curriculum
    Learning for Neural Machine Translation" (arXiv 1903.09848).

    Args:
        keys: higher is harder; equal ones stay in their order.
        start: share of the documents that is given out from the beginning.
        seed: of the draw.
    """
    import numpy as np

    ranked = np.argsort(-keys if descending else keys, kind="stable")
    if pacing == "sorted" or not keys.size:
        return ranked
    # Document of rank r is open from the time t at which c(t) = r. Among those open, a random number decides.
    rank = (np.arange(keys.size) + 1) / keys.size
    opens = (rank - start) / (1 - start) if pacing == "linear" else (rank**2 - start**2) / (1 - start**2)
    return ranked[_drawn(np.clip(opens, 0.0, 1.0), seed)]


def _drawn(opens: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Return 0..n-1 so that at place p stands one drawn from those with `opens` <= p / n. `opens` rises."""
    import numpy as np

    rng, count = random.Random(seed), opens.size
    drawn, pool, coming = np.empty(count, np.int64), array("q"), 0
    for at in range(count):
        while coming < count and (opens[coming] <= at / count or not pool):
            pool.append(coming)
            coming += 1
        chosen = rng.randrange(len(pool))
        pool[chosen], pool[-1] = pool[-1], pool[chosen]
        drawn[at] = pool.pop()
    return drawn
