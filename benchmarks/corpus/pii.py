"""Personal data: how fast it is found, and how much of it, beside re2 and Presidio.

Speed on real text, accuracy on the reported half of the labelled set (see pii_set.py). One core, CPU time, best of
several rounds. A labelled span counts as found if spans of its kind cover all of it, a found span as right if four
fifths of it lie in a labelled one of its kind.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from benchmarks.corpus import material
from benchmarks.corpus.pii_set import Labelled, labelled
from benchmarks.peers import NotInstalled, ask, peer, version
from benchmarks.record import Row, save, versus
from metier.corpus.anonymise.finder import Finder, Wanted
from metier.corpus.anonymise.kinds import SORTS, STRUCTURED, Code
from metier.corpus.anonymise.literals import secret_literals
from metier.corpus.kernel import compiled, texts
from metier.corpus.kernel.pii import Scanner

MEGABYTES, FOR_PRESIDIO = 60.0, 0.15
DOCUMENTS, FOR_PRESIDIO_DOCUMENTS = 6_000, 600
_ROUNDS = 5
_CORE = 1
_SCRIPTS = Path(__file__).parent / "peer_scripts"
_NOT_STRUCTURED = frozenset(("name", "address"))
# Presidio's names for what we call these; what it finds besides (dates, places) is left out of its precision.
_PRESIDIO = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "IP_ADDRESS": "ip", "MAC_ADDRESS": "mac", "CREDIT_CARD": "card",
    "IBAN_CODE": "iban", "US_SSN": "id", "UK_NINO": "id", "ES_NIF": "id", "IT_FISCAL_CODE": "id", "PERSON": "name",
}  # fmt: skip


class Found(NamedTuple):
    """A span found in a text, in characters."""

    start: int
    end: int
    kind: str


def best(function: Callable[[], Any]) -> float:
    """Return the CPU seconds of the best of some rounds."""
    seconds = float("inf")
    for _ in range(_ROUNDS):
        start = time.process_time()
        function()
        seconds = min(seconds, time.process_time() - start)
    return seconds


@contextmanager
def arrow_file(some: list[str]) -> Iterator[Path]:
    """Write texts where a peer can read them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.arrow"
        table = pa.table({"text": pa.array(some, pa.string())})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        yield path


def speed() -> list[Row]:
    """Compare the scanner with re2 and Presidio on the same text, and say what names and addresses cost."""
    some = material.texts(MEGABYTES)
    column = pa.array(some, pa.large_string())
    buffers = texts(column)
    megabytes = int(buffers.offsets[-1]) / 1e6
    scanner, finder = Scanner(secret_literals(), STRUCTURED), Finder(Wanted())
    seconds = best(lambda: scanner(buffers))
    rate, told = megabytes / seconds, f"{megabytes:.0f} MB of Debian documentation"
    everything = best(lambda: finder(column))
    rows = [
        _against(
            "structured PII",
            "re2",
            rate,
            lambda: _asked("re2", "pii_re2.py", some),
            told,
            seconds,
            bar="5×",
            package="google-re2",
        ),
        _against(
            "structured PII",
            "presidio",
            rate,
            lambda: _asked("presidio", "pii_presidio.py", _head(some, FOR_PRESIDIO)),
            f"{told}, Presidio on {FOR_PRESIDIO * 1000:.0f} kB of it",
            seconds,
            bar="100× (if not 5× re2)",
            package="presidio-analyzer",
            note="Presidio finds names too, with spaCy's small pipeline",
        ),
        _against(
            "all PII with names and addresses",
            "presidio",
            megabytes / everything,
            lambda: _asked("presidio", "pii_presidio.py", _head(some, FOR_PRESIDIO)),
            f"{told}, Presidio on {FOR_PRESIDIO * 1000:.0f} kB of it",
            everything,
            package="presidio-analyzer",
        ),
    ]
    small = _head(some, 2.0)
    twin = _by_twin(small)
    size = sum(len(text.encode()) for text in small) / 1e6
    rows.append(
        versus(
            "structured PII",
            "the same rules in Python",
            rate,
            size / twin,
            "MB/s",
            f"{told}, Python on {size:.0f} MB of it",
            seconds,
            note="spans are the same",
        )
    )
    return rows


def _by_twin(some: list[str]) -> float:
    """Return the CPU seconds of the scanner in Python. Raises AssertionError if it finds anything else."""
    buffers = texts(some)
    ours = Scanner(secret_literals(), STRUCTURED)(buffers)
    os.environ["METIER_KERNEL"] = "python"
    try:
        twin = Scanner(secret_literals(), STRUCTURED)
        start = time.process_time()
        theirs = twin(buffers)
        seconds = time.process_time() - start
    finally:
        del os.environ["METIER_KERNEL"]
    assert ours.spans.tolist() == theirs.spans.tolist(), "the compiled scanner and the one in Python differ"
    return seconds


_answers: dict[tuple[str, int], Any] = {}


def _asked(name: str, script: str, some: list[str]) -> Any:
    """Return what a peer's script says of texts, or NotInstalled. Asked once for the same texts."""
    key = (script, len(some))
    if key not in _answers:
        python = peer(name)
        if isinstance(python, NotInstalled):
            return python
        with arrow_file(some) as path:
            _answers[key] = ask(python, _SCRIPTS / script, path, cores=(_CORE,))
    return _answers[key]


def _against(
    name: str,
    peer_name: str,
    rate: float,
    asked: Callable[[], Any],
    told: str,
    seconds: float,
    *,
    package: str,
    bar: str | None = None,
    note: str | None = None,
) -> Row:
    answer = asked()
    if isinstance(answer, NotInstalled):
        return Row(name, peer_name, round(rate, 2), None, None, "MB/s", told, seconds, bar, answer.reason)
    theirs = answer["bytes"] / 1e6 / answer["seconds"]
    installed = version(peer_name, package)
    return versus(name, peer_name, rate, theirs, "MB/s", told, seconds, bar=bar, note=note, peer_version=installed)


class Score:
    """How many labelled spans were found, and how many found ones are right, by locale and kind."""

    def __init__(self) -> None:
        self.labelled: Counter[tuple[str, str]] = Counter()
        self.recalled: Counter[tuple[str, str]] = Counter()
        self.found: Counter[tuple[str, str]] = Counter()
        self.right: Counter[tuple[str, str]] = Counter()

    def add(self, row: Labelled, found: Iterable[Found]) -> None:
        """Count one text."""
        spans = list(found)
        for start, end, kind, _form in row.spans:
            self.labelled[row.locale, kind] += 1
            covered = {at for span in spans if span.kind == kind for at in range(span.start, span.end)}
            self.recalled[row.locale, kind] += covered >= set(range(start, end))
        for span in spans:
            self.found[row.locale, span.kind] += 1
            self.right[row.locale, span.kind] += any(
                kind == span.kind and min(end, span.end) - max(start, span.start) >= 0.8 * (span.end - span.start)
                for start, end, kind, _form in row.spans
            )

    def recall(self, kinds: Callable[[str, str], bool]) -> float:
        """Return the share of labelled spans found, of the locales and kinds that are asked for."""
        chosen = [key for key in self.labelled if kinds(*key)]
        return sum(self.recalled[key] for key in chosen) / max(sum(self.labelled[key] for key in chosen), 1)

    def precision(self, kinds: Callable[[str, str], bool]) -> float:
        """Return the share of found spans that are right."""
        chosen = [key for key in self.found if kinds(*key)]
        return sum(self.right[key] for key in chosen) / max(sum(self.found[key] for key in chosen), 1)

    def print(self) -> None:
        """Print every locale and kind."""
        for locale, kind in sorted({*self.labelled, *self.found}):
            key = (locale, kind)
            recall = self.recalled[key] / self.labelled[key] if self.labelled[key] else float("nan")
            precision = self.right[key] / self.found[key] if self.found[key] else float("nan")
            print(f"  {locale:6} {kind:12} {self.labelled[key]:5} recall {recall:.3f} precision {precision:.3f}")


def scored(rows: list[Labelled]) -> Score:
    """Return how well our own finder does on labelled texts."""
    spans = Finder(Wanted())(pa.array([row.text for row in rows], pa.string()))
    score = Score()
    for number, row in enumerate(rows):
        data = row.text.encode()
        score.add(
            row,
            (
                Found(len(data[: span.start].decode()), len(data[: span.end].decode()), SORTS[Code(span.code)].kind)
                for span in spans.get(number, [])
            ),
        )
    return score


def accuracy() -> list[Row]:
    """Say recall and precision on the reported set, of ours and of Presidio on its English part."""
    rows = list(labelled("reported", DOCUMENTS))
    start = time.process_time()
    score = scored(rows)
    seconds = time.process_time() - start
    score.print()
    told = f"{len(rows):,} labelled texts in en_US, de_DE, fr_FR, zh_CN and without personal data"
    structured: Callable[[str, str], bool] = lambda locale, kind: kind not in _NOT_STRUCTURED  # noqa: E731
    result = []
    for name, kinds, bar in (
        ("structured PII", structured, "0.98"),
        ("names", lambda locale, kind: kind == "name", None),
        ("addresses", lambda locale, kind: kind == "address", None),
    ):
        for what, value in (("recall", score.recall(kinds)), ("precision", score.precision(kinds))):
            result.append(Row(f"{name}, {what}", None, round(value, 4), None, None, "share", told, seconds, bar))
    return [*result, *_presidio_accuracy([row for row in rows if row.locale == "en_US"][:FOR_PRESIDIO_DOCUMENTS])]


def _presidio_accuracy(rows: list[Labelled]) -> list[Row]:
    answer = _asked("presidio", "pii_presidio.py", [row.text for row in rows])
    told = f"{len(rows):,} labelled texts in en_US"
    ours, result = scored(rows), []
    for name, kinds in (
        ("structured PII in English", lambda locale, kind: kind not in _NOT_STRUCTURED),
        ("names in English", lambda locale, kind: kind == "name"),
    ):
        measured = (("recall", ours.recall(kinds)), ("precision", ours.precision(kinds)))
        if isinstance(answer, NotInstalled):
            for what, value in measured:
                told_name = f"{name}, {what}"
                result.append(Row(told_name, "presidio", value, None, None, "share", told, 0.0, None, answer.reason))
            continue
        theirs = Score()
        for row, found in zip(rows, answer["found"], strict=True):
            known = ((start, end, _PRESIDIO.get(kind)) for start, end, kind in found)
            theirs.add(row, (Found(start, end, kind) for start, end, kind in known if kind is not None))
        installed = version("presidio", "presidio-analyzer")
        for (what, value), other in zip(measured, (theirs.recall(kinds), theirs.precision(kinds)), strict=True):
            told_name = f"{name}, {what}"
            result.append(versus(told_name, "presidio", value, other, "share", told, 0.0, peer_version=installed))
    return result


def _head(some: list[str], megabytes: float) -> list[str]:
    """Return the first texts of about so many megabytes, the last one cut."""
    chosen: list[str] = []
    left = megabytes * 1e6
    for text in some:
        if left <= 0:
            break
        chosen.append(text[: int(left) + 1])
        left -= len(text.encode())
    return chosen


def main() -> None:
    """Run the comparisons and save their rows."""
    if compiled("_pii") is None:
        raise SystemExit("the compiled kernel is not there: there is nothing to compare")
    os.sched_setaffinity(0, {_CORE} & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    save("corpus", [*accuracy(), *speed()])


if __name__ == "__main__":
    main()
