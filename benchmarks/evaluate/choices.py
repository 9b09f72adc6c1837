"""Multiple choice by likelihood: Metier's engine beside lm-eval's own Hugging Face model, on one core.

Three forms: the exam's own, where each option's text is scored as the chat model's answer; letters after five answered
questions, as MMLU is asked; letters alone, where there is nothing to share. Both are given the same pairs of texts. The
peer runs as it comes, a batch of one, and on fewer questions; the answers to those are compared one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from lm_eval.api.instance import Instance

from benchmarks.evaluate.likelihood_material import Precision, engine, questions, theirs
from benchmarks.peers import NotInstalled, version
from benchmarks.record import Row, save, versus
from metier.core.chat import Message
from metier.core.engine import EngineChat
from metier.evaluate.harness.engine_lm import EngineLM
from metier.evaluate.multiple_choice import Item

SHOTS = 5
_LETTERS = "ABCD"


class Form(NamedTuple):
    """A way to ask. `pairs` gives the two texts of each of a question's options."""

    name: str
    pairs: Callable[[EngineChat, Item], list[list[str]]]
    ours: int  # questions
    peers: int
    bar: str | None


def options_as_answers(chat: EngineChat, item: Item) -> list[list[str]]:
    """Return each option as the reply to the question, in the chat template."""
    context = chat.template.render([Message("user", item.question)], generate=True).text
    return [[context, option] for option in item.options]


def letters(item: Item) -> str:
    """Return a question with its options under letters."""
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(_LETTERS, item.options, strict=False))
    return f"{item.question}\n{listed}\nAnswer:"


def letters_alone(_: EngineChat, item: Item) -> list[list[str]]:
    """Return each letter after the question."""
    return [[letters(item), f" {letter}"] for letter in _LETTERS[: len(item.options)]]


def letters_after(shots: Sequence[Item]) -> Callable[[EngineChat, Item], list[list[str]]]:
    """Return a form that shows answered questions first."""
    shown = "".join(f"{letters(item)} {_LETTERS[item.answer]}\n\n" for item in shots)
    return lambda chat, item: [[shown + context, letter] for context, letter in letters_alone(chat, item)]


def row(form: Form, asked: Sequence[Item], precision: Precision) -> Row:
    """Compare speed, and the answers to the questions that both were asked."""
    chat = engine(precision)
    pairs = [form.pairs(chat, item) for item in asked[: form.ours]]
    model = EngineLM(chat)
    model.loglikelihood(_instances([["one", " two"]]))
    begun = time.process_time()
    found = model.loglikelihood(_instances([pair for some in pairs for pair in some]))
    seconds = time.process_time() - begun
    rate, told = form.ours / seconds, f"{form.ours} questions on SQLite, the peer on {form.peers} of them, {precision}"
    other = theirs([pair for some in pairs[: form.peers] for pair in some], precision)
    if isinstance(other, NotInstalled):
        return Row(form.name, "lm-eval", rate, None, None, "questions/s", told, seconds, note=other.reason)
    counts = [len(some) for some in pairs[: form.peers]]
    mine, peers = (_chosen([nats for nats, _ in answers], counts) for answers in (found, other["answers"]))
    equal = sum(one == two for one, two in zip(mine, peers, strict=True))
    apart = max(abs(one[0] - two[0]) for one, two in zip(found, other["answers"], strict=False))
    return versus(
        form.name,
        "lm-eval",
        rate,
        form.peers / other["seconds"],
        "questions/s",
        told,
        seconds,
        bar=form.bar,
        note=f"{equal} of {form.peers} answers equal, nats of an option differ by {apart:.1e} at the most",
        peer_version=version("lm-eval"),
    )


def _instances(pairs: Sequence[Sequence[str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, tuple(pair), at) for at, pair in enumerate(pairs)]


def _chosen(nats: Sequence[float], counts: Sequence[int]) -> list[int]:
    found, left = [], iter(nats)
    for count in counts:
        some = list(islice(left, count))
        found.append(some.index(max(some)))
    return found


def main() -> None:
    """Compare all forms, in the number format in which both give the same answers."""
    drawn = questions(SHOTS + 300)
    forms = (
        Form("multiple choice, the exam's own form", options_as_answers, 90, 24, "3×"),
        Form("multiple choice, letters after 5 shots", letters_after(drawn[:SHOTS]), 300, 16, "3×"),
        Form("multiple choice, letters alone", letters_alone, 40, 24, None),
    )
    for form in forms:
        save("evaluate", [row(form, drawn[SHOTS:], "float32")])


if __name__ == "__main__":
    main()
