from __future__ import annotations

import random
import re
from pathlib import Path

import pyarrow as pa
import pytest

from metier.core.tables import arrow_schema, write_rows
from metier.core.types import Document, Documents
from metier.corpus.documents import new_document
from metier.corpus.rules import Languages, Noise, Seen, Spelling
from metier.corpus.rules.rule_set import first_reasons
from tests.corpus.pages import WORDS, prose

GERMAN = "Der Puffer und die Seite sind in der Datei, und das Blatt ist nicht im Baum. "
FRENCH = "La page est dans le fichier et les clés des tables ne sont pas dans un arbre « réel ». "
CHINESE = "数据库是按照数据结构来组织、存储和管理数据的仓库。"
RUSSIAN = "База данных хранит строки в таблицах, и для каждой таблицы есть индекс по ключу. "


def reason(text: str, media_type: str = "text/html") -> str | None:
    return Noise().reason(new_document("page", text, "", media_type))


@pytest.mark.parametrize("text", [prose(1), GERMAN * 9, FRENCH * 9, CHINESE * 9, RUSSIAN * 9])
def test_good_text_in_any_language_is_no_noise(text: str) -> None:
    assert reason(text) is None


@pytest.mark.parametrize(
    "damaged",
    [
        (GERMAN + "Größe für Übung. ").encode().decode("cp1252"),
        (FRENCH * 2).encode().decode("latin-1"),
        RUSSIAN.encode().decode("latin-1"),
        GERMAN.encode("utf-16").decode("utf-8", "replace"),
        CHINESE + "锟斤拷锟斤拷",
    ],
)
def test_wrongly_decoded_text_goes_whatever_its_kind(damaged: str) -> None:
    assert reason(damaged) == "noise: encoding damage"
    assert reason(damaged, "text/x-python") == "noise: encoding damage"


def test_two_hundred_characters_are_needed_for_each_that_is_damaged() -> None:
    assert len("word " * 39 + "word�") == 200
    assert reason("word " * 39 + "word�") is None
    assert reason("word " * 39 + "wor�") == "noise: encoding damage"


def test_control_characters_go() -> None:
    assert reason("Some text \x01\x02\x7f " * 20) == "noise: control characters"
    assert reason("Tabs\tand\r\nline ends\x0c and \x85 are white space. " * 20) is None


def test_symbols_keys_and_stretched_words_go() -> None:
    assert reason("▓▒░ = word ≈≈ ▓▒ " * 20) == "noise: symbols"
    assert reason(" ".join("x" * 61 for _ in range(30))) == "noise: symbols"
    assert reason("https://example.org/" + "path/" * 60 + " " + prose(1)) is None
    assert reason(" ".join(f"q{n}Zx7Kp{n}Wm3Tr" for n in range(100))) == "noise: no words"
    assert reason("sooooooo goooooood " * 20) == "noise: stretched words"
    assert reason(" ".join("the letters stand apart".replace(" ", "")) * 5) == "noise: letters apart"


def test_symbols_in_code_are_none_of_prose() -> None:
    assert reason("= + = <> ~ | $" * 30, "text/x-perl") is None
    assert reason(prose(1) + "\n\n```\n" + "▓▒░ ~~ $$\n" * 90 + "```") is None


def test_only_wanted_languages_stay() -> None:
    rules = Languages(wanted=("en", "zh-CN"))
    told = {
        language: rules.reason(new_document("a", "text", language=language)) for language in ("en-GB", "zh", "de", None)
    }
    assert told == {"en-GB": None, "zh": None, "de": "language: de", None: None}
    assert Languages(wanted=("en",), keep_unknown=False).reason(new_document("a", "text")) == "language: unknown"
    assert Languages(wanted=("en",)).reason(new_document("a.py", "x", "", "text/x-python", "de")) is None
    assert Languages().reason(new_document("a", "text", language="de")) is None


def english(rng: random.Random) -> str:
    return " ".join(rng.choice([*WORDS, "the", "of", "and", "with", "that"]) for _ in range(120))


def misread(text: str, rng: random.Random, rate: float) -> str:
    return re.sub(r"[a-z]", lambda found: rng.choice("abcdefghijkl1") if rng.random() < rate else found[0], text)


@pytest.fixture
def corpus(tmp_path: Path) -> list[Path]:
    rng = random.Random(7)
    documents = [new_document(f"{n}.txt", english(rng)) for n in range(250)]
    documents.append(new_document("scan.txt", "The text of the scan and with that: " + misread(english(rng), rng, 0.2)))
    documents.append(new_document("german.txt", GERMAN * 9))
    write_rows(tmp_path / "documents", (d._asdict() for d in documents), Documents.columns)
    return [tmp_path / "documents" / "part-00000.parquet"]


def judged(rules: Spelling, shards: list[Path], folder: Path, documents: list[Document]) -> list[str | None]:
    rows = [document._asdict() for document in documents]
    batch = pa.RecordBatch.from_pylist(rows, arrow_schema(Documents.columns))
    return first_reasons([rules.learned(shards, folder)], Seen(batch))


def test_words_that_no_other_document_has_are_spelling_noise(corpus: list[Path], tmp_path: Path) -> None:
    rng = random.Random(8)
    good, bad = english(rng), "The and of with that. " + misread(english(rng), rng, 0.2)
    documents = [new_document("a", good), new_document("b", bad), new_document("c", bad, "", "text/x-c")]
    expected = [None, "spelling: unknown words", None]
    assert judged(Spelling(), corpus, tmp_path / "words", documents) == expected


def test_a_language_of_few_documents_and_chinese_are_not_judged(corpus: list[Path], tmp_path: Path) -> None:
    documents = [
        new_document("a", GERMAN * 9),
        new_document("b", CHINESE * 9, language="zh"),
        new_document("c", "Short."),
    ]
    assert judged(Spelling(), corpus, tmp_path / "words", documents) == [None, None, None]
    strict = Spelling(min_documents=1, min_words=1)
    assert judged(strict, corpus, tmp_path / "words", documents)[0] == "spelling: unknown words"


def test_words_are_learned_once(corpus: list[Path], tmp_path: Path) -> None:
    known = Spelling().learned(corpus, tmp_path / "words")
    before = known.table.stat().st_mtime_ns
    assert Spelling().learned([], tmp_path / "words") == known
    assert known.table.stat().st_mtime_ns == before
