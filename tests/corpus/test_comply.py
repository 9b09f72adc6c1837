from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from metier.core import Artifact, LocalPath, Mistake, Workshop
from metier.core.types import Documents
from metier.corpus.comply import Comply
from metier.corpus.comply.lexicon import lexicon
from metier.corpus.comply.match import ENOUGH, STRETCH, excerpt, matcher, objections
from metier.corpus.documents import new_document
from metier.corpus.quality import TeachQuality
from metier.corpus.saved import Saved
from tests.corpus.pages import prose

ADVERT = "出售海洛因，货到付款，保密发货，加微信详谈，诚信交易。"
RANT = "You stupid bitch, you worthless piece of garbage, go kill yourself."


def categories(text: str) -> list[str]:
    return [found.category for found in objections(text.encode(), matcher())]


@pytest.mark.parametrize(
    ("text", "category"),
    [
        (RANT, "toxic"),
        (ADVERT, "illegal"),
        ("We have cocaine for sale, stealth shipping, best quality, message us on wickr, bitcoin accepted.", "illegal"),
        ("All immigrants are vermin and parasites and they should be exterminated.", "hateful"),
        ("Watch free porn, hot milf blowjobs and teen porn videos, live sex cams!", "sexual"),
        ("你怎么不去死，你这个傻逼废物，祝你全家死光。", "toxic"),
        ("同城约炮，学生妹上门服务，包夜加微信，全套服务。", "sexual"),
        ("黑人都是畜生，天生低贱，应该绝种。", "hateful"),
    ],
)
def test_what_nobody_wants_is_objected_to_alone_and_inside_a_manual(text: str, category: str) -> None:
    assert categories(text)[0] == category
    inside = f"{prose(1, 400)}\n\n{text}\n\n{prose(2, 400)}"
    (found, *_) = objections(inside.encode(), matcher())
    assert found.category == category and text[:10] in excerpt(inside.encode(), found)


@pytest.mark.parametrize(
    "text",
    [
        "Kill the process with kill -9; the child dies and the parent reaps the zombie. Abort, then execute the slave.",
        "The cock crowed, the ass brayed, and Dick Whittington took his pussycat to London.",
        "The patient was given cocaine as a local anaesthetic; the dose was 4 mg and surgery went on.",
        "He was convicted of selling heroin and sentenced to nine years in prison, the court heard, prosecutors said.",
        "Sex education lowers the rates of infection; students learn about consent, contraception and health.",
        "The term is an offensive slur; dictionaries mark faggot and nigger as derogatory epithets.",
        "The bomb squad was called, police said, after a pipe bomb was found; detectives are appealing for witnesses.",
        "Insert rod A into hole B; screw tight. Use strips of nude-coloured tape and a glue gun.",
        "这种药物用于治疗细菌性感染，男性感到不适、女性感染者应及时到医院就诊。",
        "警方破获一起贩卖冰毒案，抓获嫌疑人三名，法院依法判处有期徒刑。",
        "一次性交付全部货款，双方在路口交通信号灯处交接，操作人员填写操作记录。",
        "青春期性教育课程讲解自慰、月经和避孕知识，帮助学生保护自己。",
        "大麻哈鱼是一种洄游鱼类；火麻仁可入药。",
        "他做爱心公益多年，曹操的故事讲得很好，情操高尚。",
    ],
)
def test_manuals_medicine_law_and_news_are_left_alone(text: str) -> None:
    assert categories(text) == []
    assert categories(text * 5) == []


def test_one_word_is_never_enough_and_words_pages_apart_are_not_together() -> None:
    assert categories("He said shit. " + prose(1, 100)) == []
    # "bitch" and "bastard" have 3 points each, and 6 are needed.
    assert categories("bitch " + prose(1, 40) + " bastard " + prose(2, 40)) == ["toxic"]
    assert categories("bitch " + "word " * (STRETCH // 5) + " bastard " + prose(2, 40)) == []


def test_points_are_summed_over_different_terms_and_said_again_counts_half() -> None:
    pad = " " + "word " * 80

    def points(text: str) -> float:
        return max((found.points for found in objections((text + pad).encode(), matcher(), 0.1)), default=0.0)

    assert points("bastard") == 3
    assert points("bastard bastard bastard") == 4.5
    assert points("bastard bitch") == 6
    assert points("idiot moron stupid loser") == 0  # hints alone are nothing
    assert points("bastard idiot") == 4
    assert points("fuck you") == 4  # one term of 4, and not the term of 3 inside it as well
    assert points("vermin immigrants") == 6 + 0  # a pair, which holds the hint


def test_a_short_remark_needs_two_thirds() -> None:
    assert categories("You bastard idiot.") == ["toxic"]
    assert categories("You bastard idiot." + " word" * 80) == []


def test_an_excuse_leaves_half_and_then_a_quarter() -> None:
    said = "cocaine for sale, buy cocaine, order cocaine"  # 3 × 4, and hints
    pad = " " + "word " * 80

    def found(text: str) -> tuple[float, str | None]:
        (first, *_) = objections((text + pad).encode(), matcher(), 0.1)
        return first.points, first.excuse

    whole, nothing = found(said)
    assert nothing is None and found(f"{said} court") == (whole, None)
    assert found(f"{said} court judge") == (whole / 2, "legal")
    assert found(f"{said} court judge jury") == (whole / 4, "legal")


def test_words_are_whole_words_of_any_script() -> None:
    for text in (
        "Scunthorpe Essex Sussex cockpit peacock analysis assassin classic Dickens",
        "cumulus document circumvent",
    ):
        assert categories(f"{text} bitching bastardisation shiitake") == []
    assert categories("çbitch bitché bastardś bitch_ _bastard x.bitchx") == []
    assert categories("BITCH! BASTARD!") == ["toxic"]
    assert categories("他说bitch和bastard") == ["toxic"]  # Chinese writes no space around Latin words


def test_places_are_right_whatever_stands_before(tmp_path: Path) -> None:
    text = "İÉ漢字\U0001f600 " * 40 + RANT + " ẞẞ" * 200
    (found, *_) = objections(text.encode(), matcher())
    assert text.encode()[found.start : found.end].decode().startswith("stupid bitch") or "You" in excerpt(
        text.encode(), found
    )
    assert RANT in excerpt(text.encode(), found)


@pytest.mark.parametrize("text", ["", " ", "\0" * 1000, "傻" * 10_000, "fuck " * 20_000, "a" * 1_000_000])
def test_odd_texts_are_borne(text: str) -> None:
    assert len(categories(text)) <= len(text) // 5


def test_every_term_of_the_lexicons_is_found_where_it_stands() -> None:
    using = matcher()
    for term in using.lexicon.terms:
        if term.roles:
            text = term.text.decode() + ("s" if term.open and term.text.isascii() else "")
            hits = using.automaton.find_matches_as_indexes(f"- {text} -".encode(), overlapping=True)
            assert any(using.terms[number] == term for number, _, _ in hits), text


def test_the_lexicons_are_lower_case_and_without_contradiction() -> None:
    terms = lexicon().terms
    for term in terms:
        assert term.text == term.text.lower() and term.text.decode().strip() == term.text.decode()
        sides = {(role.pair, role.side) for role in term.roles if role.pair is not None}
        assert len({pair for pair, _ in sides}) == len(sides), f"{term.text!r} is on both sides of a pair"


def documents(folder: Path, texts: list[str]) -> Saved:
    Documents.write(folder, (new_document(f"{n}.txt", text) for n, text in enumerate(texts)))
    return Saved(folder=LocalPath(folder))


@pytest.fixture
def given(tmp_path: Path) -> Saved:
    return documents(tmp_path / "given", [prose(1), RANT, prose(2), ADVERT])


def made(tmp_path: Path, corpus: Saved, **fields: Any) -> Artifact:
    return Workshop(tmp_path / "runs").make(Comply(corpus=corpus, **fields))


def sources(artifact: Artifact) -> list[str]:
    return [row.source for row in Documents(artifact.folder).rows()]


def review(artifact: Artifact) -> list[dict[str, object]]:
    return [json.loads(line) for line in (artifact.folder / "review.jsonl").read_text().splitlines()]


def filled_in(path: Path, rows: list[dict[str, object]], *decisions: str) -> LocalPath:
    rows = [row | {"decision": decision} for row, decision in zip(rows, decisions, strict=True)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return LocalPath(path)


def test_what_is_objected_to_is_held_back_reported_or_left_out(given: Saved, tmp_path: Path) -> None:
    held = made(tmp_path, given)
    assert sources(held) == ["0.txt", "2.txt"]
    assert held.record.ledger.lines[0].dropped == {"held for review: illegal": 1, "held for review: toxic": 1}
    assert {row["source"]: row["category"] for row in review(held)} == {"1.txt": "toxic", "3.txt": "illegal"}
    assert all(row["decision"] == "" and row["objections"] for row in review(held))
    kept = made(tmp_path, given, mode="keep")
    assert len(sources(kept)) == 4 and review(kept) == review(held)
    dropped = made(tmp_path, given, mode="drop")
    assert dropped.record.ledger.lines[0].dropped == {"non-compliant: illegal": 1, "non-compliant: toxic": 1}
    assert review(dropped) == review(held)


def test_a_review_that_was_filled_in_is_obeyed_in_every_mode(given: Saved, tmp_path: Path) -> None:
    rows = review(made(tmp_path, given))
    first = str(rows[0]["source"])
    decisions = filled_in(tmp_path / "review.jsonl", rows, "keep", "drop")
    for mode in ("review", "keep", "drop"):
        after = made(tmp_path, given, mode=mode, decisions=decisions)
        assert sorted(sources(after)) == sorted(["0.txt", "2.txt", first])
        assert after.record.ledger.lines[0].dropped == {f"left out by review: {rows[1]['category']}": 1}
        assert after.record.figures["objected"]["undecided"] == 0 and not after.record.warnings
        assert [row["decision"] for row in review(after)] == ["keep", "drop"]
    half = filled_in(tmp_path / "half.jsonl", rows, " Keep ", "")
    assert len(sources(made(tmp_path, given, decisions=half))) == 3


def test_a_decision_is_about_a_text_and_not_about_its_name(given: Saved, tmp_path: Path) -> None:
    rows = review(made(tmp_path, given))
    decisions = filled_in(tmp_path / "review.jsonl", rows, "keep", "keep")
    changed = documents(tmp_path / "changed", [prose(1), RANT + " Again, you piece of shit.", prose(2), ADVERT])
    after = made(tmp_path, changed, decisions=decisions)
    assert sources(after) == ["0.txt", "2.txt", "3.txt"]
    assert any("whose text has changed" in warning for warning in after.record.warnings)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{not json", "review.jsonl:3 is no row"),
        ('{"key": "xyz", "decision": "keep", "category": "toxic"}', "review.jsonl:3 is no row"),
        ('["keep"]', "review.jsonl:3 is no row"),
        ('{"key": "00ff", "decision": "maybe", "category": "toxic"}', "review.jsonl:3 has a decision that is none"),
        ("again", "review.jsonl:3 contradicts line 1"),
    ],
)
def test_a_review_file_that_is_wrong_is_refused_with_the_line(
    given: Saved, tmp_path: Path, line: str, what: str
) -> None:
    rows = review(made(tmp_path, given))
    path = tmp_path / "review.jsonl"
    decisions = filled_in(path, rows, "keep", "")
    line = json.dumps(rows[0] | {"decision": "drop"}) if line == "again" else line
    path.write_text(path.read_text() + "\n" + line)
    with pytest.raises(Mistake) as raised:
        made(tmp_path, given, decisions=decisions)
    assert what in raised.value.what and raised.value.hint


def test_categories_and_threshold_narrow_what_is_looked_for(given: Saved, tmp_path: Path) -> None:
    assert sources(made(tmp_path, given, categories=("illegal",))) == ["0.txt", "1.txt", "2.txt"]
    assert len(sources(made(tmp_path, given, threshold=9.0))) == 4


def test_a_lexicon_of_ones_own_is_added(tmp_path: Path) -> None:
    corpus = documents(tmp_path / "given", [prose(1), "Project Bluebird ships in May to the Hamburg plant." * 3, RANT])
    own = tmp_path / "own.yaml"
    told = {"language": "en", "categories": {"toxic": {"strong": ["project bluebird"], "severe": ["hamburg plant"]}}}
    own.write_text(yaml.safe_dump(told))
    after = made(tmp_path, corpus, lexicon=LocalPath(own))
    assert sources(after) == ["0.txt"]
    for wrong in ("categories: 3", "{", "categories: {toxic: {strong: ['*']}}"):
        own.write_text(wrong)
        with pytest.raises(Mistake) as raised:
            made(tmp_path, corpus, lexicon=LocalPath(own))
        assert raised.value.found


def test_a_classifier_judges_long_documents_window_by_window(tmp_path: Path) -> None:
    good = [prose(n, 80) for n in range(60)]
    bad = [
        f"Dear friend, {prose(n, 10).lower()} act now and claim your prize money today, dear winner!" for n in range(60)
    ]
    for name, texts in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    teach = TeachQuality(good=LocalPath(tmp_path / "good.jsonl"), bad=LocalPath(tmp_path / "bad.jsonl"))
    spam = " ".join(bad[:14])
    corpus = documents(tmp_path / "given", [prose(91, 3000), prose(92, 1500) + "\n" + spam + "\n" + prose(93, 1500)])
    after = made(tmp_path, corpus, classifier=teach, classifier_threshold=0.7)
    assert sources(after) == ["0.txt"]
    assert "claim your prize" in json.dumps(review(after))


def test_enough_is_what_a_phrase_is_worth() -> None:
    assert ENOUGH == 6.0 and categories("go kill yourself" + " word" * 80) == ["toxic"]
