"""The page about a corpus, and the life of one document in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from metier.core import Host, Mistake, Workshop
from metier.core.types import Documents
from metier.corpus import Dedup, Look, Read, Saved
from metier.corpus.dedup.repeats import DedupParts
from metier.corpus.documents import new_document
from metier.corpus.look import trace
from metier.corpus.look.page import bars, histogram
from metier.corpus.look.samples import difference
from metier.corpus.look.survey import Share, group_of, survey
from tests.corpus.pages import prose

NOTICE = "Nobody may pass this page on to anybody outside of the company that wrote it down."


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    (tmp_path / "in" / "law").mkdir(parents=True)
    (tmp_path / "in" / "tax").mkdir()
    for number in range(4):
        (tmp_path / "in" / "law" / f"{number}.txt").write_text(f"{prose(number)}\n\n{NOTICE}\n\n{prose(40 + number)}")
    (tmp_path / "in" / "tax" / "copy.txt").write_text((tmp_path / "in" / "law" / "0.txt").read_text())
    (tmp_path / "in" / "tax" / "<b>.txt").write_text("<script>alert(1)</script> " + prose(9))
    return Workshop(tmp_path / "runs", Host(cores=1, threads=1, memory_bytes=8 << 30))


def steps(shop: Workshop) -> tuple[Read, Dedup, DedupParts]:
    read = Read(folder=shop.folder.parent / "in")
    unique = Dedup(corpus=read)
    return read, unique, DedupParts(corpus=unique)


def test_the_page_tells_what_each_step_kept_and_shows_what_it_left_out_and_changed(shop: Workshop) -> None:
    look = shop.make(Look(steps=steps(shop), title="Handbook"))
    page = (look.folder / "report.html").read_text()
    told = json.loads((look.folder / "report.json").read_text())
    assert [(step["name"], step["kept"]) for step in told["steps"]] == [("read", 6), ("dedup", 5), ("dedup-parts", 5)]
    assert "Handbook" in page and "exact duplicate: <b>1</b>" in page
    assert re.search(rf'class="went">- {NOTICE}', page)


def test_text_of_a_document_is_never_markup_and_nothing_is_fetched(shop: Workshop) -> None:
    page = (shop.make(Look(steps=steps(shop))).folder / "report.html").read_text()
    assert "<script" not in page and not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)


def test_what_was_there_before_it_was_made_anonymous_is_not_shown(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import metier.corpus.look.step as module

    monkeypatch.setattr(module, "_HOLDS_SECRETS", "dedup-parts")
    page = (shop.make(Look(steps=steps(shop))).folder / "report.html").read_text()
    assert NOTICE not in page.replace("\n", " ") and "it was personal data" in page


def test_nothing_to_look_at_is_a_mistake(shop: Workshop) -> None:
    with pytest.raises(Mistake, match="nothing to look at"):
        shop.make(Look(steps=()))


def test_documents_and_characters_are_counted_by_source_and_kind(tmp_path: Path) -> None:
    rows = [new_document("a/x.txt", "one"), new_document("a/y.txt", "four!"), new_document("https://b.org/c", "one")]
    Documents.write(tmp_path, rows)
    found = survey(Documents(tmp_path))
    assert (found.documents, found.characters, found.median, found.copies) == (3, 11, 3, 1)
    assert found.by["source"] == {"a": Share(2, 8), "b.org": Share(1, 3)}
    assert "language" not in found.by, "a column nobody filled tells nothing"
    assert found.lengths == {1: 2, 2: 1}  # 3 characters: floor(4·log10 3) = 1; 5: floor(4·log10 5) = 2


def test_a_source_belongs_to_its_host_or_top_folder() -> None:
    assert [group_of(s) for s in ("https://x.org/a/b", "law/a.txt", "a.txt", None)] == [
        "x.org",
        "law",
        "(no folder)",
        "(no folder)",
    ]


def test_what_does_not_fit_into_a_chart_is_one_bar() -> None:
    shares = {str(number): Share(1, 100 - number) for number in range(20)}
    drawn = bars(shares)
    assert len(drawn) == 13 and drawn[-1].label == "8 others" and max(bar.percent for bar in drawn) == 100
    assert histogram({}) == "" and histogram({8: 3, 12: 1}).count("<rect") == 2


def test_a_difference_shows_the_changed_line_and_one_around() -> None:
    lines = difference("a\nb\nc\nd\ne", "a\nb\nX\nd\ne")
    assert [line.kind + line.text for line in lines] == ["…", " b", "-c", "+X", " d"]


def test_the_life_of_a_document_is_told_from_its_file_to_its_end(shop: Workshop) -> None:
    chain = [(step.name, shop.make(step)) for step in steps(shop)]
    stay = list(trace("law/1.txt", chain))
    assert [(station.step, station.outcome) for station in stay] == [
        ("read", "came"),
        ("dedup", "unchanged"),
        ("dedup-parts", "changed"),
    ]
    gone = list(trace("tax/copy.txt", chain))
    assert [(station.outcome, station.detail) for station in gone][1][0] == "left out"
    assert "exact duplicate" in gone[-1].detail and len(gone) == 2
    by_id = stay[0].row
    assert by_id is not None and [s.outcome for s in trace(by_id["id"], chain)] == [s.outcome for s in stay]
    assert {station.outcome for station in trace("nobody", chain)} == {"not there"}


def test_saved_documents_are_those_that_were_written_with_their_list(shop: Workshop, tmp_path: Path) -> None:
    made = shop.make(steps(shop)[1])
    saved = shop.make(Saved(folder=made.folder))
    assert list(saved.rows()) == list(made.rows())
    look = shop.make(Look(steps=(steps(shop)[0], Saved(folder=made.folder))))
    assert "exact duplicate" in (look.folder / "report.html").read_text()


def test_a_folder_without_documents_of_metier_is_refused(shop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="holds no documents of Metier"):
        shop.make(Saved(folder=tmp_path / "in"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "part-0.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(Mistake, match="no readable Parquet"):
        shop.make(Saved(folder=tmp_path / "other"))
