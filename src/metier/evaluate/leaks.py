"""Whether an exam stands in what a model is trained on or may look up: word for word, or in other words.

Verbatim: half or more of a text's runs of 13 words stand in the training texts. Reworded: see `leak_wordings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from metier.evaluate.leak_terms import tokens

GRAM_WORDS = 13
"""Length of a verbatim match in words, as in Brown et al. 2020, appendix C; shorter texts are matched whole."""

LEAK_SHARE = 0.5
"""Share of a text's n-grams found in training from which it counts as leaked; a quoted sentence or two is below it."""

LEAST_WORDS = 6
"""Texts of fewer words are not looked for: they stand everywhere."""

_BATCH_TOKENS = 200_000


class Text(NamedTuple):
    """One training text, or one of an index: `where` is shown to people."""

    where: str
    text: str


class Batch(NamedTuple):
    """Some training texts and the words of each."""

    texts: list[Text]
    words: list[list[str]]


class Evidence(NamedTuple):
    """Where a text of the exam was found: the share that was, and the stretch of training text."""

    share: float
    where: str
    text: str


class Leak(NamedTuple):
    """One part of the exam that stands elsewhere. `share` is that of its word runs, or of its information."""

    id: str
    kind: Literal["verbatim", "reworded"]
    share: float
    where: str
    exam: str
    evidence: str


class Found(NamedTuple):
    """What was found, by the exam's ids, and the ids of parts too short to be looked for."""

    leaks: dict[str, Leak]
    too_short: list[str]


def find_leaks(
    exam: Mapping[str, Sequence[str]],
    training: Callable[[], Iterable[Text]],
    reworded: Callable[[str], bool] = lambda _: True,
    seen: Callable[[], object] = lambda: None,
) -> Found:
    """Return which parts of an exam stand in the training texts.

    Memory grows with the exam and not with the training texts, which are read twice: to learn which terms are common,
    and to look.

    Args:
        exam: the texts of each part by its id; the part has leaked if one of its texts has.
        training: gives the training texts, each time from the first on.
        reworded: whether other wordings of a part are looked for too.
        seen: called for each text, twice a text in all.
    """
    from metier.evaluate.leak_runs import Runs
    from metier.evaluate.leak_wordings import Wordings

    flat = [(id, text) for id, texts in exam.items() for text in texts if len(tokens(text)) >= LEAST_WORDS]
    looked_for = {id for id, _ in flat}
    too_short = [id for id in exam if id not in looked_for]
    if not flat:
        return Found({}, too_short)
    runs = Runs([text for _, text in flat], GRAM_WORDS)
    wordings = Wordings([text if reworded(id) else "" for id, text in flat], batches(training(), seen))
    for batch in batches(training(), seen):
        runs.look(batch)
        wordings.look(batch)
    leaks: dict[str, Leak] = {}
    for number, (id, text) in enumerate(flat):
        copied, alike = runs.found(number), wordings.found(number)
        if copied is not None and copied.share >= LEAK_SHARE:
            leaks[id] = _surer(leaks.get(id), Leak(id, "verbatim", *copied[:2], text, copied.text))
        elif alike is not None:
            leaks[id] = _surer(leaks.get(id), Leak(id, "reworded", *alike[:2], text, alike.text))
    return Found(leaks, too_short)


def batches(training: Iterable[Text], seen: Callable[[], object] = lambda: None) -> Iterator[Batch]:
    """Yield training texts with their words, many at a time."""
    batch, size = Batch([], []), 0
    for text in training:
        words = tokens(text.text)
        batch.texts.append(text)
        batch.words.append(words)
        size += len(words)
        seen()
        if size >= _BATCH_TOKENS:
            yield batch
            batch, size = Batch([], []), 0
    if batch.texts:
        yield batch


def _surer(known: Leak | None, other: Leak) -> Leak:
    """Return the leak that says more: word for word before reworded, then the larger share."""
    if known is None:
        return other
    return max(known, other, key=lambda leak: (leak.kind == "verbatim", leak.share))
