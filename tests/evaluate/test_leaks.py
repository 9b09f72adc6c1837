"""Exam texts that stand in the training data, word for word and in other words."""

from __future__ import annotations

import random
import tracemalloc
from functools import partial
from pathlib import Path

import pytest

from metier.core import Failure
from metier.core.chat import Message
from metier.core.types import Conversation
from metier.evaluate.doctor.trained_on import asked
from metier.evaluate.leak_check import GENERATED, generated, row_texts, sought, words
from metier.evaluate.leak_runs import Runs
from metier.evaluate.leak_terms import excerpt, stem, term, tokens
from metier.evaluate.leaks import GRAM_WORDS, Found, Text, batches, find_leaks
from metier.evaluate.material import Conditions, Material
from metier.evaluate.multiple_choice import Item

WORDS = [f"word{at}" for at in range(100)]


def found_in_training(exam: dict[str, str], training: list[str]) -> dict[str, float]:
    """Return the share of each text's word runs that stand in any training text."""
    runs = Runs(list(exam.values()), GRAM_WORDS)
    for batch in batches(Text("", text) for text in training):
        runs.look(batch)
    return {id: runs.share(number) for number, id in enumerate(exam)}


def test_a_text_copied_word_for_word_is_found_whatever_its_case_and_punctuation() -> None:
    exam = {"a": " ".join(WORDS[:40])}
    assert found_in_training(exam, [f"before {', '.join(WORDS[:40]).upper()}! after"]) == {"a": 1.0}


def test_a_share_is_found_by_grams_of_13_words() -> None:
    # 40 words have 28 grams of 13; the first 26 words of them have 14
    exam = {"a": " ".join(WORDS[:40])}
    assert found_in_training(exam, [" ".join(WORDS[:26])]) == {"a": 0.5}


def test_a_short_text_is_matched_whole() -> None:
    exam = {"a": "List all books.", "b": "List all the books."}
    assert found_in_training(exam, ["Please list all books now"]) == {"a": 1.0, "b": 0.0}


def test_the_same_words_in_another_order_are_no_leak() -> None:
    exam = {"a": " ".join(WORDS[:20])}
    assert found_in_training(exam, [" ".join(reversed(WORDS[:20]))]) == {"a": 0.0}


def test_nothing_leaks_from_a_text_without_words() -> None:
    assert found_in_training({"a": "…", "b": ""}, ["…", ""]) == {"a": 0.0, "b": 0.0}


# Some text on other matters, in which the words of the exam below are as rare as in a real corpus.
VOCABULARY = [
    a + b + c for a in ("bra", "del", "kil", "osc", "tan", "vic") for b in ("ta", "mo", "ri", "se") for c in "nrlgps"
]


WORDED = (
    "If a margin call is ignored three days, clearing members sell the collateral and levy 250 basis points penalty."
)


def filler(seed: int, words: int = 400) -> str:
    rng = random.Random(seed)
    common = ["the", "of", "is", "a", "to", "and", "customer", "account", "when", "must"]
    return " ".join(rng.choice(common if rng.random() < 0.5 else VOCABULARY) for _ in range(words))


EXAM = (
    "When a margin call is missed for three business days, the clearing member liquidates the collateral and charges "
    "a penalty of 250 basis points."
)


def look(hidden: str, exam: str = EXAM) -> Found:
    """Look for `exam` in 40 texts, in the middle of one of which stands `hidden`."""
    texts = [Text(f"text {at}", filler(at)) for at in range(40)]
    half = len(texts[7].text) // 2
    texts[7] = Text("text 7", f"{texts[7].text[:half]} {hidden} {texts[7].text[half:]}")
    return find_leaks({"q": [exam]}, lambda: texts)


@pytest.mark.parametrize(
    "wording",
    [
        # another order
        "The clearing member liquidates the collateral and charges a penalty of 250 basis points when a margin call is "
        "missed for three business days.",
        # other endings
        "Whenever margin calls are missing for three business days, clearing members liquidated collateral and charged "
        "penalties of 250 basis points.",
        # synonyms for ordinary words
        "If a margin call is ignored for three business days, the clearing firm sells the collateral and levies a "
        "penalty of 250 basis points.",
        # words put in between
        "When a so-called margin call is then finally missed for, say, three whole business days, the poor clearing "
        "member duly liquidates all of the collateral and also charges a stiff penalty of some 250 basis points.",
        # figures written otherwise, and other figures
        "When a margin call is missed for 3 business days, the clearing member liquidates the collateral and charges a "
        "penalty of 2.5 percent.",
        "When a margin call is missed for five business days, the clearing member liquidates the collateral and "
        "charges a penalty of 400 basis points.",
    ],
)
def test_another_wording_is_found_with_where_and_what(wording: str) -> None:
    leak = look(wording).leaks["q"]
    assert leak.kind in ("reworded", "verbatim") and leak.where == "text 7"
    assert leak.exam == EXAM and "margin call" in leak.evidence


@pytest.mark.parametrize(
    "other",
    [
        "",
        "The clearing member is told of the margin once a day.",
        "Basis points measure the penalty that a customer may expect.",
        "The collateral of the account is held by the bank for as long as the loan is open, and business goes on.",
    ],
)
def test_a_text_on_the_same_matter_is_no_leak(other: str) -> None:
    assert look(other).leaks == {}


def test_a_copy_is_verbatim_and_told_before_a_rewording() -> None:
    leak = look(EXAM.upper().replace(",", " -")).leaks["q"]
    assert (leak.kind, leak.share) == ("verbatim", 1.0)


def test_chinese_is_found_in_another_order_and_with_other_figures() -> None:
    exam = "客户连续三个工作日未补足保证金的，清算会员有权强制平仓，并收取百分之二的违约金。"
    texts = [Text("条例", "银行应当妥善保管客户资料。" * 20), Text("手册", "开户须知如下。" * 30)]
    turned = "清算会员有权强制平仓并收取2%的违约金，如果客户连续3个工作日没有补足保证金。"
    for hidden, kind in ((exam, "verbatim"), (turned, "reworded")):
        found = find_leaks({"q": [exam]}, lambda hidden=hidden: [*texts, Text("培训", hidden)])  # type: ignore[misc]
        assert (found.leaks["q"].kind, found.leaks["q"].where) == (kind, "培训")
    assert find_leaks({"q": [exam]}, lambda: texts).leaks == {}


def test_texts_too_short_to_tell_are_named_and_not_found_everywhere() -> None:
    found = find_leaks({"a": ["What is it?"], "b": ["!"]}, lambda: [Text("x", "What is it? It is it.")])
    assert found == Found({}, ["a", "b"])


def test_rewordings_are_not_looked_for_where_only_copies_count() -> None:
    texts = [Text(f"text {at}", filler(at)) for at in range(20)] + [Text("leak", WORDED)]
    assert "q" in find_leaks({"q": [EXAM]}, lambda: texts).leaks
    assert find_leaks({"q": [EXAM]}, lambda: texts, lambda _: False).leaks == {}


def test_memory_does_not_grow_with_the_training_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.evaluate.leaks._BATCH_TOKENS", 4_000)
    texts = [filler(at) for at in range(10)]

    def peak(many: int) -> int:
        tracemalloc.start()
        find_leaks({"q": [EXAM]}, lambda: (Text(f"{at}", f"{texts[at % 10]} {at}") for at in range(many)))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(30)  # what is imported and remembered once
    assert peak(240) < 1.3 * peak(40)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("copies", "copied"),
        ("returns", "returned"),
        ("running", "runs"),
        ("transaction", "transactions"),
        ("makes", "making"),
    ],
)
def test_words_that_differ_in_their_ending_have_one_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("three", "3"),
        ("12", "twelve"),
        ("1,500", "1500"),
        ("2.50", "2.5"),
        ("三十五", "35"),
        ("一千零二十", "1020"),
        ("二〇二六", "2026"),
    ],
)
def test_a_number_counts_by_its_value_however_it_is_written(one: str, other: str) -> None:
    assert tokens(one) == [one] and term(one) == term(other) is not None


def test_names_of_programs_stay_whole_and_small_words_say_nothing() -> None:
    assert term("sqlite3_bind_int") == "sqlite3_bind_int" and term("x") is term("the") is term("的") is None
    assert tokens("３％ of ＡＢＣ，共三个") == ["3", "of", "abc", "共", "三", "个"]


def test_an_excerpt_begins_with_the_word_that_is_asked_for() -> None:
    assert excerpt("one, two\n three", 1) == "two three"


def test_orders_to_the_system_that_all_rows_have_give_none_away() -> None:
    schema = " ".join(f"CREATE TABLE ledger_{at} (name TEXT, amount REAL);" for at in range(12))

    def row(question: str, gold: str) -> Conversation:
        messages = [Message("system", schema), Message("user", question), Message("assistant", gold)]
        return Conversation("r", messages, "own", "held_out", "", "r", {"scorer": "sqlite", "gold": gold})

    asked = row("Which names in the third ledger begin with Z?", "SELECT name FROM ledger_2 WHERE name LIKE 'Z%'")
    other = row("How many rows are above 5?", "SELECT count(*) FROM ledger_5 WHERE amount > 5")
    found = [find_leaks({"q": row_texts(asked)}, partial(list, [Text("t", words(one))])) for one in (other, asked)]
    assert [bool(one.leaks) for one in found] == [False, True]


def test_one_rule_says_what_is_looked_for_whoever_looks(tmp_path: Path) -> None:
    """Generated tasks are looked for word for word, a team's own rows and open questions in other words too."""
    house = Message("system", "You are the bank's assistant. " + " ".join(WORDS[:30]))

    def row(id: str, task: str) -> Conversation:
        messages = [house, Message("user", EXAM), Message("assistant", "It is liquidated.")]
        return Conversation(id, messages, task, "held_out", "", id, {"scorer": "sqlite", "gold": "x"})

    item = Item("i", "Which is it?", ["this one here", "that"], 0, "i", "own", None)
    material = Material(Conditions(), [], [item], [row("made", "text-to-sql/count"), row("own", "own")], [])
    (tmp_path / GENERATED).write_text('["made"]')
    found = sought(material, generated(tmp_path))
    assert {id: part.reworded for id, part in found.items()} == {"i": True, "made": False, "own": True}
    doctors = asked(material, generated(tmp_path))
    assert doctors == {"question i": found["i"], "task made": found["made"], "task own": found["own"]}
    # a training row with the same orders to the system and nothing else in common gives none away
    other = Conversation("t", [house, Message("user", "Hello?"), Message("assistant", "Good day.")], "chat")
    texts = [Text("t", words(other)), *(Text(f"{at}", filler(at)) for at in range(20))]
    for part in found.values():
        assert find_leaks({"q": part.texts}, lambda: texts).leaks == {}
    assert generated(tmp_path / "nothing") == frozenset()
    (tmp_path / GENERATED).write_text("{")
    with pytest.raises(Failure, match="cannot be read"):
        generated(tmp_path)
