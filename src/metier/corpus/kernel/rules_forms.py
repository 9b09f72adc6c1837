"""Which word forms a corpus knows, as plain Python: the definition, and what runs where nothing is compiled.

A form is a run of letters and marks in prose (`rules_lines`), in lower case: of 2 to 40 characters, without digits, no
Han or kana, and written in small letters, with one capital, or all in capitals; `getElementById` is none. Forms are
hashed into a table that counts the documents they stand in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from metier.corpus.kernel.rules_counts import TABLE_BITS
from metier.corpus.kernel.rules_lines import whole_lines
from metier.corpus.kernel.unicode import CJK, DIGIT, UPPER, WORD, character_set, lower

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_DOCUMENTS = 255
SHORTEST, LONGEST = 2, 40

_MIX, _PRIME, _ALL = 0x9E3779B97F4A7C15, 0x100000001B3, (1 << 64) - 1
_RUN = re.compile(f"(?:(?![{character_set(CJK)}])[{character_set(WORD)}])+")
_DIGIT = re.compile(f"[{character_set(DIGIT)}]")
_UPPER = re.compile(f"[{character_set(UPPER)}]")


def learn(text: str, group: int, counts: NDArray[np.uint8]) -> None:
    """Count one document for each form in it. Forms of other groups (languages) are other forms."""
    for place in {place_of(form, group) for form in forms(text)}:
        if counts[place] < MOST_DOCUMENTS:
            counts[place] += 1


def known(text: str, group: int, counts: NDArray[np.uint8], at_least: int) -> tuple[int, int]:
    """Return how many forms stand in a text, with repetition, and how many of them `at_least` documents had."""
    places = [place_of(form, group) for form in forms(text)]
    return len(places), sum(bool(counts[place] >= at_least) for place in places)


def forms(text: str) -> Iterator[str]:
    """Yield the forms in a text's prose, in their order."""
    for kind, line in whole_lines(text):
        for run in _RUN.findall(line) if kind == "prose" else ():
            if SHORTEST <= len(run) <= LONGEST and not _DIGIT.search(run):
                capitals = len(_UPPER.findall(run))
                if capitals in (0, len(run)) or (capitals == 1 and _UPPER.match(run)):
                    yield lower(run)


def place_of(form: str, group: int) -> int:
    """Return where a form is in the table."""
    found = (group + 1) * _MIX & _ALL
    for character in form:
        found = (found ^ ord(character)) * _PRIME & _ALL
    return ((found ^ found >> 32) * _MIX & _ALL) >> (64 - TABLE_BITS)
