from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metier.core import Artifact, Host, Mistake, Step, Work, Workshop
from metier.core.tables import write_rows
from metier.core.types import Documents
from metier.corpus import scores
from metier.corpus.documents import new_document
from metier.corpus.scores import Row, leave_out, score_all
from tests.corpus.scorers import Length

TWO_CORES = Host(cores=2, threads=2, memory_bytes=8 << 30)


class Texts(Step[Documents]):
    name = "test-texts"
    texts: tuple[str, ...]
    rows_per_shard: int = 10

    def run(self, work: Work) -> None:
        rows = (new_document(f"{number}.txt", text)._asdict() for number, text in enumerate(self.texts))
        write_rows(work.folder / "documents", rows, Documents.columns, rows_per_shard=self.rows_per_shard)
        work.count("document", len(self.texts), len(self.texts), made={"document": len(self.texts)})


class Judged(Step[Documents]):
    name = "test-judged"
    corpus: Step[Documents]

    def run(self, work: Work) -> None:
        documents = work.made(self.corpus)
        found = score_all(work, documents, Length(), "scoring")

        def why(row: Row) -> str | None:
            return row.failed or ("too short" if row.score is not None and row.score < 5 else None)

        totals = leave_out(work, documents, found, why, "filtering")
        made = {"document": totals.kept}
        work.count("document", totals.came, totals.kept, totals.dropped, source="corpus", made=made)


@pytest.fixture
def workers_always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(scores, "_SMALL_BYTES", 0)
    yield


def judged(folder: Path, texts: list[str]) -> Artifact:
    return Workshop(folder / "runs", TWO_CORES).make(Judged(corpus=Texts(texts=tuple(texts))))


def test_scores_stand_in_the_order_of_the_documents_and_decide_who_stays(tmp_path: Path) -> None:
    made = judged(tmp_path, ["long enough", "no", "tell me more"] * 9)
    assert made.record.ledger.lines[0].dropped == {"too short": 9}
    assert [row.text for row in Documents(made.folder).rows()] == ["long enough", "tell me more"] * 9
    rows = list(scores.Scores(made.folder, [made.folder / f"part-{n:05d}.parquet" for n in range(3)]).rows())
    assert [row.score for row in rows] == [11.0, 2.0, 12.0] * 9
    assert rows[2].detail == {"said": "tell me more"} and rows[0].detail is None
    assert [row.source for row in rows] == [f"{number}.txt" for number in range(27)]


def test_a_document_that_cannot_be_scored_costs_itself_alone(tmp_path: Path) -> None:
    made = judged(tmp_path, ["long enough", "raise the alarm", "long enough"])
    assert made.record.ledger.lines[0].dropped == {"could not be scored (ValueError)": 1}
    assert made.record.ledger.made("document") == 2


def test_a_document_that_kills_its_worker_costs_itself_alone(tmp_path: Path, workers_always: None) -> None:
    texts = [f"long enough {number}" for number in range(40)]
    texts[17] = "crash and burn"
    made = judged(tmp_path, texts)
    line = made.record.ledger.lines[0]
    assert line.dropped == {"worker crashed": 1} and line.kept == 39
    assert "crash and burn" not in {row.text for row in Documents(made.folder).rows()}


def test_what_the_user_can_mend_ends_the_step(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="there is no model"):
        judged(tmp_path, ["a mistake"])


def test_workers_give_what_one_process_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{'x' * (number % 9)}" for number in range(35)]
    alone = judged(tmp_path / "alone", texts)
    monkeypatch.setattr(scores, "_SMALL_BYTES", 0)
    crew = judged(tmp_path / "crew", texts)
    assert list(Documents(alone.folder).rows()) == list(Documents(crew.folder).rows())
    assert alone.record.ledger == crew.record.ledger


def test_an_attempt_goes_on_at_the_first_shard_without_scores(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "runs", TWO_CORES)
    step = Judged(corpus=Texts(texts=tuple(f"long enough {number}" for number in range(30))))
    given = workshop.make(step.corpus)
    folder = tmp_path / "made"
    folder.mkdir()

    def work() -> Work:
        return Work(step, folder, TWO_CORES, {id(step.corpus): given}, workshop.progress)

    score_all(work(), Documents(given.folder), Length(), "scoring")
    files = sorted((folder / "scores").iterdir())
    before = {path.name: path.stat().st_mtime_ns for path in files}
    files[1].unlink()
    score_all(work(), Documents(given.folder), Length(), "scoring")
    after = {path.name: path.stat().st_mtime_ns for path in sorted((folder / "scores").iterdir())}
    assert len(files) == 3 and after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == [files[1].name]


def test_a_text_that_changed_has_another_key() -> None:
    import pyarrow as pa

    rows = [new_document("a.txt", text)._asdict() for text in ("one", "two", "one")]
    batch = pa.RecordBatch.from_pylist(rows)
    one, two, again = scores.keys(batch)
    assert one == again != two
