"""JSON lines that outlive a kill."""

from __future__ import annotations

from pathlib import Path

from metier.core.journal import append_to_journal, read_journal


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert read_journal(path) == []
    append_to_journal(path, [{"a": "é\u2028"}, [1, None]])
    append_to_journal(path, [3])
    assert read_journal(path) == [{"a": "é\u2028"}, [1, None], 3]


def test_a_line_cut_by_a_kill_is_removed_so_that_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append_to_journal(path, [{"id": 1}, {"id": 2}])
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        left = read_journal(path)
        append_to_journal(path, ["new"])
        assert read_journal(path) == [*left, "new"]
        assert left == [{"id": 1}, {"id": 2}][: len(left)]
