from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from metier.core import LocalPath, Mistake, Workshop
from metier.core.tables import read_rows
from metier.core.types import Documents
from metier.corpus import Filter, Read
from metier.corpus.clean_lines import CleanLines
from metier.corpus.filter import Judge, Name
from metier.corpus.rules import House, Languages, Seen
from tests.corpus.pages import prose


@pytest.fixture
def corpus(tmp_path: Path) -> Read:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "good.md").write_text(f"# Locks\n\nThe locks of the page. {prose(1)}")
    (folder / "again.md").write_text("# Again\n\n" + "\n".join(["The same line of the text, and no other."] * 30))
    (folder / "short.md").write_text("# Short\n\nThis is all there is to say of the lock.")
    (folder / "menu.md").write_text(f"# Menu\n\nHome\nAbout us\n\nThe page has of course a text. {prose(2)}")
    return Read(folder=LocalPath(folder))


def made(step: Filter | CleanLines, tmp_path: Path) -> Documents:
    artifact = Workshop(tmp_path / "runs").make(step)
    assert isinstance(artifact, Documents)
    return artifact


def reasons(artifact: Documents) -> dict[str, str]:
    return {Path(row["source"]).name: row["reason"] for row in read_rows(artifact.folder / "dropped")}


def test_the_rules_of_the_house_are_the_default(corpus: Read, tmp_path: Path) -> None:
    assert reasons(made(Filter(corpus=corpus), tmp_path)) == {"short.md": "too short"}


def test_sets_of_rules_object_in_their_order(corpus: Read, tmp_path: Path) -> None:
    artifact = made(Filter(corpus=corpus, rules=("gopher-quality", "gopher-repetition", "house")), tmp_path)
    assert reasons(artifact) == {"short.md": "gopher: too few words", "again.md": "gopher: repeated lines"}
    line = artifact.record.ledger.lines[0]
    assert (line.came, line.kept) == (4, 2)
    assert line.dropped == {"gopher: too few words": 1, "gopher: repeated lines": 1}


def test_thresholds_are_fields_of_the_step_and_of_its_sets(corpus: Read, tmp_path: Path) -> None:
    assert made(Filter(corpus=corpus, min_prose_chars=None), tmp_path).record.ledger.lines[0].dropped == {}
    few = Filter.model_validate({"corpus": corpus, "rules": ("gopher-quality",), "gopher_quality": {"min_words": 5}})
    assert made(few, tmp_path).record.ledger.lines[0].dropped == {}


def test_unknown_rules_and_thresholds_are_refused(corpus: Read) -> None:
    unknown: list[dict[str, Any]] = [{"rules": ("gofer",)}, {"rules": ()}, {"c4": {"min_words": 3}}]
    for wrong in [*unknown, {"min_prose_chars": 0}, {"rules": ("language",)}]:
        with pytest.raises(ValidationError):
            Filter.model_validate(wrong | {"corpus": corpus})


def test_a_filter_that_leaves_nothing_is_a_mistake(corpus: Read, tmp_path: Path) -> None:
    with pytest.raises(Mistake) as raised:
        made(Filter(corpus=corpus, min_prose_chars=100_000), tmp_path)
    assert raised.value.found == "4 documents: too short"


def test_all_sets_at_once_and_by_the_python_twins_decide_alike(
    corpus: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: tuple[Name, ...] = get_args(Name)
    step = Filter(corpus=corpus, rules=names, language=Languages(wanted=("en",)))
    compiled = reasons(made(step, tmp_path / "one"))
    monkeypatch.setenv("METIER_KERNEL", "python")
    assert reasons(made(step, tmp_path / "two")) == compiled


def test_the_operator_travels_to_workers(corpus: Read) -> None:
    step = Filter(corpus=corpus, rules=("house", "c4"))
    operator = Judge(tuple(step.sets()))
    assert pickle.loads(pickle.dumps(operator)) == operator


def test_lines_are_cleaned_apart_from_the_filter(corpus: Read, tmp_path: Path) -> None:
    artifact = made(CleanLines(corpus=corpus), tmp_path)
    texts = {Path(document.source).name: document.text for document in artifact.rows()}
    assert texts["menu.md"].startswith("# Menu\n\nThe page has of course a text.")
    assert texts["short.md"] == "# Short\n\nThis is all there is to say of the lock."
    assert artifact.record.figures["lines"] == {"kept": 33, "no end of a sentence": 2}


def test_nothing_left_of_a_document_is_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "menu.md").write_text("Home\nAbout us\n")
    (folder / "code.py").write_text("x = 1\n")
    artifact = made(CleanLines(corpus=Read(folder=LocalPath(folder))), tmp_path)
    assert reasons(artifact) == {"menu.md": "no line is left"}
    assert [document.text for document in artifact.rows()] == ["x = 1\n"]


def test_a_document_alone_is_judged_as_in_a_batch(corpus: Read, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    shard = Workshop(tmp_path / "runs").make(corpus)
    assert isinstance(shard, Documents)
    batch = pq.read_table(shard.shards[0]).combine_chunks().to_batches()[0]
    alone = [House().reason(document) for document in shard.rows()]
    assert Judge((House(),))(batch).column("reason").to_pylist() == alone
    assert len(Seen(batch)) == 4
