"""Exams and benchmarks in the corpus."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from metier.core import Host, Mistake, Workshop
from metier.core.types import Documents
from metier.corpus.decontaminate import NEAR, VERBATIM, Decontaminate
from metier.corpus.table import Table
from tests.corpus.pages import prose

QUESTION = (
    "Which of the following statements about the write-ahead log of a database that is opened by two processes at once "
    "on a network drive is true according to the manual of the third edition?"
)


def run(folder: Path, texts: list[str], exam: list[dict[str, object]], **fields: object) -> tuple[list[str], Documents]:
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in exam))
    shop = Workshop(folder / "runs", Host(cores=1, threads=1, memory_bytes=8 << 30))
    step = Decontaminate(corpus=Table(file=folder / "texts.jsonl"), exams=(folder / "exam.jsonl",), **fields)
    made = shop.make(step)
    return [document.text for document in made.rows()], made


def test_a_document_that_quotes_an_item_goes_and_the_hits_name_it(tmp_path: Path) -> None:
    texts = [prose(1), f"{prose(2)} {QUESTION.upper()} {prose(3)}", prose(4)]
    left, made = run(tmp_path, texts, [{"question": prose(99)}, {"question": QUESTION, "answer": "None"}])
    assert left == [texts[0], texts[2]]
    assert made.record.ledger.lines[-1].dropped == {VERBATIM: 1}
    (hit,) = [json.loads(line) for line in (made.folder / "hits.jsonl").read_text().splitlines()]
    assert (hit["exam"], hit["item"], hit["documents"]) == ("exam.jsonl", "2", 1)


def test_a_reworded_item_is_found_and_a_text_on_the_same_matter_is_not(tmp_path: Path) -> None:
    reworded = QUESTION.replace("following", "four").replace("at once", "together").replace("third", "second")
    matter = "The manual says of the write-ahead log that two processes on a network drive must not open one database."
    left, made = run(
        tmp_path, [f"{prose(1)} {reworded}", f"{prose(2)} {matter}"], [{"q": QUESTION}], near=0.4, ngram=25
    )
    assert left == [f"{prose(2)} {matter}"]
    assert made.record.ledger.lines[-1].dropped == {NEAR: 1}


def test_a_phrase_of_many_documents_is_no_leak(tmp_path: Path) -> None:
    phrase = "permission is hereby granted free of charge to any person obtaining a copy of this software and files"
    texts = [f"{prose(number)} {phrase}" for number in range(12)]
    exam: list[dict[str, object]] = [{"q": f"{prose(50)} {phrase}"}]
    assert run(tmp_path, texts, exam)[0] == texts
    (tmp_path / "b").mkdir()
    assert run(tmp_path / "b", texts, exam, common=12, near=None)[0] == []


def test_short_items_are_not_looked_for_and_are_counted(tmp_path: Path) -> None:
    text = "What is the capital of France? It is Paris."
    left, made = run(tmp_path, [text], [{"q": "What is the capital of France?"}, {"q": QUESTION}])
    assert left == [text]
    line = next(line for line in made.record.ledger.lines if line.unit == "exam item")
    assert line.dropped == {"too short to look for": 1}


def test_chinese_items_are_found_character_by_character(tmp_path: Path) -> None:
    question = "下列关于数据库预写日志的说法中，哪一项符合第三版手册的规定，并且适用于网络驱动器？"
    left, _ = run(tmp_path, [f"练习题：{question}答案是甲。", "数据库的预写日志在手册中有说明。"], [{"q": question}])
    assert left == ["数据库的预写日志在手册中有说明。"]


def test_of_reworded_items_nine_in_ten_are_found_and_of_other_documents_one_in_a_hundred_at_most(
    tmp_path: Path,
) -> None:
    rng = random.Random(5)
    items = [prose(1000 + number, 40) for number in range(60)]

    def reworded(text: str) -> str:
        words = text.split()
        for at in rng.sample(range(len(words)), 2):
            words[at] = f"other{rng.randrange(1000)}"
        return " ".join(words)

    leaked = [f"{prose(number, 60)} {reworded(item)} {prose(200 + number, 60)}" for number, item in enumerate(items)]
    clean = [prose(5000 + number, 160) for number in range(300)]
    left, _ = run(tmp_path, [*leaked, *clean], [{"q": item} for item in items])
    assert sum(text in left for text in leaked) <= 0.1 * len(leaked)
    assert sum(text not in left for text in clean) <= 0.01 * len(clean)


def test_an_exam_without_text_or_a_column_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="has no 'question'"):
        run(tmp_path, [prose(1)], [{"q": QUESTION}], columns=("question",))
    with pytest.raises(Mistake, match="nothing to look for"):
        shop = Workshop(tmp_path / "runs", Host(cores=1, threads=1, memory_bytes=8 << 30))
        shop.make(Decontaminate(corpus=Table(file=tmp_path / "texts.jsonl")))
