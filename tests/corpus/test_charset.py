from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.corpus.charset import Undecodable, decode


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_utf8_comes_back_as_it_was(text: str) -> None:
    data = text.encode()
    if not data.startswith(b"\xef\xbb\xbf") and b"\x1b$" not in data:
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


CHINESE = "数据库是按照数据结构来组织、存储和管理数据的仓库。用户可以对文件中的数据进行新增、查询、更新、删除等操作。"
TRADITIONAL = (
    "資料庫是按照資料結構來組織、儲存和管理資料的倉庫。使用者可以對檔案中的資料進行新增、查詢、更新、刪除等操作。"
)
JAPANESE = (
    "データベースとは、検索や蓄積が容易にできるよう整理された情報の集まりのことです。"
    "コンピュータによって実現されたものを指します。"
)
KOREAN = (
    "데이터베이스는 여러 사람이 공유하여 사용할 목적으로 체계화해 통합, 관리하는 데이터의 집합이다. "
    "작성된 목록으로 여러 시스템들의 자료이다."
)
RUSSIAN = "База данных — совокупность данных, хранимых в соответствии со схемой, с которой работают правила."
GERMAN = "Eine Datenbank für größere Mengen: Schlüssel, Übersicht und Prüfung. Die Straße heißt „Am Fluß“ – natürlich."
POLISH = "Baza danych to zbiór danych zapisanych zgodnie z regułami. Głównie są to źródła, które łączą się ściśle."
FRENCH = (
    "Une base de données est un conteneur où l’on stocke des données : chiffres, dates, mots. C’est à côté, déjà prêt."
)


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        (CHINESE, "gb18030"), (CHINESE, "utf-16-le"), (CHINESE, "utf-16-be"), (TRADITIONAL, "big5"),
        (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"), (JAPANESE, "iso2022_jp"), (JAPANESE, "utf-16-le"),
        (KOREAN, "euc_kr"), (KOREAN, "utf-16-be"), (RUSSIAN, "cp1251"), (GERMAN, "cp1252"),
        (GERMAN, "utf-16-le"), (POLISH, "cp1250"), (POLISH, "iso8859_2"), (FRENCH, "cp1252"),
    ],
)  # fmt: skip
def test_a_charset_without_mark_is_known_by_what_its_language_writes(text: str, charset: str) -> None:
    assert decode(text.encode(charset)) == text


@pytest.mark.parametrize("charset", ["cp1253", "cp1256", "tis_620", "cp866", "mac_roman"])
def test_what_is_not_certain_is_not_guessed(charset: str) -> None:
    words = {
        "cp1253": "Μια βάση δεδομένων είναι μια συλλογή", "cp1256": "قاعدة البيانات هي مجموعة", "cp866": RUSSIAN[14:],
        "tis_620": "ฐานข้อมูลคือชุดของข้อมูล", "mac_roman": "größer, Übung, Straße, für, Schlüssel",
    }[charset]  # fmt: skip
    with pytest.raises(Undecodable, match="invalid UTF-8"):
        decode(words.encode(charset))


def test_what_a_server_claims_counts_where_the_bytes_agree() -> None:
    assert decode("Größe".encode("iso8859_15"), "ISO-8859-15") == "Größe"
    assert decode("Größe".encode(), "ISO-8859-15") == "Größe"
    with pytest.raises(Undecodable, match="declares"):
        decode(b"caf\xe9 \x81", "shift_jis")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xfe" + "words ".encode("utf-16-le") * 99 + b"\x00\xd8\x20\x00", "invalid UTF-16"),
        (b"\xff\xfe" + "words ".encode("utf-16-le") * 99 + b"\x41", "invalid UTF-16"),
        (b"\xef\xbb\xbfcaf\xe9", "invalid UTF-8"),
    ],
)
def test_text_that_is_damaged_is_told_from_what_is_no_text(data: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        decode(data)
