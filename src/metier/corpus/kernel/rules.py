"""What the filter's rules count, for a column of texts: compiled, or by the Python twins where that was not built."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from metier.corpus.kernel import Texts, compiled, texts
from metier.corpus.kernel.rules_counts import TABLE_SIZE, VERDICTS, LineRules, Measures, Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "TABLE_SIZE",
    "VERDICTS",
    "LineRules",
    "Measures",
    "Shape",
    "clean",
    "known_forms",
    "learn_forms",
    "measure",
    "shape",
]

LINE_RULES = LineRules()
MOST_LISTS = 64
LONGEST_STOP_WORD = 64  # bytes


def measure(
    column: Texts, rules: LineRules = LINE_RULES, stop_words: Sequence[frozenset[str]] = ()
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the counts of each text, shape (texts, fields of Measures), and its stop words, shape (texts, lists).

    Args:
        rules: what C4 and FineWeb say of lines.
        stop_words: lists of words in lower case; of each a text's different words are counted.

    Raises:
        ValueError: there are more than 64 lists, or a stop word has more than 64 bytes.
    """
    import numpy as np

    _check_stop_words(stop_words)
    width = len(Measures._fields)
    out = np.zeros((len(column), width + len(stop_words)), np.int64)
    kernel = compiled("_rules")
    if kernel is None:
        from metier.corpus.kernel.rules_prose import measured

        for number in range(len(column)):
            found, stops = measured(column.decoded(number), rules, stop_words)
            out[number] = [*found, *stops]
    else:
        words = sorted(frozenset().union(*stop_words))
        known = texts(words)
        lists = [sum((word in words_of_list) << at for at, words_of_list in enumerate(stop_words)) for word in words]
        kernel.measure(
            column.offsets,
            column.data,
            np.array(rules, np.int64),
            known.offsets,
            known.data,
            np.array(lists, np.uint64).view(np.int64),
            len(stop_words),
            out,
        )
    return out[:, :width], out[:, width:]


def shape(column: Texts) -> NDArray[np.int64]:
    """Return what the house rules count of each text, shape (texts, fields of Shape)."""
    import numpy as np

    out = np.zeros((len(column), len(Shape._fields)), np.int64)
    kernel = compiled("_rules")
    if kernel is None:
        from metier.corpus.kernel.rules_house import shape as shape_of

        for number in range(len(column)):
            out[number] = shape_of(column.decoded(number))
    else:
        kernel.shape(column.offsets, column.data, out)
    return out


def clean(column: Texts, rules: LineRules = LINE_RULES) -> tuple[list[str], NDArray[np.int64]]:
    """Return the texts without the lines that C4 takes out; headings, fenced code and tables stay as they are.

    Also returns how many lines of each text had each of VERDICTS, shape (texts, verdicts).
    """
    import numpy as np

    verdicts = np.zeros((len(column), len(VERDICTS)), np.int64)
    kernel = compiled("_rules")
    if kernel is None:
        from metier.corpus.kernel.rules_lines import cleaned

        kept = []
        for number in range(len(column)):
            text, verdicts[number] = cleaned(column.decoded(number), rules)
            kept.append(text)
        return kept, verdicts
    offsets = np.zeros(len(column) + 1, np.int64)
    data: bytes = kernel.clean(column.offsets, column.data, np.array(rules, np.int64), offsets, verdicts)
    places = offsets.tolist()
    return [data[first:last].decode() for first, last in pairwise(places)], verdicts


def learn_forms(column: Texts, groups: NDArray[np.int64], counts: NDArray[np.uint8]) -> None:
    """Count in a table of TABLE_SIZE bytes the documents that each word form stands in, up to 255.

    Args:
        groups: of each text; those below 0 are passed over.
    """
    kernel = compiled("_rules")
    if kernel is None:
        from metier.corpus.kernel.rules_forms import learn

        for number, group in enumerate(groups.tolist()):
            if group >= 0:
                learn(column.decoded(number), group, counts)
    else:
        kernel.learn(column.offsets, column.data, groups, counts)


def known_forms(
    column: Texts, groups: NDArray[np.int64], counts: NDArray[np.uint8], at_least: int
) -> NDArray[np.int64]:
    """Return how many word forms each text has, and how many of them `at_least` documents had, shape (texts, 2)."""
    import numpy as np

    out = np.zeros((len(column), 2), np.int64)
    kernel = compiled("_rules")
    if kernel is None:
        from metier.corpus.kernel.rules_forms import known

        for number, group in enumerate(groups.tolist()):
            if group >= 0:
                out[number] = known(column.decoded(number), group, counts, at_least)
    else:
        kernel.known(column.offsets, column.data, groups, counts, at_least, out)
    return out


def _check_stop_words(stop_words: Sequence[frozenset[str]]) -> None:
    if len(stop_words) > MOST_LISTS:
        raise ValueError(f"{len(stop_words)} lists of stop words, more than {MOST_LISTS}")
    long = [word for words in stop_words for word in words if len(word.encode()) > LONGEST_STOP_WORD]
    if long:
        raise ValueError(f"a stop word of more than {LONGEST_STOP_WORD} bytes: {long[0]}")
