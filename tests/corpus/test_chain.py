from __future__ import annotations

import json
from pathlib import Path

import pytest

from metier.core import Mistake, Workshop
from metier.core.types import Documents
from tests.corpus.pages import chain, make, page, prose


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Thirty good pages and one of each kind of trouble."""
    folder = tmp_path / "manual"
    folder.mkdir()
    for number in range(30):
        (folder / f"page{number:02d}.html").write_text(
            page(f"Topic {number}", f"<p>{prose(number)}</p><pre>\tx  =  {number};\n</pre>", number)
        )
    body = f"<p>{prose(3)}</p><pre>\tx  =  3;\n</pre>"
    (folder / "page03-copy.html").write_text(page("Topic 3", body, 3))
    (folder / "page04-near.md").write_text(f"# Topic 4\n\n{prose(4)} Extra.\n\n```\n\tx  =  4;\n```\n")
    (folder / "all.md").write_text("# Everything\n\n" + "\n\n".join(prose(number) for number in range(10, 20)))
    (folder / "empty.html").write_bytes(b"")
    (folder / "broken.html").write_bytes(b'<meta charset="utf-8"><p>na\xefve \xff text</p>')
    (folder / "image.html").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (folder / "locked.pdf").write_bytes(b"%PDF-1.4\nnothing here")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "news.html").write_text(page("Recent News", f"<p>{prose(77)}</p>"))
    (folder / "index.html").write_text(page("Index", "<ul>" + "<li>word_x</li>" * 80 + "</ul>"))
    (folder / "tiny.txt").write_text("Hello there.\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "notes.md").write_text(prose(5))
    return folder


def test_the_ledger_adds_up_from_files_to_split_documents(planted: Path, tmp_path: Path) -> None:
    made = make(Workshop(tmp_path / "runs"), chain(planted))
    read, filtered, unique = (made[name].record.ledger.lines[0] for name in ("read", "filter", "dedup"))
    assert read.came == 41 and read.kept == 36
    assert read.dropped == {
        "empty file": 1,
        "invalid UTF-8": 1,
        "binary file": 1,
        "unreadable PDF": 1,
        "not a readable kind of file (.jpg)": 1,
    }
    assert filtered.dropped == {
        "change log, release notes or news": 1,
        "index or navigation": 1,
        "too short": 1,
    }
    assert unique.dropped == {"exact duplicate": 1, "near duplicate": 1, "made of other documents": 1}
    split = made["split"].record
    assert split.ledger.made("document") == 30
    assert sum(split.figures["documents"].values()) == 30


def test_what_was_left_out_can_be_looked_up(planted: Path, tmp_path: Path) -> None:
    made = make(Workshop(tmp_path / "runs"), chain(planted))
    unread = (made["read"].folder / "unread.tsv").read_text()
    assert "broken.html\tinvalid UTF-8" in unread
    rows = [json.loads(line) for line in (made["dedup"].folder / "duplicates.jsonl").read_text().splitlines()]
    kept = {document.id: document.source for document in Documents(made["dedup"].folder).rows()}
    by_reason = {row["reason"]: row for row in rows}
    assert kept[by_reason["exact duplicate"]["stands_in"]].startswith("page03")
    assert 0.9 <= by_reason["near duplicate"]["similarity"] < 1
    assert by_reason["made of other documents"]["source"] == "all.md"


def test_furniture_and_repeated_lines_are_gone_and_code_is_whole(planted: Path, tmp_path: Path) -> None:
    made = make(Workshop(tmp_path / "runs"), chain(planted))
    for document in Documents(made["split"].folder).rows():
        assert "Purchase" not in document.text and "secret" not in document.text and "last changed" not in document.text
        assert "\tx  =  " in document.text


def test_the_same_folder_gives_the_same_bytes(planted: Path, tmp_path: Path) -> None:
    one, two = (make(Workshop(tmp_path / name), chain(planted)) for name in ("a", "b"))
    assert list(Documents(one["split"].folder).rows()) == list(Documents(two["split"].folder).rows())


@pytest.mark.parametrize("files", [{}, {"a.png": b"\x89PNG", "b.bin": b"\0\1"}, {"a.html": b"", "b.txt": b"\0\0\0"}])
def test_a_folder_with_nothing_to_read_is_a_mistake(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(Mistake) as raised:
        Workshop(tmp_path / "runs").make(chain(folder)["read"])
    assert raised.value.found and raised.value.hint
