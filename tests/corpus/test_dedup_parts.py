"""Lines, sentences and paragraphs across documents."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core import Host, Workshop
from metier.core.types import Documents
from metier.corpus.dedup.repeats import REPEATED, DedupParts
from metier.corpus.parts import Span, key, spans, weight, without
from metier.corpus.table import Table

NOTICE = "This page is part of the handbook of the company and may not be passed on to anybody outside of it."
OTHER = "Refunds are paid within fourteen days to the account from which the money came in the first place."


def cut(folder: Path, texts: list[str], **fields: object) -> tuple[list[str], Documents]:
    import json

    source = folder / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    shop = Workshop(folder / "runs", Host(cores=1, threads=1, memory_bytes=8 << 30))
    made = shop.make(DedupParts(corpus=Table(file=source), **fields))
    return [document.text for document in made.rows()], made


def words(number: int) -> str:
    return " ".join(f"word{number}x{at}" for at in range(30)) + "."


def test_a_paragraph_stays_in_the_first_document_that_has_it_and_goes_from_the_others(tmp_path: Path) -> None:
    texts = [f"{words(1)}\n\n{NOTICE}\n\n{words(2)}", f"# Title\n\n{NOTICE}\n\n{words(3)}", f"{words(4)}\n\n{OTHER}"]
    left, made = cut(tmp_path, texts)
    assert left == [texts[0], f"# Title\n\n{words(3)}", texts[2]]
    line = next(line for line in made.record.ledger.lines if line.unit == "paragraph")
    assert (line.came, line.kept, line.dropped) == (7, 6, {REPEATED: 1})


def test_what_a_document_repeats_within_itself_stays(tmp_path: Path) -> None:
    song = f"{NOTICE}\n\n{words(1)}\n\n{NOTICE}"
    assert cut(tmp_path, [song, words(2)])[0] == [song, words(2)]


def test_case_punctuation_and_spaces_do_not_count(tmp_path: Path) -> None:
    changed = NOTICE.upper().replace(" ", "  ").replace(".", "!")
    assert cut(tmp_path, [NOTICE, f"{words(1)}\n\n{changed}"])[0] == [NOTICE, words(1)]


def test_a_document_of_which_little_is_left_goes_whole_and_the_list_says_why(tmp_path: Path) -> None:
    left, made = cut(tmp_path, [f"{NOTICE}\n\n{OTHER}", f"{OTHER}\n\n{NOTICE}\n\nShort rest."])
    assert left == [f"{NOTICE}\n\n{OTHER}"]
    line = made.record.ledger.lines[0]
    assert line.dropped == {REPEATED: 1}


def test_a_document_that_keeps_a_part_for_others_is_never_left_out(tmp_path: Path) -> None:
    # The second loses nearly all to the first, but the third lost OTHER to it: OTHER must not vanish from the corpus.
    texts = [words(1), f"{words(1)}\n\n{OTHER}", f"{OTHER}\n\n{words(2)}"]
    left, _ = cut(tmp_path, texts, min_left=0.5)
    assert left == [words(1), OTHER, words(2)]


def test_sentences_are_compared_inside_paragraphs(tmp_path: Path) -> None:
    texts = [f"{words(1)} {NOTICE} {words(2)}", f"{words(3)} {NOTICE} {words(4)}"]
    assert cut(tmp_path, texts, level="sentence")[0] == [texts[0], f"{words(3)} {words(4)}"]


def test_chinese_sentences_have_no_spaces_and_weigh_more(tmp_path: Path) -> None:
    shared = "本手册的内容仅供公司内部使用，未经许可不得向任何第三方提供。"
    texts = [
        f"{shared}第一章介绍数据库的基本概念以及如何建立一张新的数据表。",
        f"第二章说明怎样备份数据并在需要的时候恢复它们。{shared}",
    ]
    assert cut(tmp_path, texts, level="sentence")[0] == [texts[0], texts[1].replace(shared, "")]
    assert weight(shared) > 2 * len(shared)


def test_lines_of_lists_and_tables_are_parts_but_code_is_none() -> None:
    text = "# Head\n\n- one item\n- two items\n\n```\ncode line\n```\n\n| a | b |\n| c | d |"
    assert [text[start:end] for start, end in spans(text, "line")] == [
        "- one item",
        "- two items",
        "| a | b |",
        "| c | d |",
    ]


def test_short_parts_stay(tmp_path: Path) -> None:
    texts = [f"{words(1)}\n\nSee also.", f"{words(2)}\n\nSee also."]
    assert cut(tmp_path, texts)[0] == texts


def test_the_result_is_the_same_whatever_the_number_of_workers_and_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import metier.core.tables as tables
    import metier.corpus.dedup.repeats as module

    texts = [f"{words(number % 7)}\n\n{words(number)}\n\n{NOTICE if number % 3 else OTHER}" for number in range(40)]
    (tmp_path / "a").mkdir()
    whole, _ = cut(tmp_path / "a", texts)
    monkeypatch.setattr(tables, "WEIGHT_PER_SHARD", 1)
    monkeypatch.setattr(tables, "_WEIGHT_PER_GROUP", 2000)
    monkeypatch.setattr(module, "_ENTRIES_A_BUCKET", 10)
    (tmp_path / "b").mkdir()
    parted, made = cut(tmp_path / "b", texts)
    assert len(made.shards) > 5 and parted == whole


@given(st.text(alphabet="ab.!? \n#-|`。“”", max_size=120), st.sampled_from(["line", "sentence", "paragraph"]))
def test_parts_lie_in_order_inside_the_text_and_never_overlap(text: str, level: str) -> None:
    at = 0
    for start, end in spans(text, level):  # type: ignore[arg-type]
        assert at <= start <= end <= len(text) and text[start:end].strip()
        at = end


@given(st.lists(st.sampled_from([words(1), words(2), NOTICE, OTHER]), min_size=1, max_size=6), st.data())
def test_taking_parts_out_leaves_the_others_as_they_were(paragraphs: list[str], data: st.DataObject) -> None:
    text = "\n\n".join(paragraphs)
    every = list(spans(text, "paragraph"))
    gone = [span for span in every if data.draw(st.booleans())]
    left = [text[span.start : span.end] for span in every if span not in gone]
    assert without(text, gone) == "\n\n".join(left)


def test_no_part_to_take_out_leaves_every_byte() -> None:
    assert without("  odd \n\n\n\n text ", []) == "  odd \n\n\n\n text "
    assert without("one two", [Span(0, 7)]) == ""
    assert key("A  b.") == key("a b") != key("ab")
