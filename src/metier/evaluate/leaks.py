"""Whether an exam's text stands word for word in what is trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

GRAM_WORDS = 13
"""Length of a verbatim match in words, as in Brown et al. 2020, appendix C; shorter texts are matched whole."""

LEAK_SHARE = 0.5
"""Share of a text's n-grams found in training from which it counts as leaked; a quoted sentence or two is below it."""

_WORD = re.compile(r"\w+")


def found_in_training(exam: Mapping[str, str], training: Iterable[str]) -> dict[str, float]:
    """Return the share of each exam text's word n-grams (by id) that occur in any training text.

    Case and punctuation do not count. A text of fewer than 13 words is one gram of its own length; one without words
    has share 0. Memory grows with the exam, not with the training texts.
    """
    words = {id: _WORD.findall(text.lower()) for id, text in exam.items()}
    own = {id: set(grams(found, min(GRAM_WORDS, len(found)))) for id, found in words.items() if found}
    sizes = {min(GRAM_WORDS, len(found)) for found in words.values() if found}
    wanted = set().union(*own.values()) if own else set()
    seen: set[tuple[str, ...]] = set()
    for text in training:
        spoken = _WORD.findall(text.lower())
        for size in sizes:
            seen.update(gram for gram in grams(spoken, size) if gram in wanted)
    return {id: len(own[id] & seen) / len(own[id]) if id in own else 0.0 for id in exam}


def grams(words: list[str], size: int) -> Iterable[tuple[str, ...]]:
    """Return every run of `size` words."""
    return zip(*(words[at:] for at in range(size)), strict=False)
