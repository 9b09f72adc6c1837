"""Rows survive the disk, in order, shard by shard."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.core import Failure
from metier.core.chat import Message
from metier.core.tables import read_rows, write_rows
from metier.core.types import Conversation, Conversations, Document, Documents, Preference, Preferences


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]))), rows_per_shard=st.integers(1, 5))
def test_rows_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], rows_per_shard: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    assert write_rows(folder, ({"text": text} for text in texts), {"text": "string"}, rows_per_shard) == len(texts)
    assert [row["text"] for row in read_rows(folder)] == texts
    assert len(list(folder.glob("*.parquet"))) == max(1, -(-len(texts) // rows_per_shard))


def test_writing_again_replaces_every_shard(tmp_path: Path) -> None:
    write_rows(tmp_path, ({"n": n} for n in range(9)), {"n": "int"}, 2)
    write_rows(tmp_path, [{"n": 1}], {"n": "int"}, 2)
    assert list(read_rows(tmp_path)) == [{"n": 1}]


def test_a_missing_or_damaged_table_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no rows"):
        list(read_rows(tmp_path))
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(Failure, match="damaged"):
        list(read_rows(tmp_path))


def test_documents_conversations_and_preferences_come_back_as_written(tmp_path: Path) -> None:
    documents = [Document("1", "a\n中文", "a.html", split="train"), Document("2", "b", "b.html", split="held_out")]
    Documents.write(tmp_path, documents)
    assert list(Documents(tmp_path).rows()) == documents
    assert [row.id for row in Documents(tmp_path).rows("held_out")] == ["2"]

    turns = [Message("user", "q"), Message("assistant", "a")]
    rows = [
        Conversation("1", turns, "sql", check={"scorer": "sqlite", "gold": "SELECT '中'"}),
        Conversation("2", turns, "qa"),
    ]
    Conversations.write(tmp_path, rows)
    assert list(Conversations(tmp_path).rows("train")) == rows

    pairs = [Preference("1", turns[:1], "good", "bad", 1.0, 0.0, "execution")]
    Preferences.write(tmp_path, pairs)
    assert list(Preferences(tmp_path).rows()) == pairs
