from __future__ import annotations

from pathlib import Path

import pytest

from metier.core import LocalPath, Workshop
from metier.core.types import Documents
from metier.corpus.langid import identify, prose_sample
from metier.corpus.language import IdentifyLanguage, is_code
from metier.corpus.saved import Saved

SENTENCES = {
    "en": "The lid of the kettle rattled, and nobody in the kitchen seemed to mind the noise at all.",
    "de": "Der Deckel des Kessels klapperte, und niemand in der Küche schien sich an dem Lärm zu stören.",
    "fr": "Le couvercle de la bouilloire tremblait, et personne dans la cuisine ne semblait gêné par le bruit.",
    "es": "La tapa de la tetera traqueteaba, y a nadie en la cocina parecía molestarle aquel ruido.",
    "pl": "Pokrywka czajnika grzechotała, a nikomu w kuchni ten hałas zdawał się wcale nie przeszkadzać.",
    "ru": "Крышка чайника дребезжала, и никому на кухне этот шум, казалось, совсем не мешал.",
    "tr": "Çaydanlığın kapağı takırdıyordu ve mutfaktaki hiç kimse bu gürültüden rahatsız görünmüyordu.",
    "el": "Το καπάκι του βραστήρα κροτάλιζε και κανείς στην κουζίνα δεν έδειχνε να ενοχλείται.",
    "zh": "水壶的盖子一直在响，厨房里似乎没有人在意这个声音。",
    "ja": "やかんの蓋がカタカタと鳴っていたが、台所の誰も気にしていないようだった。",
    "ko": "주전자 뚜껑이 덜컹거렸지만 부엌에 있는 누구도 신경 쓰지 않는 것 같았다.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_one_sentence_tells_its_language(language: str) -> None:
    assert identify([SENTENCES[language]]) == [language]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "ok",
        "12.5 3,000 17:45 88%",
        "你好",
        "x = {'a_b': 1}\nreturn foo_bar(x)\n",
        "=== *** ---\n" * 50,
        "\0\1\2" * 40,
    ],
)
def test_what_is_too_short_or_no_language_stays_unsure(text: str) -> None:
    assert identify([text]) == [None]


def test_chinese_in_which_names_are_latin_or_japanese_is_chinese() -> None:
    assert identify(["安装 PostgreSQL 以后，请用 psql 命令连接数据库服务器，然后创建新的用户。"]) == ["zh"]
    assert identify(["他最喜欢的店名叫の屋，那里的面条非常好吃，每个周末他都会和朋友一起去那里吃饭。"]) == ["zh"]
    assert identify(["本手冊說明如何在電腦上安裝作業系統，並設定網路與使用者帳號。"]) == ["zh"]


def test_code_links_and_english_names_do_not_make_a_text_english() -> None:
    text = f"{SENTENCES['de']} Siehe `git rebase --interactive` und https://example.org/the/manual/of/this/thing/here."
    fence = "```\nfor the_file in all_of_the_files:\n    print(the_file, 'is one of the files')\n```\n" * 5
    assert identify([fence + text + "\n" + fence]) == ["de"]


def test_an_english_preface_does_not_make_a_book_english() -> None:
    preface = "Permission is granted to copy this book under the terms of the licence. " * 5
    assert identify([preface + SENTENCES["fr"] * 200]) == ["fr"]


def test_upper_case_is_read_like_lower_case() -> None:
    assert identify([SENTENCES["de"].upper().replace("ß", "SS")]) == ["de"]


@pytest.mark.parametrize("length", [0, 1, 999, 1000, 1251, 2000, 10_000, 1_000_000])
def test_a_sample_is_never_longer_than_asked_and_a_half(length: int) -> None:
    assert len(prose_sample("ab " * (length // 3), 1000)) <= 1300


def test_a_text_without_a_space_takes_no_more_time_than_another() -> None:
    import time

    start = time.process_time()
    identify(["/" * 50_000_000, "漢" * 5_000_000 + "/", "a" * 5_000_000 + "@", "<" * 1_000_000, "`" * 1_000_000])
    assert time.process_time() - start < 2


def test_the_kernel_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*SENTENCES.values(), "ok", " ".join(SENTENCES.values())]
    before = identify(texts)
    monkeypatch.setenv("METIER_KERNEL", "python")
    assert identify(texts) == before


def test_source_code_is_told_by_its_media_type() -> None:
    for kind in ("text/x-python", "text/x-c", "application/json", "text/css", "text/x-sql; charset=utf-8"):
        assert is_code(kind)
    for kind in ("text/plain", "text/markdown", "text/html", "text/x-rst", "text/x-tex", "application/pdf", ""):
        assert not is_code(kind)
    assert not is_code(None)


def documents(folder: Path, rows: list[tuple[str, str | None, str]]) -> Saved:
    from metier.corpus.documents import new_document

    made = (new_document(f"{n}.txt", text, "", kind, told) for n, (text, told, kind) in enumerate(rows))
    Documents.write(folder, made)
    return Saved(folder=LocalPath(folder))


def test_the_step_fills_in_what_is_missing_and_keeps_what_was_asked_for(tmp_path: Path) -> None:
    given = documents(
        tmp_path / "given",
        [
            (SENTENCES["en"], None, "text/plain"),
            (SENTENCES["de"], None, "text/plain"),
            (SENTENCES["fr"], "en-GB", "text/plain"),  # what a person said stands
            ("17 42", None, "text/plain"),
            ("def f(): pass", "python", "text/x-python"),
            ("int x;", None, "text/x-c"),
        ],
    )
    workshop = Workshop(tmp_path / "runs")
    made = workshop.make(IdentifyLanguage(corpus=given, keep=("en",)))
    assert [row.language for row in Documents(made.folder).rows()] == ["en", "en-GB", None, "python", None]
    assert made.record.ledger.lines[0].dropped == {"language de": 1}
    assert made.record.figures["languages"] == {"code": 2, "de": 1, "en": 1, "en-GB": 1, "unsure": 1}
    strict = workshop.make(IdentifyLanguage(corpus=given, keep=("fr",), keep_unsure=False, overwrite=True))
    assert [row.language for row in Documents(strict.folder).rows()] == ["fr", "python", None]
    assert strict.record.ledger.lines[0].dropped == {"language de": 1, "language en": 1, "no clear language": 1}
