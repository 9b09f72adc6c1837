from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metier.core import Failure, Host, Mistake, Step, Work, Workshop
from metier.core.types import Documents
from metier.core.workshop import output_digest
from metier.corpus.documents import new_document
from metier.corpus.engine import Totals, apply, local
from metier.corpus.engine.shards import SCRATCH, spans
from tests.corpus.operators import AlwaysRaises, Judge, LosesRows, WantsModel

if TYPE_CHECKING:
    import pyarrow as pa

GIB = 1 << 30
ONE_CORE = Host(cores=1, threads=1, memory_bytes=8 * GIB)
TWO_CORES = Host(cores=2, threads=2, memory_bytes=8 * GIB)


class Given(Step[Documents]):
    name = "test-given"
    texts: tuple[str, ...]
    rows_per_shard: int = 5

    def run(self, work: Work) -> None:
        write_shards(work.folder, self.texts, self.rows_per_shard)
        work.count("document", len(self.texts), len(self.texts), made={"document": len(self.texts)})


class Applied(Step[Documents]):
    name = "test-applied"
    corpus: Step[Documents]

    def run(self, work: Work) -> None:
        raise NotImplementedError


def write_shards(folder: Path, texts: tuple[str, ...], rows_per_shard: int) -> None:
    from metier.core.tables import write_rows

    rows = (new_document(f"{number}.txt", text)._asdict() for number, text in enumerate(texts))
    write_rows(folder / "documents", rows, Documents.columns, rows_per_shard=rows_per_shard)


class Bench:
    """A workshop with documents, and attempts at applying an operator to them."""

    def __init__(self, folder: Path, texts: list[str], rows_per_shard: int = 5) -> None:
        self.workshop = Workshop(folder / "runs", ONE_CORE)
        self.step = Applied(corpus=Given(texts=tuple(texts), rows_per_shard=rows_per_shard))
        self.given = self.workshop.make(self.step.corpus)
        self.folder = folder / "made"

    def work(self, host: Host = TWO_CORES) -> Work:
        self.folder.mkdir(exist_ok=True)
        return Work(self.step, self.folder, host, {id(self.step.corpus): self.given}, self.workshop.progress)

    def apply(self, operator: Any = None, host: Host = TWO_CORES, **options: Any) -> Totals:
        return apply(self.work(host), self.given, operator or Judge(), "judging", **options)

    def forget(self) -> None:
        """Remove what was made."""
        shutil.rmtree(self.folder)

    def digest(self) -> str:
        return output_digest(self.folder)

    def kept(self) -> list[str]:
        return [document.text for document in Documents(self.folder).rows()]

    def dropped(self) -> dict[str, str]:
        from metier.core.tables import read_rows

        return {row["source"]: row["reason"] for row in read_rows(self.folder / "dropped")}


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    return lambda *arguments, **options: Bench(tmp_path, *arguments, **options)


@pytest.fixture
def workers_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["metier.corpus.engine.apply"], "_SMALL_BYTES", 0)


def words(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


def with_planted(texts: list[str], **planted: int) -> list[str]:
    for word, row in planted.items():
        texts[row] += f" {word}"
    return texts


def test_an_operator_is_applied_shard_by_shard_and_every_document_is_accounted_for(bench: Callable[..., Bench]) -> None:
    made = bench(with_planted(words(12), drop=3, count=7))
    totals = made.apply()
    assert (totals.came, totals.kept, totals.dropped, totals.notes) == (
        12,
        11,
        Counter({"says drop": 1}),
        Counter({"letters": len("text 7 count")}),
    )
    assert made.kept() == [f"TEXT {n}{' COUNT' if n == 7 else ''}" for n in range(12) if n != 3]
    assert made.dropped() == {"3.txt": "says drop"}
    assert [path.name for path in Documents(made.folder).shards] == [path.name for path in made.given.shards]


def test_the_bytes_are_the_same_in_this_process_and_in_however_many_workers(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(with_planted(words(40), drop=3, RAISE=17), rows_per_shard=11)
    made.apply()
    seen = {made.digest()}
    monkeypatch.setattr(sys.modules["metier.corpus.engine.apply"], "_SMALL_BYTES", 0)
    for host in (ONE_CORE, TWO_CORES):
        made.forget()
        totals = made.apply(host=host)
        assert (totals.came, totals.kept) == (40, 38)
        seen.add(made.digest())
    assert len(seen) == 1


@pytest.mark.usefixtures("workers_always")
def test_a_shard_that_is_cut_into_pieces_is_written_as_if_it_were_not(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.corpus.engine.shards.ROWS_PER_BATCH", 3)  # read by this process, which cuts
    made = bench(with_planted(words(20), drop=3, count=9), rows_per_shard=100)
    assert len(spans(made.given.shards[0])) == 7
    made.apply(Judge(), ONE_CORE)
    whole = made.digest()
    made.forget()
    assert made.apply().came == 20
    assert made.digest() == whole
    assert not list((made.folder / SCRATCH / "pieces").iterdir())


@pytest.mark.usefixtures("workers_always")
def test_a_document_that_crashes_the_operator_is_left_out_and_no_other(bench: Callable[..., Bench]) -> None:
    made = bench(with_planted(words(12), CRASH=6, drop=7))
    totals = made.apply(host=ONE_CORE)
    assert totals.dropped == Counter({"operator crashed": 1, "says drop": 1})
    assert made.dropped() == {"6.txt": "operator crashed", "7.txt": "says drop"}
    assert made.kept() == [f"TEXT {n}" for n in range(12) if n not in (6, 7)]


@pytest.mark.slow
@pytest.mark.usefixtures("workers_always")
def test_a_document_on_which_the_operator_hangs_is_left_out_with_the_place_in_the_events(
    bench: Callable[..., Bench],
) -> None:
    made = bench(with_planted(words(3), HANG=1))
    totals = made.apply(host=ONE_CORE, seconds=0.2)
    assert totals.dropped == Counter({"took too long": 1})
    assert made.kept() == ["TEXT 0", "TEXT 2"]
    told = [event for event in Documents(made.folder).events("left out") if event["reason"] == "took too long"]
    assert "in obey" in told[0]["detail"]


def test_a_document_on_which_the_operator_raises_is_left_out_with_the_traceback(bench: Callable[..., Bench]) -> None:
    made = bench(with_planted(words(12), RAISE=6, GROW=2))
    assert made.apply().dropped == Counter({"operator failed (ValueError)": 1, "took too much memory": 1})
    assert made.dropped() == {"6.txt": "operator failed (ValueError)", "2.txt": "took too much memory"}
    told = {event["reason"]: event["detail"] for event in Documents(made.folder).events("left out")}
    assert "cannot bear text" in told["operator failed (ValueError)"]


def test_a_disk_that_fills_while_an_operator_runs_is_no_fault_of_a_document(bench: Callable[..., Bench]) -> None:
    with pytest.raises(Mistake, match="the disk is full"):
        bench(with_planted(words(7), FULL=3)).apply()


def test_an_operator_that_fails_on_everything_is_itself_at_fault(bench: Callable[..., Bench]) -> None:
    made = bench(words(7))
    with pytest.raises(Failure, match="AlwaysRaises fails on document after document"):
        made.apply(AlwaysRaises())
    assert made.apply(Judge()).kept == 7  # mended, the same step goes on


def test_an_operator_that_loses_rows_is_refused(bench: Callable[..., Bench]) -> None:
    with pytest.raises(Failure, match="LosesRows does not return the documents it was given"):
        bench(words(7)).apply(LosesRows())


@pytest.mark.usefixtures("workers_always")
def test_what_an_operator_says_to_the_user_arrives(bench: Callable[..., Bench]) -> None:
    with pytest.raises(Mistake, match="the model is not there"):
        bench(words(7)).apply(WantsModel())


def test_a_damaged_shard_is_named(bench: Callable[..., Bench]) -> None:
    made = bench(words(12))
    made.given.shards[1].write_bytes(b"PAR1 no more PAR1")
    with pytest.raises(Failure, match=r"part-00001\.parquet is damaged"):
        made.apply()


@pytest.mark.usefixtures("workers_always")
def test_a_step_that_was_killed_when_all_was_done_has_nothing_to_do(bench: Callable[..., Bench]) -> None:
    made = bench(words(3))
    totals = made.apply()
    (made.folder / SCRATCH / "at" / "part-00000.1-1.00000+1").write_text("3 ")
    assert made.apply(AlwaysRaises()) == totals


def test_shards_that_are_done_are_not_done_again(bench: Callable[..., Bench], tmp_path: Path) -> None:
    made = bench(words(20))
    made.apply()
    whole = made.digest()
    (made.folder / "documents" / "part-00002.parquet").unlink()
    (tmp_path / "marks").mkdir()
    assert made.apply(Judge(marks=str(tmp_path / "marks"))).came == 20
    assert len(list((tmp_path / "marks").iterdir())) == 1
    assert made.digest() == whole


def test_a_shard_that_came_of_another_input_is_done_again(bench: Callable[..., Bench]) -> None:
    made = bench(words(20))
    made.apply()
    write_shards(made.given.folder, tuple(f"other {n}" for n in range(9)), 5)
    assert made.apply().came == 9
    assert made.kept() == [f"OTHER {n}" for n in range(9)]


def test_an_empty_corpus_gives_an_empty_one(bench: Callable[..., Bench]) -> None:
    made = bench([])
    assert made.apply() == Totals(0, 0, Counter(), Counter())
    assert made.kept() == []


@pytest.mark.usefixtures("workers_always")
def test_a_full_disk_says_so_and_the_next_attempt_goes_on(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = bench([*words(10), "x" * 3, *(os.urandom(400_000).hex() for _ in range(2)), *words(3)])
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
    with monkeypatch.context() as patched, pytest.raises(Mistake, match="a file would be larger") as caught:
        patched.setattr(local, "_PROGRAM", limit + local._PROGRAM)
        made.apply(host=ONE_CORE)
    assert caught.value.hint
    finished = sorted(path.name for path in (made.folder / "documents").iterdir())
    assert finished == ["part-00000.parquet", "part-00001.parquet"]
    assert not (made.folder / SCRATCH / "open").exists()
    (tmp_path / "marks").mkdir()
    assert made.apply(Judge(marks=str(tmp_path / "marks"))).came == 16
    assert sum(int(path.read_text()) for path in (tmp_path / "marks").iterdir()) == 6  # of the third and fourth shard


KILLED = """
import sys
from pathlib import Path
from tests.corpus import test_engine as t
sys.modules["metier.corpus.engine.apply"]._SMALL_BYTES = 0
made = t.Bench(Path(sys.argv[1]), eval(sys.argv[2]))
print("started", flush=True)
made.apply()
"""


@pytest.mark.slow
def test_a_step_that_is_killed_goes_on_and_ends_with_the_same_bytes(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    texts = [f"text {number}{' SLEEP' if number > 9 else ''}" for number in range(20)]
    made = bench(texts)
    child = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path, repr(texts)], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline()
    finished = made.folder / SCRATCH / "counts"
    until = time.monotonic() + 20
    while len(list(finished.glob("*.json"))) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    child.kill()
    child.wait()
    done = len(list(finished.glob("*.json")))
    assert 2 <= done < 4
    (tmp_path / "marks").mkdir()
    assert made.apply(Judge(marks=str(tmp_path / "marks"))).came == 20
    assert len(list((tmp_path / "marks").iterdir())) == 4 - done
    interrupted = made.digest()
    made.forget()
    made.apply()
    assert made.digest() == interrupted


def test_progress_tells_documents_within_a_shard(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.corpus.engine.piece import rows_under_way

    made = bench(words(12), rows_per_shard=12)
    seen = []
    monkeypatch.setattr("metier.corpus.engine.shards.ROWS_PER_BATCH", 4)

    @dataclass(frozen=True)
    class Looks:
        def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            seen.append(rows_under_way(made.folder))
            return batch

    made.apply(Looks())
    assert seen == [0, 4, 8]
