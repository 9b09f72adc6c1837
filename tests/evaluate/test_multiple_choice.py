from __future__ import annotations

import random
from collections import Counter

from metier.core.types import Document
from metier.evaluate.multiple_choice import Item, items, visible

VERBS = [
    "returns",
    "copies",
    "removes",
    "opens",
    "reads",
    "writes",
    "sorts",
    "merges",
    "splits",
    "locks",
    "counts",
    "shows",
]
THINGS = [
    a + b + c
    for a in ("bra", "del", "kil", "osc", "tan", "vic")
    for b in ("ta", "mo", "ri")
    for c in ("ner", "log", "pus")
]


def documents(count: int = 12) -> list[Document]:
    rng = random.Random(1)
    made = []
    for number in range(count):
        lines = [f"# Part {number}", "This part speaks of functions."]
        for at, verb in enumerate(VERBS):
            words = " ".join(rng.sample(THINGS, rng.randrange(4, 16)))
            lines.append(f"The fn{number}_{THINGS[at]}(X) function {verb} the {words} of X.")
            lines.append(
                f"In a {words} run the {rng.choice(THINGS)} engine of part {number} waits on when the {words} ends."
            )
        made.append(Document(f"{number:016x}", "\n\n".join(lines), f"{number}.md", f"Part {number}"))
    return made


def exam(seed: int = 0) -> list[Item]:
    return items(documents(), random.Random(seed))


def test_an_item_has_four_different_options_and_the_right_one_is_the_documents() -> None:
    texts = {document.id: document.text for document in documents()}
    made = exam()
    assert len(made) > 60
    for item in made:
        assert len(set(item.options)) == 4
        assert item.options[item.answer] in texts[item.source]


def test_neither_place_nor_length_tells_the_right_option() -> None:
    made = exam()
    places = Counter(item.answer for item in made)
    assert max(places.values()) - min(places.values()) <= 4
    longest = sum(len(item.options[item.answer]) == max(map(len, item.options)) for item in made)
    # A quarter, within two standard deviations of so many draws.
    assert abs(longest / len(made) - 0.25) < 2 * (0.25 * 0.75 / len(made)) ** 0.5


def test_no_right_option_can_be_read_off_its_question() -> None:
    assert visible('opens the section "Test Coverage"?', "Test coverage is measured.")
    for item in exam():
        assert item.options[item.answer] not in item.question
        assert not visible(item.question, item.options[item.answer])


def test_the_same_documents_and_seed_give_the_same_exam_whatever_their_order() -> None:
    mixed = items(reversed(documents()), random.Random(0))
    assert mixed == exam() and exam(1) != exam()
    assert len({item.id for item in mixed}) == len(mixed)


def test_too_few_documents_give_no_items_rather_than_bad_ones() -> None:
    assert items([], random.Random(0)) == []
    assert items([Document("a", "# One\n\nShort.", "a.md", "One")], random.Random(0)) == []
