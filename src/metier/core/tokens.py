"""Packed token shards: windows of whole documents as token ids, mapped into memory and never loaded whole."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from metier.core.artifact import Artifact
from metier.core.errors import Failure, Mistake
from metier.core.files import write_json_atomic
from metier.core.permutation import Permutation

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Attention = Literal["document", "window"]

# Names of the token after a document, in the order of preference. A chat model's end-of-turn token is not it.
_DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|end▁of▁sentence|>")
_LAYOUT = "tokens.json"
_BATCH_WINDOWS = 256  # windows of one record batch: a reader without memory maps holds so many
_OPEN_SHARDS = 64  # each takes a file descriptor


class PackedWindow(NamedTuple):
    """One row: T tokens that one forward pass reads, without padding.

    ids: [T]. lengths: tokens of each piece of a document in it, in their order; they add up to T. documents, channels:
    of each piece, the id of its document and the channel that it was mixed from.
    """

    row: int
    ids: NDArray[Any]
    lengths: list[int]
    documents: list[str]
    channels: list[str | None]

    @property
    def positions(self) -> list[int]:
        """The position of each token in its piece, counted from 0, [T]."""
        return [at for length in self.lengths for at in range(length)]


class Shard(NamedTuple):
    """One file of windows: how many, and their tokens."""

    name: str
    windows: int
    tokens: int


class Layout(NamedTuple):
    """What holds for all windows.

    attention: whether a token sees only its own document ("document") or all before it in the window ("window").
    ordered: whether the order of the windows is meant, so that a trainer must not shuffle them. vocabulary: digest of
    the tokenizer's vocabulary. end: the token after each document.
    """

    sequence_length: int
    attention: Attention
    ordered: bool
    vocabulary: str
    end: int
    shards: list[Shard]


class Tokens(Artifact):
    """Windows of token ids, as Arrow files in `tokens/`, and `tokens.json`, which says how many are where.

    Reading takes the memory of a window, whatever their number; the system keeps what it has room for.
    """

    @cached_property
    def layout(self) -> Layout:
        """What holds for all windows. Raises Failure if it cannot be read."""
        try:
            told = json.loads((self.folder / _LAYOUT).read_text())
            return Layout(**{**told, "shards": [Shard(*shard) for shard in told["shards"]]})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Failure(
                f"{self.folder / _LAYOUT} cannot be read", found=str(error), hint="remove the folder and run again"
            ) from error

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def tokens(self) -> int:
        """Tokens of all windows together."""
        return sum(shard.tokens for shard in self.layout.shards)

    def windows(self, start_row: int = 0, seed: int | str | None = None) -> Iterator[PackedWindow]:
        """Yield windows from place `start_row` on, in the order written, or in a random one drawn by `seed`.

        The order of a seed is always the same, so a reader that stopped before place n goes on with `start_row=n`.
        """
        order: Sequence[int] | Permutation = range(len(self)) if seed is None else Permutation(len(self), seed)
        for place in range(start_row, len(self)):
            yield self.window(order[place])

    def window(self, row: int) -> PackedWindow:
        """Return one window. Raises IndexError beyond the last, Failure if its file is damaged."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        shard = bisect_right(self._ends, row)
        local = row - (self._ends[shard - 1] if shard else 0)
        batch = self._batches(shard).get_batch(local // _BATCH_WINDOWS)
        at = local % _BATCH_WINDOWS
        ids, lengths, documents, channels = (batch.column(name)[at] for name in _COLUMNS)
        return PackedWindow(row, ids.values.to_numpy(), lengths.values.to_pylist(), documents.as_py(), channels.as_py())

    def sizes(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return how many tokens and how many pieces each window has, [windows] each: 8 bytes of memory a window."""
        import numpy as np

        parts = []
        for number in range(len(self.layout.shards)):
            reader = self._batches(number)
            for batch in map(reader.get_batch, range(reader.num_record_batches)):
                parts.append([np.diff(batch.column(name).offsets.to_numpy()) for name in ("ids", "lengths")])
        if not parts:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        tokens, pieces = (np.concatenate(column).astype(np.int32) for column in zip(*parts, strict=True))
        return tokens, pieces

    def largest_ids(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Return the largest id in each of `rows`, in their order, [rows]; 0 of an empty window.

        A batch of windows is read once, however often its rows are asked for, and as whole columns: of 10,000,000
        windows of 512 tokens that is 10 GB in sequence, where window by window it would take hours.
        """
        import numpy as np

        found = np.zeros(len(rows), np.int64)
        order = np.argsort(rows, kind="stable")
        shards = np.searchsorted(self._ends, rows[order], side="right")
        batches = (rows[order] - np.concatenate([[0], self._ends])[shards]) // _BATCH_WINDOWS
        changes = np.flatnonzero((np.diff(shards) != 0) | (np.diff(batches) != 0)) + 1
        for places in np.split(order, changes) if len(rows) else []:
            shard = bisect_right(self._ends, rows[places[0]])
            local = rows[places] - (self._ends[shard - 1] if shard else 0)
            ids = self._batches(shard).get_batch(int(local[0]) // _BATCH_WINDOWS).column("ids")
            starts = ids.offsets.to_numpy()
            holds = np.diff(starts) > 0
            largest = np.zeros(len(ids), np.int64)
            if holds.any():
                largest[holds] = np.maximum.reduceat(ids.flatten().to_numpy(), starts[:-1][holds] - starts[0])
            found[places] = largest[local % _BATCH_WINDOWS]
        return found

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(shard.windows for shard in self.layout.shards))

    @cached_property
    def _open(self) -> OrderedDict[int, Any]:
        return OrderedDict()

    def _batches(self, number: int) -> pa.RecordBatchFileReader:
        """Return the open file of a shard; the one used longest ago is closed for it."""
        if number not in self._open:
            self._open[number] = open_shard(self.folder / "tokens" / self.layout.shards[number].name)
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]


_COLUMNS = ("ids", "lengths", "documents", "channels")


def open_shard(path: Path) -> pa.RecordBatchFileReader:
    """Return a shard, mapped into memory. Raises Failure if it is not there or damaged."""
    import pyarrow as pa

    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (pa.ArrowInvalid, OSError) as error:
        raise Failure(
            f"{path} is damaged or gone", found=str(error), hint=f"remove {path.parents[1]} and run again"
        ) from error


def write_shard(
    path: Path,
    ids: NDArray[Any],
    lengths: NDArray[np.int32],
    pieces: NDArray[np.int32],
    documents: Sequence[str],
    channels: Sequence[str | None],
    told: Mapping[str, Any],
) -> None:
    """Write windows as one Arrow file, whole or not at all.

    Args:
        ids: of all windows one after the other, uint16 or uint32. lengths, documents, channels: of each piece.
        pieces: how many pieces each window has.
        told: kept in the file, see `told_of`: an interrupted step need not read the windows again.
    """
    import os

    import numpy as np
    import pyarrow as pa

    ends = np.concatenate([[0], np.cumsum(pieces)]).astype(np.int32)
    piece_ends = np.concatenate([[0], np.cumsum(lengths)])
    if piece_ends[-1] != ids.size or piece_ends[-1] >= 2**31:
        raise Failure(f"{path.name} cannot be written", found=f"{ids.size} ids for {piece_ends[-1]} tokens of pieces")
    id_ends = piece_ends[ends].astype(np.int32)
    arrays = [
        pa.ListArray.from_arrays(id_ends, pa.array(ids)),
        pa.ListArray.from_arrays(ends, pa.array(lengths, pa.int32())),
        pa.ListArray.from_arrays(ends, pa.array(documents, pa.string())),
        pa.ListArray.from_arrays(ends, pa.array(channels, pa.string())),
    ]
    table = pa.Table.from_arrays(arrays, names=list(_COLUMNS)).replace_schema_metadata({"told": json.dumps(told)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            with pa.ipc.new_file(out, table.schema) as writer:
                writer.write_table(table, max_chunksize=_BATCH_WINDOWS)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def told_of(path: Path) -> dict[str, Any] | None:
    """Return what `write_shard` was told to keep in a file, or None if there is no such file."""
    if not path.is_file():
        return None
    metadata: dict[bytes, bytes] = open_shard(path).schema.metadata
    told: dict[str, Any] = json.loads(metadata[b"told"])
    return told


def write_layout(folder: Path, layout: Layout) -> None:
    """Write `tokens.json` into an artifact's folder."""
    write_json_atomic(folder / _LAYOUT, {**layout._asdict(), "shards": [list(shard) for shard in layout.shards]})


def document_end(tokenizer: Any) -> int:
    """Return the id of the token that ends a document. Raises Mistake if the tokenizer has none."""
    known = tokenizer.get_vocab()
    for name in (*_DOCUMENT_ENDS, tokenizer.eos_token):
        if name in known:
            return int(known[name])
    raise Mistake(
        "the tokenizer has no token that ends a document",
        found=f"none of {', '.join(_DOCUMENT_ENDS)}, and no eos_token",
        hint="set eos_token in tokenizer_config.json",
    )


def vocabulary_digest(tokenizer: Any) -> str:
    """Return a digest of a tokenizer's vocabulary: models with the same one give the same meaning to ids."""
    digest = hashlib.sha256()
    for token, number in sorted(tokenizer.get_vocab().items()):
        digest.update(f"{number}\0{token}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
