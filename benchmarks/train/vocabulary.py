"""New pieces of vocabulary for a trade, on SmolLM2-135M and SQLite's manual: `python -m benchmarks.train.vocabulary`.

Beside the usual way: `add_tokens` of transformers with as many of the most frequent words that took several tokens.
Fertility is measured on documents that neither has seen; "general" is the documentation of git.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.corpus import material
from benchmarks.record import Row, save
from metier.core import Step, Work, Workshop
from metier.core.tables import read_rows
from metier.core.types import Document, Documents, Model
from metier.models.packaged import PackagedGguf
from metier.train import ExpandVocabulary
from metier.train.weights.pieces import bpe_of, learn, words_of, write_tokenizer

PIECES, LEAST = 1000, 20
DOMAIN, GENERAL = "sqlite3-doc", "git-doc"


class Manual(Step[Documents]):
    """The documents of one package of the material, every tenth held out."""

    name: ClassVar[str] = "benchmark-manual"
    package: str

    def run(self, work: Work) -> None:
        """Write them."""
        rows = documents(self.package)
        split = (row._replace(split="held_out" if at % 10 == 0 else "train") for at, row in enumerate(rows))
        made = Documents.write(work.folder, split)
        work.count("document", made, made, made={"document": made})


class Held(Step[Model]):
    """A model folder that is there already."""

    name: ClassVar[str] = "benchmark-held"
    at: str

    def run(self, work: Work) -> None:
        """Point to it."""
        (work.folder / "model").symlink_to(self.at)


@cache
def documents(package: str) -> tuple[Document, ...]:
    """Return the documents of a package, in a fixed random order."""
    rows = [Document(**row) for row in read_rows(material.documents(None)) if package in row["source"]]
    random.Random(0).shuffle(rows)
    return tuple(rows)


def held_out(package: str) -> list[str]:
    """Return the texts that were not learnt from."""
    return [row.text for at, row in enumerate(documents(package)) if at % 10 == 0]


def tokens(tokenizer: Any, texts: Sequence[str]) -> int:
    """Return how many tokens texts take."""
    return sum(len(found.ids) for found in tokenizer.encode_batch(list(texts), add_special_tokens=False))


def by_adding_words(folder: Path, texts: Sequence[str]) -> Any:
    """Return the tokenizer with the most frequent words of several tokens as added tokens."""
    tokenizer = bpe_of(folder)
    counts = Counter(word for text in texts for word in text.split())
    several = (word for word, _ in counts.most_common() if tokens(tokenizer, [word]) > 1)
    tokenizer.add_tokens(list(itertools.islice(several, PIECES)))
    return tokenizer


def saved_tokens(base: Path, workshop: Workshop) -> Iterator[Row]:
    """Learn and add pieces; count tokens of unseen text, beside added words."""
    train = [row.text for at, row in enumerate(documents(DOMAIN)) if at % 10]
    megabytes = sum(len(text.encode()) for text in train) / 1e6
    told = f"SQLite's manual, {megabytes:.1f} MB learnt from, SmolLM2's vocabulary of 49,152"
    tokenizer = bpe_of(base)
    start = time.process_time()
    learnt = learn(tokenizer, words_of(tokenizer, train), PIECES, LEAST)
    seconds = time.process_time() - start
    name, given = "vocabulary: learning pieces", f"{told}, {len(learnt):,} pieces"
    yield Row(name, None, round(seconds, 2), None, None, "CPU s", given, seconds)
    write_tokenizer(base, workshop.folder / "tokenizer", learnt)
    ours, theirs = bpe_of(workshop.folder / "tokenizer"), by_adding_words(base, train)
    for name, package in (("domain", DOMAIN), ("general", GENERAL)):
        texts = held_out(package)
        before, mine, other = (tokens(each, texts) for each in (tokenizer, ours, theirs))
        saved, usual = (round(100 * (1 - after / before), 2) for after in (mine, other))
        note = (
            f"{len(learnt):,} and {PIECES:,} tokens; added ones cross the pre-tokenizer's cuts and match inside words"
        )
        peer = "transformers add_tokens"
        yield Row(f"vocabulary: tokens saved, {name}", peer, saved, usual, None, "%", told, seconds, note=note)


def losses(base: Path, workshop: Workshop) -> Iterator[Row]:
    """Run the step, and read the losses that it measured before any training."""
    start = time.process_time()
    step = ExpandVocabulary(
        model=Held(at=str(base)),
        corpus=Manual(package=DOMAIN),
        general=Manual(package=GENERAL),
        pieces=PIECES,
        least=LEAST,
        measured_characters=6000,
    )
    text = workshop.make(step).record.figures["text"]
    seconds = time.process_time() - start
    for name in ("domain", "general"):
        loss = text[name]["bits_per_byte"]
        note = "new rows are means of old ones; training has to follow"
        what, given = f"vocabulary: loss before training, {name}", "6,000 characters, SmolLM2-135M"
        peer = "the model before"
        yield Row(what, peer, loss["after"], loss["before"], None, "bits a byte", given, seconds, note=note)


def main() -> None:
    """Run all."""
    with tempfile.TemporaryDirectory(dir=material.FOLDER, prefix="vocabulary-") as folder:
        workshop = Workshop(Path(folder))
        base = Workshop(material.FOLDER / "pipeline" / "model").make(PackagedGguf()).model_folder.absolute()
        save("train", saved_tokens(base, workshop))
        save("train", losses(base, workshop))


if __name__ == "__main__":
    main()
