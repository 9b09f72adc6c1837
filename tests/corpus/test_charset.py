from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.corpus.charset import Undecodable, decode


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_utf8_comes_back_as_it_was(text: str) -> None:
    data = text.encode()
    if not data.startswith((b"\xef\xbb\xbf", b"RIFF", b"OggS", b"BZh", b"wOF")):
        assert decode(data) == text


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_have_a_reason(data: bytes) -> None:
    try:
        assert isinstance(decode(data), str)
    except Undecodable as reason:
        assert str(reason)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Grüße, voilà".encode("utf-8-sig"), "Grüße, voilà"),
        ("A plain line with a few words.\n".encode("utf-16"), "A plain line with a few words.\n"),
        (b'<meta charset="iso-8859-1"><p>Stra\xdfe</p>', '<meta charset="iso-8859-1"><p>Straße</p>'),
        (
            "数据库是按照数据结构来组织存储和管理数据的仓库。".encode("gb18030"),
            "数据库是按照数据结构来组织存储和管理数据的仓库。",
        ),
        ("Le café est très bon, déjà vu à Paris.".encode("cp1252"), "Le café est très bon, déjà vu à Paris."),
    ],
)
def test_other_charsets_are_known_by_mark_declaration_or_look(data: bytes, text: str) -> None:
    assert decode(data) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"\x89PNG\r\n\x1a\n....", "binary file"),
        (b"some\0text", "binary file"),
        (b"\xff\xfe\x00\xd8\x00\xd8\x00\xd8", "binary file"),
        (b"text \xff\xfe\xfd\x80\x81 text", "invalid UTF-8"),
        (b'<meta charset="utf-8"> caf\xe9', "invalid UTF-8"),
    ],
)
def test_what_is_no_text_has_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        decode(data)
