"""Agreement of an answer with a reference text: the F1 of their words, as SQuAD counts it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from metier.core.errors import Failure
from metier.core.scorers import Score

# A run of Latin letters or digits is one word; in scripts without spaces each character is.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def words(text: str) -> Counter[str]:
    """Return the words of a text and how often each comes, case folded."""
    return Counter(WORD.findall(text.casefold()))


class Agreement:
    """Token F1 with `check["reference"]`: 2·shared / (words in the answer + words in the reference)."""

    def score(self, check: Mapping[str, Any], answer: str) -> Score:
        """Return the F1. Raises Failure if the check has no reference with a word in it."""
        reference = words(str(check.get("reference") or ""))
        if not reference:
            raise Failure("a check for agreement has no 'reference'", found=", ".join(check) or "an empty check")
        given = words(answer)
        shared = (given & reference).total()
        total = given.total() + reference.total()
        return Score(
            2 * shared / total, f"{shared} words shared of {given.total()} given and {reference.total()} wanted"
        )
