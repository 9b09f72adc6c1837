"""Agreement of an answer with a reference text: the F1 of their words, as SQuAD counts it, or ROUGE-L."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from metier.core.errors import Failure
from metier.core.scorers import Score

# A run of Latin letters or digits is one word; in scripts without spaces each character is.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def words(text: str) -> Counter[str]:
    """Return the words of a text and how often each comes, case folded."""
    return Counter(WORD.findall(text.casefold()))


class Agreement:
    """2·shared / (words given + words wanted), with `check["reference"]` or the best of it and `check["accepts"]`.

    `check["measure"]` says what is shared: "words", in any order (the default), or "rouge-l", the longest run of words
    in the same order, with gaps (Lin 2004, with beta = 1).
    """

    def score(self, check: Mapping[str, Any], answer: str) -> Score:
        """Return the best agreement. Raises Failure if a reference has no word in it, or the measure is unknown."""
        references = [str(check.get("reference") or ""), *map(str, check.get("accepts") or ())]
        measure = check.get("measure", "words")
        if measure not in ("words", "rouge-l"):
            raise Failure("a check for agreement has an unknown measure", found=str(measure), hint="words or rouge-l")
        return max(
            (_agreement(reference, answer, measure, check) for reference in references), key=lambda one: one.value
        )


def _agreement(reference: str, answer: str, measure: str, check: Mapping[str, Any]) -> Score:
    wanted, given = (WORD.findall(text.casefold()) for text in (reference, answer))
    if not wanted:
        raise Failure("a check for agreement has no 'reference'", found=", ".join(check) or "an empty check")
    in_order = measure == "rouge-l"
    shared = longest_common(given, wanted) if in_order else (Counter(given) & Counter(wanted)).total()
    kind = "words shared in order" if in_order else "words shared"
    reason = f"{shared} {kind} of {len(given)} given and {len(wanted)} wanted"
    return Score(2 * shared / (len(given) + len(wanted)), reason)


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, in time and memory of one times the other, and the other."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, known in enumerate(other, 1):
            before, row[at] = row[at], before + 1 if word == known else max(row[at], row[at - 1])
    return row[-1]
