"""Advice: the ways for each amount of data, every line with its source, and what was counted."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from metier.core import Mistake, Workshop
from metier.core.types import Documents
from metier.train.advise import Advice, Data, Target, Wishes, advise
from metier.train.evidence import evidence, kind_of
from tests.train.bench import HOST, Pairs, Talks, Texts

SEVEN = Target("seven", 7_000_000_000, True)


def ways(tokens: int = 0, rows: int = 0, pairs: int = 0, **wishes: Any) -> list[str]:
    data = Data(1000 if tokens else 0, tokens, rows, pairs)
    return list(advise(data, SEVEN, Wishes(**wishes)).ways)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({}, ["prompt"]),
        ({"rows": 20}, ["prompt"]),
        ({"tokens": 200_000}, ["prompt", "RAG"]),
        ({"tokens": 200_000, "rows": 5000}, ["RAG", "SFT"]),
        ({"rows": 5000, "pairs": 2000}, ["SFT", "DPO"]),
        ({"tokens": 30_000_000, "rows": 5000}, ["RAG", "CPT", "SFT"]),
        ({"tokens": 400_000_000, "rows": 5000}, ["CPT", "SFT"]),
        ({"tokens": 400_000_000, "rows": 5000, "changing": True}, ["RAG", "CPT", "SFT"]),
        ({"tokens": 400_000_000, "rows": 200_000, "pairs": 20_000}, ["CPT", "SFT", "DPO"]),
        ({"pairs": 2000}, ["prompt"]),
    ],
)
def test_the_way_follows_from_the_amount_of_data(data: dict[str, Any], wanted: list[str]) -> None:
    assert ways(**data) == wanted


def test_5000_rows_go_to_the_chat_model_and_100000_to_the_base() -> None:
    few, many = (advise(Data(rows=rows), SEVEN, Wishes()) for rows in (5000, 100_000))
    assert (few.start, few.trainings["sft"].method) == ("chat", "lora")
    assert any("template and system prompt" in line.advice for line in few.lines)
    assert (many.start, many.trainings["sft"].method, many.trainings["sft"].epochs) == ("base", "full", 1)


def test_long_cpt_starts_from_the_base_and_asks_for_a_chat_vector() -> None:
    found = advise(Data(90_000, 400_000_000, 5000), SEVEN, Wishes())
    assert found.start == "base" and found.chat_vector
    assert any("Huang et al. 2023" in line.source for line in found.lines)


def everything() -> list[Advice]:
    amounts = itertools.product((0, 10**5, 3 * 10**7, 10**9), (0, 300, 5000, 40_000, 200_000), (0, 100, 9000))
    targets = [Target("x"), SEVEN, Target("small", 135_000_000, True), Target("large", 70_000_000_000, False)]
    wishes = [Wishes(), Wishes("strong", True, 24 * 10**9)]
    return [
        advise(Data(1000 if tokens else 0, tokens, rows, pairs), target, wish)
        for (tokens, rows, pairs), target, wish in itertools.product(amounts, targets, wishes)
    ]


def test_every_line_has_advice_reason_and_source_and_something_is_always_unknown() -> None:
    for found in everything():
        assert found.ways and found.unknown and all(all(part.strip() for part in line) for line in found.lines)
        assert found.trainings.keys() == {way.lower() for way in found.ways} & {"cpt", "sft", "dpo"}
        told = {line.about for line in found.lines}
        for name in found.trainings:
            assert {f"method ({name})", f"learning rate ({name})", f"epochs ({name})"} <= told


def test_adapters_take_higher_rates_than_full_training_and_large_models_lower_ones() -> None:
    def rate(parameters: int, memory: int | None) -> tuple[str, float]:
        found = advise(Data(9000, 10**9, 200_000), Target("m", parameters, True), Wishes(memory_bytes=memory))
        return found.trainings["sft"].method, found.trainings["sft"].learning_rate

    assert rate(7 * 10**9, None) == ("full", 2e-5) and rate(7 * 10**9, 24 * 10**9) == ("lora", 2e-4)
    assert rate(7 * 10**9, 10 * 10**9) == ("qlora", 2e-4)
    assert rate(70 * 10**9, None) == ("full", 1e-5) and rate(135 * 10**6, None)[1] == 1e-4


def test_what_fits_with_no_method_is_told() -> None:
    def told(memory: int) -> list[str]:
        found = advise(Data(rows=5000, pairs=2000), Target("m", 70 * 10**9, True), Wishes(memory_bytes=memory))
        assert found.trainings.keys() == {"sft", "dpo"} and found.trainings["sft"].method == "qlora"
        return [f"{line.about}: {line.advice}" for line in found.lines if line.about.startswith("memory")]

    assert told(80 * 10**9) == []
    small = told(16 * 10**9)
    assert len(small) == 2 and small[0].startswith("memory (sft): does not fit: needs about 65 GB of 16 GB")


def test_a_strong_shift_asks_for_more_replay() -> None:
    weak, strong = (
        advise(Data(9000, 4 * 10**8, 5000), SEVEN, Wishes(shift)).replay_share for shift in ("weak", "strong")
    )
    assert weak < strong == 0.5


def test_what_was_assumed_is_told() -> None:
    told = " ".join(advise(Data(10, 10**6, 5000), Target("x"), Wishes()).unknown)
    assert "how large the model is" in told and "memory" in told and "--shift" in told and "template" in told
    base = advise(Data(rows=5000), Target("raw", 7 * 10**9, False), Wishes())
    assert any("raw has no chat template" in one for one in base.unknown)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"text": "a"}, "documents"),
        ({"messages": []}, "conversations"),
        ({"conversations": []}, "conversations"),
        ({"instruction": "a", "output": "b"}, "conversations"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preferences"),
        ({"input": {}, "preferred_output": [], "non_preferred_output": []}, "preferences"),
        ({"body": "a"}, None),
        (["a"], None),
    ],
)
def test_rows_are_told_by_their_keys(row: Any, kind: str | None) -> None:
    assert kind_of(row) == kind


def test_artifacts_folders_and_lines_are_counted(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "workshop", HOST)
    texts = workshop.make(Texts(words=3000))
    found = [evidence(artifact.folder) for artifact in (texts, workshop.make(Talks()), workshop.make(Pairs()))]
    assert [(one.kind, one.rows) for one in found] == [("documents", 12), ("conversations", 40), ("preferences", 12)]
    size = sum(len(document.text.encode()) for document in Documents(texts.folder).rows())
    assert found[0].text_bytes == pytest.approx(size, rel=0.1)

    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.md").write_text("x" * 1000)
    assert evidence(folder)[2:] == (1, 1000, False)
    (folder / "b.html").write_text("y" * 1000)
    assert evidence(folder)[2:] == (2, 1500, True)
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"text": "é"}\n\n{"text": "ab"}\n')
    assert evidence(lines)[1:] == ("documents", 2, 4, False)
    (tmp_path / "rows.json").write_text(json.dumps([{"messages": []}] * 3))
    assert evidence(tmp_path / "rows.json")[1:3] == ("conversations", 3)


@pytest.mark.parametrize(
    ("text", "size"),
    [(b'{"text": "a\\ud83d"}\n', 2), (b'\xef\xbb\xbf{"text": "a"}\n', 1), (b'\xef\xbb\xbf[{"text": "a"}]', 1)],
    ids=["half a surrogate pair", "a mark of byte order", "that mark before a list"],
)
def test_lines_as_other_programs_write_them_are_counted(tmp_path: Path, text: bytes, size: int) -> None:
    (tmp_path / "rows.jsonl").write_bytes(text)
    assert evidence(tmp_path / "rows.jsonl")[1:] == ("documents", 1, size, False)


@pytest.mark.parametrize(
    "name", ["A.java", "a.cob", "a.eml", "a.ndjson", "a.log", "a.JSONL", "README", "a.adoc", "a.ipynb", "a.zip"]
)
def test_all_that_read_takes_counts_as_documents(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"text": "some text"}')
    (tmp_path / "photo.dat").write_bytes(b"\x01\0\x02")
    found = evidence(tmp_path)
    assert (found.kind, found.rows) == ("documents", 1) and found.text_bytes > 0


def test_a_suffix_in_capitals_is_the_same_kind(tmp_path: Path) -> None:
    for name, text in (("docs.TXT", "text"), ("rows.JSONL", '{"text": "text"}')):
        (tmp_path / name).write_text(text)
        assert evidence(tmp_path / name)[1:] == ("documents", 1, 4, False)


def test_what_read_passes_over_by_name_is_what_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "drawing.svg").write_text("<svg/>")
    with pytest.raises(Mistake, match="nothing to learn from"):
        evidence(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"text": "a"}\n{"messages": []}\n', "rows.jsonl:2 is of another kind"),
        ('{"text": "a"}\n{"body": "b"}\n', "rows.jsonl:2 is no document"),
        ('{"text": "a"}\n{"text":\n', "rows.jsonl:2 is not JSON"),
        ("", "is empty"),
    ],
)
def test_lines_that_cannot_be_read_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(Mistake, match=said):
        evidence(tmp_path / "rows.jsonl")


def test_a_folder_of_nothing_and_a_missing_path_are_told(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(Mistake, match="holds nothing to learn from") as caught:
        evidence(tmp_path)
    assert caught.value.found == ".png"
    with pytest.raises(Mistake, match="does not exist"):
        evidence(tmp_path / "gone")
