"""Runs of words of an exam in training texts, found by their hashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from metier.evaluate.leak_terms import excerpt, tokens
from metier.evaluate.leaks import Evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metier.evaluate.leaks import Batch


class Runs:
    """The runs of `size` words of some texts, and which of them were seen. A shorter text is one run.

    Args:
        texts: of the exam; one without words has no run.
    """

    def __init__(self, texts: Sequence[str], size: int) -> None:
        words = [tokens(text) for text in texts]
        self._ids = {word: id for id, word in enumerate(dict.fromkeys(word for found in words for word in found))}
        # One random number a word; a run's hash is their sum, each turned by its place in the run.
        self._numbers = np.random.default_rng(0).integers(0, 2**64, len(self._ids) + 1, np.uint64)
        self._sizes = sorted({min(size, len(found)) for found in words if found})
        own = []
        for found in words:
            length = min(size, len(found))
            array = np.array([self._ids[word] for word in found], np.int64)
            starts = np.arange(len(found) - length + 1 if found else 0)
            own.append(np.unique(self._hashes(array, starts, length)) if found else np.zeros(0, np.uint64))
        every = np.concatenate(own) if own else np.zeros(0, np.uint64)
        self._known = np.unique(every)
        self._seen = np.zeros(self._known.size, bool)
        self._own = [np.searchsorted(self._known, hashes) for hashes in own]
        self._owners: dict[int, list[int]] = {}
        for number, runs in enumerate(self._own):
            for run in runs.tolist():
                self._owners.setdefault(run, []).append(number)
        self._evidence: dict[int, tuple[int, str, str]] = {}

    def look(self, batch: Batch) -> None:
        """Mark the runs that stand in the batch's texts."""
        lengths = [len(words) + 1 for words in batch.words]
        array = np.full(sum(lengths), -1, np.int64)  # texts are kept apart by a word that no exam has
        at = 0
        for words, length in zip(batch.words, lengths, strict=True):
            array[at : at + length - 1] = np.fromiter(map(self._ids.get, words, repeat(-1)), np.int64, length - 1)
            at += length
        begins = np.cumsum([0, *lengths[:-1]])
        unknown = np.concatenate([[0], np.cumsum(array < 0)])
        for size in self._sizes:
            starts = np.flatnonzero(unknown[size:] == unknown[:-size])
            hashes = self._hashes(array, starts, size)
            places = np.minimum(np.searchsorted(self._known, hashes), self._known.size - 1)
            hit = self._known[places] == hashes
            if hit.any():
                self._seen[places[hit]] = True
                self._note(batch, places[hit], starts[hit], begins)

    def share(self, number: int) -> float:
        """Return the share of a text's runs that were seen in any training text."""
        own = self._own[number]
        return float(self._seen[own].mean()) if own.size else 0.0

    def found(self, number: int) -> Evidence | None:
        """Return that share, and the training text that holds most of the runs; None where none was seen."""
        if number not in self._evidence:
            return None
        _, where, text = self._evidence[number]
        return Evidence(round(self.share(number), 3), where, text)

    def _hashes(self, array: NDArray[np.int64], starts: NDArray[np.int64], size: int) -> NDArray[np.uint64]:
        total = np.full(starts.size, size, np.uint64)
        for place in range(size):
            total = total * np.uint64(0x9E3779B97F4A7C15) + self._numbers[array[starts + place]]
        return total

    def _note(
        self, batch: Batch, runs: NDArray[np.int64], starts: NDArray[np.int64], begins: NDArray[np.int64]
    ) -> None:
        """Keep, for each text of the exam, the training text with most of its runs."""
        texts = np.searchsorted(begins, starts, side="right") - 1
        first: dict[tuple[int, int], int] = {}
        counts: Counter[tuple[int, int]] = Counter()
        distinct = np.unique(np.stack([texts, runs]), axis=1, return_index=True)[1]
        for text, run, start in zip(
            texts[distinct].tolist(), runs[distinct].tolist(), starts[distinct].tolist(), strict=True
        ):
            for owner in self._owners[run]:
                counts[owner, text] += 1
                first[owner, text] = min(start, first.get((owner, text), start))
        for (owner, text), count in counts.items():
            if count > self._evidence.get(owner, (0, "", ""))[0]:
                where, whole = batch.texts[text]
                place = first[owner, text] - int(begins[text])
                self._evidence[owner] = (count, where, excerpt(whole, place))
