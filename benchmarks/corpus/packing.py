"""Tokenising, packing and ordering: speed, padding, needless cuts, and how alike neighbours in a window are.

Tokenising is measured from Arrow text in memory to ids, on one core, with nothing remembered from before, beside the
Hugging Face tokenizer that gives the same ids (checked document by document); from file to file beside datatrove's.
Packing is measured on the lengths of the real documents, beside TRL's three ways. Neighbours are compared by a plain
TF-IDF over all their words, which the ordering itself does not use.
"""

from __future__ import annotations

import math
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.corpus import material
from benchmarks.peers import NotInstalled, ask, peer, version
from benchmarks.record import Row, save, versus
from metier.core import Step, Work, Workshop
from metier.core.tables import read_rows
from metier.core.tokens import Tokens
from metier.core.types import Document, Documents
from metier.corpus import Order, Pack
from metier.corpus.order import By
from metier.corpus.pack import ids
from metier.corpus.pack.best_fit import best_fit_decreasing, cut_lengths, in_order
from metier.corpus.pack.ids import ModelFolder, prepare
from metier.corpus.pack.shards import Packing, PackTask
from metier.models.packaged import PackagedGguf

MEGABYTES, FOR_PEER = 40.0, 5.0
LENGTHS = (2048, 8192)
BUFFER = 32
_CORE = 1
_SCRIPTS = Path(__file__).parent / "peer_scripts"
_WORD = re.compile(r"[^\W\d_]+")


class Some(Step[Documents]):
    """Documents of the material: those of one package, or a sample of all."""

    name: ClassVar[str] = "benchmark-documents"
    package: str | None = None

    def run(self, work: Work) -> None:
        """Write them, for training."""
        made = Documents.write(work.folder, (document._replace(split="train") for document in documents(self.package)))
        work.count("document", made, made, made={"document": made})


@cache
def documents(package: str | None) -> tuple[Document, ...]:
    """Return the documents of a package in the order of their paths, or 40 MB from all of the corpus."""
    rows = [
        Document(**row) for row in read_rows(material.documents(None)) if package is None or package in row["source"]
    ]
    if package is None:
        random.Random(0).shuffle(rows)
        ends = np.cumsum([len(row.text.encode()) for row in rows])
        rows = rows[: int(np.searchsorted(ends, MEGABYTES * 1e6)) + 1]
    return tuple(sorted(rows, key=lambda row: row.source))


def cpu_seconds(function: Callable[[], Any], rounds: int = 3) -> float:
    """Return the CPU time of the best of several calls."""
    best = math.inf
    for _ in range(rounds):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def forget() -> None:
    """Make the encoder forget the pieces it has seen."""
    ids._pieces.cache_clear()


def head(texts: pa.Array, megabytes: float) -> pa.Array:
    """Return the first texts of so many megabytes."""
    sizes = np.cumsum([len(text.as_py().encode()) for text in texts])
    return texts.slice(0, int(np.searchsorted(sizes, megabytes * 1e6)) + 1)


def megabytes(texts: pa.Array) -> float:
    """Return the UTF-8 size of texts."""
    return sum(len(text.as_py().encode()) for text in texts) / 1e6


def tokenising(model: Path, scratch: Path) -> list[Row]:
    """Compare the encoder with the tokenizer it is equal to. Raises AssertionError if one document has other ids."""
    from tokenizers import Tokenizer

    encoder = prepare(ModelFolder(model, scratch)).encoder
    texts = pa.array([document.text for document in documents(None)])
    some = head(texts, FOR_PEER)
    strings = some.to_pylist()

    def ours() -> None:
        forget()
        encoder(texts)

    seconds = cpu_seconds(ours)
    speed = megabytes(texts) / seconds
    tokenizer = Tokenizer.from_file(encoder.path)
    for one, theirs in zip(encoder(some), tokenizer.encode_batch_fast(strings), strict=True):
        assert one.ids is not None and one.ids[:-1].tolist() == [token for token in theirs.ids if token != encoder.end]
    told = f"{megabytes(texts):.0f} MB of Debian documentation, the peer on {megabytes(some):.0f} MB of it"
    rows = []
    for name in ("encode_batch", "encode_batch_fast"):
        encode = getattr(tokenizer, name)
        other = megabytes(some) / cpu_seconds(partial(encode, strings), 2)
        rows.append(
            versus(
                "tokenising, SmolLM2's BPE of 49,152",
                f"tokenizers {name}",
                speed,
                other,
                "MB/s",
                told,
                seconds,
                note=f"the same ids for {len(some):,} documents; without the kernel ours is encode_batch_fast",
            )
        )
    return rows


def packing_files(model: Path, scratch: Path, workshop: Workshop) -> Row:
    """Compare tokenising and packing from Parquet to shards with datatrove's tokenizer, which writes ids one by one."""
    made = workshop.make(Some())
    prepared = prepare(ModelFolder(model, scratch))
    packing = Packing(prepared.encoder, LENGTHS[0], None, 0, False, True)
    out = scratch / "packed.arrow"

    def ours() -> None:
        forget()
        out.unlink(missing_ok=True)
        packing(PackTask(tuple(made.shards), out))

    seconds = cpu_seconds(ours)
    size = sum(len(row["text"].encode()) for row in read_rows(made.folder / "documents", ["text"])) / 1e6
    name, told = "Parquet to packed shards, one core", f"{size:.0f} MB of Debian documentation"
    python = peer("datatrove")
    if isinstance(python, NotInstalled):
        return Row(name, "datatrove", size / seconds, None, None, "MB/s", told, seconds, note=python.reason)
    script, tokenizer = _SCRIPTS / "tokenise_datatrove.py", prepared.encoder.path
    with tempfile.TemporaryDirectory(dir=material.FOLDER) as folder:
        theirs = ask(python, script, made.folder / "documents", tokenizer, folder, cores=(_CORE,))
    return versus(
        name,
        "datatrove",
        size / seconds,
        size / theirs["seconds"],
        "MB/s",
        told,
        seconds,
        peer_version=version("datatrove"),
        note="ours packs by best fit, too; datatrove writes documents one after the other, to be cut when read",
    )


class Layout(NamedTuple):
    """How a packing came out: windows, tokens that stayed, documents cut though they fit a window, CPU seconds."""

    windows: int
    tokens: int
    cut: int
    seconds: float

    def padding(self, capacity: int) -> float:
        """Return the share of the windows' tokens that is padding, in percent."""
        return 100 * (1 - self.tokens / (self.windows * capacity))


def packed(lengths: NDArray[np.int64], capacity: int, buffer: int | None) -> Layout:
    """Pack lengths as the step does."""

    def pack() -> list[list[int]]:
        pieces = [piece for length in lengths.tolist() for piece in cut_lengths(length, capacity)]
        return best_fit_decreasing(pieces, capacity) if buffer is None else in_order(pieces, capacity, buffer)

    return Layout(len(pack()), int(lengths.sum()), 0, cpu_seconds(pack))


def packing(model: Path, scratch: Path) -> Iterator[Row]:
    """Compare padding, cuts and lost tokens with TRL's strategies; "wrapped" is to concatenate and to cut."""
    encoder = prepare(ModelFolder(model, scratch)).encoder
    found = encoder(pa.array([document.text for document in documents(None)]))
    lengths = np.array([one.ids.size for one in found if one.ids is not None])
    path = scratch / "lengths.npy"
    np.save(path, lengths)
    python = peer("trl")
    for capacity in LENGTHS:
        told = f"{lengths.size:,} documents, {int(lengths.sum()):,} tokens, windows of {capacity}"
        ways = {
            "best fit": packed(lengths, capacity, None),
            f"in order, buffer {BUFFER}": packed(lengths, capacity, BUFFER),
        }
        if isinstance(python, NotInstalled):
            for way, mine in ways.items():
                padding = round(mine.padding(capacity), 3)
                yield Row(f"padding, {way}", "TRL", padding, None, None, "%", told, mine.seconds, note=python.reason)
            continue
        theirs = {way: Layout(**one) for way, one in ask(python, _SCRIPTS / "pack_trl.py", path, str(capacity)).items()}
        yield from _beside_trl(ways, theirs, lengths, capacity, told)


def _beside_trl(
    ways: dict[str, Layout], theirs: dict[str, Layout], lengths: NDArray[np.int64], capacity: int, told: str
) -> Iterator[Row]:
    known, total = version("trl"), int(lengths.sum())
    in_their_order = f"in order, buffer {BUFFER}"
    for strategy in ("bfd", "bfd_split"):
        mine, other = ways["best fit"], theirs[strategy]
        yield Row(
            "padding, best fit",
            f"TRL {strategy}",
            round(mine.padding(capacity), 3),
            round(other.padding(capacity), 3),
            round(other.padding(capacity) / mine.padding(capacity), 2),
            "%",
            told,
            mine.seconds,
            note=f"tokens lost: ours none, TRL {100 * (1 - other.tokens / total):.1f}%",
            peer_version=known,
        )
    kept = ways[in_their_order]
    yield Row(
        f"padding, {in_their_order}", None, round(kept.padding(capacity), 3), None, None, "%", told, kept.seconds,
        note="documents nearly in their order, which TRL's best fit does not keep",
    )  # fmt: skip
    fitting = int((lengths <= capacity).sum())
    share = 100 * theirs["wrapped"].cut / fitting
    yield Row(
        "needless cuts",
        "TRL wrapped",
        0.0,
        round(share, 2),
        None,
        "% of the documents that fit",
        told,
        ways["best fit"].seconds,
        bar="0",
        note="to concatenate and to cut",
        peer_version=known,
    )
    mine, other = ways["best fit"], theirs["bfd_split"]
    yield versus(
        "best fit alone",
        "TRL bfd_split",
        total / mine.seconds / 1e6,
        total / other.seconds / 1e6,
        "million tokens/s",
        told,
        mine.seconds,
        note="TRL also moves the ids",
        peer_version=known,
    )


def streaming(workshop: Workshop) -> Row:
    """Measure what it takes to read the windows of a shuffled epoch, one at a time."""
    tokens = workshop.make(Pack(corpus=Some(), model=PackagedGguf(), sequence_length=LENGTHS[0]))
    before = pa.total_allocated_bytes()
    seconds = cpu_seconds(lambda: [window.ids.sum() for window in tokens.windows(seed=1)])
    held = max(pa.total_allocated_bytes() - before, 0)
    told = f"{len(tokens):,} windows of {LENGTHS[0]} tokens in random order"
    note = f"{len(tokens) / seconds:,.0f} windows/s; {held} bytes held by Arrow"
    rate = round(tokens.tokens / seconds / 1e6, 1)
    return Row("reading packed windows", None, rate, None, None, "million tokens/s", told, seconds, note=note)


def vectors(texts: Iterable[str]) -> list[dict[str, float]]:
    """Return TF-IDF vectors of length 1 over all words."""
    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    frequency = Counter(word for one in counts for word in one)
    found = []
    for one in counts:
        weights = {word: (1 + math.log(n)) * math.log(len(counts) / frequency[word]) for word, n in one.items()}
        norm = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        found.append({word: weight / norm for word, weight in weights.items()})
    return found


def cosine(one: dict[str, float], other: dict[str, float]) -> float:
    """Return the cosine of two vectors of length 1."""
    one, other = sorted((one, other), key=len)
    return sum(weight * other[word] for word, weight in one.items() if word in other)


def neighbours(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """Yield the documents that follow each other in a window."""
    for window in tokens.windows():
        for one, other in pairwise(window.documents):
            if one != other:
                yield one, other


def likeness(workshop: Workshop, package: str | None, orders: Sequence[By]) -> list[float]:
    """Return the mean cosine of documents that follow each other in windows of 8,192 tokens, for several orders."""
    rows = list(workshop.make(Some(package=package)).rows())
    by_id = dict(zip([row.id for row in rows], vectors(row.text for row in rows), strict=True))
    found = []
    for by in orders:
        ordered = Order(corpus=Some(package=package), by=by)
        tokens = workshop.make(Pack(corpus=ordered, model=PackagedGguf(), sequence_length=LENGTHS[1], buffer=BUFFER))
        likes = [cosine(by_id[one], by_id[other]) for one, other in neighbours(tokens)]
        found.append(sum(likes) / len(likes))
    return found


def ordering(workshop: Workshop) -> Iterator[Row]:
    """Compare neighbours in a window: laid by similarity, and shuffled."""
    for package, what in (("sqlite3-doc", "SQLite's manual"), (None, f"{MEGABYTES:.0f} MB of Debian documentation")):
        start = time.process_time()
        similar, shuffled = likeness(workshop, package, ("similarity", "shuffled"))
        yield Row(
            "similarity of neighbours in a window",
            "shuffled",
            round(similar, 4),
            round(shuffled, 4),
            round(similar / shuffled, 1),
            "mean cosine of TF-IDF",
            f"{what}, windows of {LENGTHS[1]} tokens, buffer {BUFFER}",
            time.process_time() - start,
        )


def main() -> None:
    """Run all; the base model is unpacked once, for its tokenizer."""
    import os

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.sched_setaffinity(0, {_CORE} & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    model = Workshop(material.FOLDER / "pipeline" / "model").make(PackagedGguf()).model_folder.absolute()
    with tempfile.TemporaryDirectory(dir=material.FOLDER, prefix="packing-") as folder:
        scratch, workshop = Path(folder), Workshop(Path(folder) / "workshop")
        base = Workshop(material.FOLDER / "pipeline" / "model").make(PackagedGguf())
        (workshop.folder / base.folder.name).symlink_to(base.folder.absolute(), target_is_directory=True)
        save("corpus", tokenising(model, scratch))
        save("corpus", [packing_files(model, scratch, workshop)])
        save("corpus", packing(model, scratch))
        save("corpus", [streaming(workshop)])
        save("corpus", ordering(workshop))


if __name__ == "__main__":
    main()
