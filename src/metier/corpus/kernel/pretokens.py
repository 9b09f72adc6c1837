"""Ids of texts as a byte-level BPE tokenizer gives them, with every distinct piece of text encoded once.

Such a tokenizer first cuts text into pieces (words, numbers, punctuation, white space) and merges within each. Pieces
repeat: `pretokens.c` cuts, looks them up, and merges those that were never seen. What the kernel cannot be sure of (a
character that this Python's Unicode does not know) it refuses, and the caller asks the tokenizer. There is no Python
twin: the tokenizer is the twin.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from metier.corpus.kernel import Texts, compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CUTS = {"gpt-2": 0, "smollm": 1, "llama-bpe": 2, "qwen2": 3}
"""The cuts that the kernel knows, by their names in `metier.core.pretokenizers`."""

_OTHER, _LETTER, _NUMBER, _SPACE, _UNKNOWN = range(5)
_CODE_POINTS = 0x110000
_SPACES = (*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
_LONG_S = 0x17F  # the only other character that an `s` matches where case does not count
_NO_ID = 0xFFFFFFFF  # of a byte that the vocabulary lacks: the tokenizer is asked about pieces with it
_MOST_PIECES, _MOST_BYTES = 500_000, 1 << 24  # some 70 MB with their ids; beyond it the store begins anew

Encode = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""Returns the ids of texts, without the tokens that a tokenizer puts around a whole text."""


class Merges(NamedTuple):
    """A byte-level BPE model: ids of the 256 bytes, merges in their order [merges, 3] (left, right, new id), and pieces
    that are a token as they stand, whatever the merges say.
    """

    of_byte: NDArray[np.uint32]
    rules: NDArray[np.uint32]
    whole: Mapping[bytes, int]


class Encoded(NamedTuple):
    """Ids of all texts, one after the other, where each text's end, and which texts were refused (and have none)."""

    ids: NDArray[np.uint32]
    ends: NDArray[np.int64]
    refused: NDArray[np.bool_]


class PieceEncoder:
    """Encodes texts piece by piece, remembering pieces.

    Args:
        cut: a name in CUTS.
        encode: the tokenizer, for pieces that are not merged here.
        merges: how bytes merge; None asks the tokenizer for every piece not seen before.

    Raises:
        ValueError: the kernel was not built, or METIER_KERNEL is "python".
    """

    def __init__(self, cut: str, encode: Encode, merges: Merges | None = None) -> None:
        kernel = compiled("_pretokens")
        if kernel is None:
            raise ValueError("the kernel _pretokens is not there")
        self._kernel: ModuleType = kernel
        self._cut, self._encode, self._merges = CUTS[cut], encode, merges
        self._begin()

    def _begin(self) -> None:
        import numpy as np

        self._pieces = self._kernel.pieces(_classes(self._cut), self._cut)
        self._starts, self._ids = array("q", [0]), array("I")
        if self._merges is None:
            return
        self._kernel.teach(self._pieces, self._merges.of_byte, self._merges.rules)
        if self._merges.whole:
            self._kernel.know(
                self._pieces,
                b"".join(self._merges.whole),
                np.cumsum([0, *map(len, self._merges.whole)], dtype=np.int64),
            )
            self._ids.extend(self._merges.whole.values())
            self._starts.extend(range(1, len(self._ids) + 1))

    def __call__(self, texts: Texts) -> Encoded:
        """Return the ids of `texts`."""
        import numpy as np

        numbers, ends, refused, held = self._kernel.number(self._pieces, texts.data, texts.offsets)
        self._learn()
        ids, ends = self._kernel.expand(numbers, ends, self._starts, self._ids)
        if len(self._starts) > _MOST_PIECES or held > _MOST_BYTES:
            self._begin()
        return Encoded(np.frombuffer(ids, np.uint32), np.frombuffer(ends, np.int64), np.frombuffer(refused, np.bool_))

    def _learn(self) -> None:
        """Work out the ids of the pieces that were not known."""
        import numpy as np

        first, before = len(self._starts) - 1, len(self._ids)
        if self._merges is None:
            for ids in self._encode(self._kernel.spelled(self._pieces, first)):
                self._ids.extend(ids)
                self._starts.append(len(self._ids))
            return
        ids, ends = self._kernel.merged(self._pieces, first)
        places = np.frombuffer(ends, np.int64)
        without = np.flatnonzero(np.diff(places, prepend=0) == 0)
        if not without.size:
            self._ids.frombytes(ids)
            self._starts.frombytes((places + before).tobytes())
            return
        # Pieces that the kernel does not merge: the tokenizer does it, in their places.
        spelled = self._kernel.spelled(self._pieces, first)
        long = dict(zip(without.tolist(), self._encode([spelled[at] for at in without]), strict=True))
        all_ids = np.frombuffer(ids, np.uint32)
        for at, (start, stop) in enumerate(zip([0, *places.tolist()], places.tolist(), strict=False)):
            self._ids.extend(long[at] if at in long else all_ids[start:stop].tolist())
            self._starts.append(len(self._ids))


def merges_of(told: Mapping[str, Any]) -> Merges | None:
    """Return how the model of a `tokenizer.json` merges, or None if it is no plain byte-level BPE."""
    import numpy as np

    model = told["model"]
    plain = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    if model.get("type") != "BPE" or any(model.get(name) for name in plain):
        return None
    letters, vocabulary = _letters(), model["vocab"]
    pairs = [rule.split(" ") if isinstance(rule, str) else rule for rule in model["merges"]]
    try:
        of_byte = [vocabulary.get(letter, _NO_ID) for letter in letters]
        rules = [(vocabulary[left], vocabulary[right], vocabulary[left + right]) for left, right in pairs]
    except (KeyError, ValueError):
        return None
    whole = {}
    if model.get("ignore_merges"):
        bytes_of = {letter: byte for byte, letter in enumerate(letters)}
        whole = {
            bytes(bytes_of[letter] for letter in token): number
            for token, number in vocabulary.items()
            if token and all(letter in bytes_of for letter in token)
        }
    return Merges(np.array(of_byte, np.uint32), np.array(rules, np.uint32).reshape(-1, 3), whole)


def _letters() -> list[str]:
    """Return the letter that stands for each byte in the vocabulary of a byte-level tokenizer, as GPT-2 laid down."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    found = {byte: chr(byte) for byte in shown} | {byte: chr(256 + at) for at, byte in enumerate(hidden)}
    return [found[byte] for byte in range(256)]


@cache
def _classes(cut: int) -> bytes:
    """Return the class of every code point, as the regular expressions of tokenizers see it."""
    kinds = {"L": _LETTER, "N": _NUMBER}
    table = bytearray(_CODE_POINTS)
    for code in range(_CODE_POINTS):
        category = unicodedata.category(chr(code))
        # A later Unicode may have given the code point to a letter; a surrogate is no text.
        table[code] = _UNKNOWN if category in ("Cn", "Cs") else kinds.get(category[0], _OTHER)
    for code in _SPACES:
        table[code] = _SPACE
    if cut >= CUTS["llama-bpe"]:
        table[_LONG_S] = _UNKNOWN
    return bytes(table)
