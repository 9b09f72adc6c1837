"""The rules filter: text in memory → a reason or none for each document, on one core.

Against the same rules in plain Python (the kernel's own twin, with every count and decision compared), and beside
datatrove's Gopher, C4 and FineWeb filters on the same texts. CPU time, best of several rounds; building the batch and
loading tokenizers is not counted.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.corpus import material
from benchmarks.peers import NotInstalled, ask, peer, version
from benchmarks.record import Row, save, versus
from metier.core.tables import arrow_schema
from metier.core.types import Documents
from metier.corpus.clean_lines import Cleaner
from metier.corpus.documents import new_document
from metier.corpus.filter import Judge
from metier.corpus.kernel import compiled, texts
from metier.corpus.kernel.rules import clean, measure, shape
from metier.corpus.rules import C4, FineWeb, GopherQuality, GopherRepetition, House, RuleSet, Seen
from metier.corpus.rules.stop_words import STOP_WORDS

PUBLISHED: tuple[RuleSet, ...] = (GopherQuality(), GopherRepetition(), C4(), FineWeb())
MEGABYTES, FOR_PYTHON, FOR_PEER = 60.0, 6.0, 4.0
_ROUNDS = 3
_CORE = 1
_PEER_SCRIPT = Path(__file__).parent / "peer_scripts" / "filter.py"

Operator = Callable[[pa.RecordBatch], pa.RecordBatch]
OPERATORS: dict[str, Operator] = {
    "rules filter (Gopher, C4, FineWeb)": Judge(PUBLISHED),
    "rules filter (house)": Judge((House(),)),
    "line cleaning (C4)": Cleaner(C4()),
}


class Timed(NamedTuple):
    """What an operator gave, and the CPU seconds of its best round."""

    result: Any
    seconds: float


def batches(some: list[str]) -> list[pa.RecordBatch]:
    """Return texts as batches of documents, 500 in each."""
    rows = [new_document(f"{number}.txt", text)._asdict() for number, text in enumerate(some)]
    schema = arrow_schema(Documents.columns)
    return [pa.RecordBatch.from_pylist(rows[at : at + 500], schema) for at in range(0, len(rows), 500)]


def timed(function: Callable[[], Any], rounds: int = _ROUNDS) -> Timed:
    """Run a function some times."""
    best, result = float("inf"), None
    for _ in range(rounds):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return Timed(result, best)


def by_twin(function: Callable[[], Any]) -> Timed:
    """Run a function once with the kernels in Python."""
    os.environ["METIER_KERNEL"] = "python"
    try:
        return timed(function, 1)
    finally:
        del os.environ["METIER_KERNEL"]


def against_twin(name: str, operator: Operator, all_texts: list[str]) -> Row:
    """Compare an operator with itself in Python. Raises AssertionError if one document comes out differently."""
    whole, some = batches(all_texts), batches(head(all_texts, FOR_PYTHON))
    ours = timed(lambda: [operator(batch) for batch in whole])
    theirs = by_twin(lambda: [operator(batch) for batch in some])
    assert theirs.result == [operator(batch) for batch in some]
    documents = sum(batch.num_rows for batch in some)
    return versus(
        name,
        "the same rules in Python",
        size(all_texts) / ours.seconds,
        size(head(all_texts, FOR_PYTHON)) / theirs.seconds,
        "MB/s",
        f"{size(all_texts):.0f} MB of Debian documentation, Python on {FOR_PYTHON:.0f} MB of it",
        ours.seconds,
        bar="10×",
        note=f"decisions on {documents:,} documents are the same",
    )


def equal_counts(some: list[str]) -> int:
    """Return how many documents were counted alike in all their counts. Raises AssertionError if one was not."""
    column = texts(some)
    lists = [frozenset(words) for words in STOP_WORDS.values()]

    def counted() -> tuple[Any, ...]:
        kept, verdicts = clean(column)
        return (*measure(column, stop_words=lists), shape(column), np.array(kept), verdicts)

    for one, other in zip(counted(), by_twin(counted).result, strict=True):
        assert (one == other).all()
    return len(some)


def against_datatrove(all_texts: list[str]) -> list[Row]:
    """Compare the published rules with datatrove's filters: speed, and how often each set decides alike."""
    name = next(iter(OPERATORS))
    python = peer("datatrove")
    whole = batches(all_texts)
    ours = timed(lambda: [OPERATORS[name](batch) for batch in whole])
    speed = size(all_texts) / ours.seconds
    told = f"{size(all_texts):.0f} MB of Debian documentation, datatrove on {FOR_PEER:.0f} MB of it"
    if isinstance(python, NotInstalled):
        return [Row(name, "datatrove", round(speed, 2), None, None, "MB/s", told, ours.seconds, note=python.reason)]
    some = head(all_texts, FOR_PEER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.arrow"
        table = pa.table({"text": pa.array(some, pa.string())})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        answer = ask(python, _PEER_SCRIPT, path, cores=(_CORE,))
    alike = agreement(some, answer["decisions"])
    row = versus(
        name,
        "datatrove",
        speed,
        size(some) / answer["seconds"],
        "MB/s",
        told,
        ours.seconds,
        note="datatrove takes punctuation for words, and lines as they are wrapped; on English it decides alike: "
        + ", ".join(f"{rule} {share:.0%}" for rule, share in alike.items()),
        peer_version=version("datatrove"),
    )
    return [row]


def agreement(some: list[str], decisions: list[dict[str, str | None]]) -> dict[str, float]:
    """Return the share of English documents that each set treats as datatrove's filter of the same thresholds does."""
    same = {"fineweb": FineWeb(max_repeated_line_chars=0.01, max_lines_per_word=0.3)}
    english = [code == "en" for batch in batches(some) for code in Seen(batch).likely_languages]
    shares = {}
    for rules in PUBLISHED:
        operator = Judge((same.get(rules.rule, rules),))
        kept = [reason is None for batch in batches(some) for reason in operator(batch).column("reason").to_pylist()]
        theirs = [decision[rules.rule] is None for decision in decisions]
        alike = [one == other for one, other, wanted in zip(kept, theirs, english, strict=True) if wanted]
        shares[rules.rule] = sum(alike) / len(alike)
    return shares


def head(some: list[str], megabytes: float) -> list[str]:
    """Return the first texts of about so many megabytes."""
    chosen: list[str] = []
    left = megabytes * 1e6
    for text in some:
        if left <= 0:
            break
        chosen.append(text)
        left -= len(text.encode())
    return chosen


def size(some: list[str]) -> float:
    """Return the megabytes of texts in UTF-8."""
    return sum(len(text.encode()) for text in some) / 1e6


def main() -> None:
    """Run the comparisons and save their rows."""
    if compiled("_rules") is None:
        raise SystemExit("the compiled kernel is not there: there is nothing to compare")
    os.sched_setaffinity(0, {_CORE} & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    # The extracted pages have white space at the ends of lines, which datatrove takes for lines without an end.
    all_texts = ["\n".join(line.rstrip() for line in text.split("\n")) for text in material.texts(MEGABYTES)]
    print(f"{equal_counts(head(all_texts, FOR_PYTHON)):,} documents have equal counts", flush=True)
    rows = [against_twin(name, operator, all_texts) for name, operator in OPERATORS.items()]
    save("corpus", [*rows, *against_datatrove(all_texts)])


if __name__ == "__main__":
    main()
