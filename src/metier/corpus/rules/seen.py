"""A batch of documents as the rules see it: its counts, each made when first asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from metier.corpus.kernel import texts
from metier.corpus.kernel.rules import LineRules, Measures, Shape, measure, shape
from metier.corpus.language import is_code
from metier.corpus.rules.stop_words import STOP_WORDS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# Tables, rows and logs: written for people or not, they are no prose.
_DATA = re.compile(
    r"text/(?:csv|tab-separated-values|x-log)|application/(?:vnd\.ms-excel.*|vnd\.apache\.parquet|jsonl|x-ndjson)"
    r"|.*spreadsheet.*"
)


class Needs(NamedTuple):
    """What must be known before anything is counted: the rules for lines, and lists of stop words by language."""

    lines: LineRules = LineRules()
    stop_words: Mapping[str, Sequence[str]] = STOP_WORDS


class Columns:
    """Counts by their name: `columns.words` has one number a document."""

    def __init__(self, names: Sequence[str], counts: NDArray[np.int64]) -> None:
        self._columns = {name: counts[:, at] for at, name in enumerate(names)}

    def __getattr__(self, name: str) -> NDArray[np.int64]:
        try:
            return self._columns[name]
        except KeyError:
            raise AttributeError(name) from None


class Seen:
    """Documents with what rules count of them; all arrays have one entry a document."""

    def __init__(self, batch: pa.RecordBatch, needs: Needs = Needs()) -> None:  # noqa: B008 - immutable
        self._batch, self._needs = batch, needs
        self.texts = texts(batch.column("text"))

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def titles(self) -> list[str]:
        """The titles, "" where there is none."""
        return [title or "" for title in self._batch.column("title").to_pylist()]

    @cached_property
    def written(self) -> NDArray[np.bool_]:
        """Whether the media type is that of a text which people write for people: no source code, table or log."""
        import numpy as np

        kinds = self._batch.column("media_type").to_pylist()
        known = {kind: is_prose(kind) for kind in set(kinds)}
        return np.fromiter((known[kind] for kind in kinds), np.bool_, len(kinds))

    @cached_property
    def prose(self) -> NDArray[np.bool_]:
        """Whether the document is written, and at least half of it prose: not fenced code and tables."""
        counts: NDArray[np.bool_] = self.written & (2 * self.measures.prose_chars >= self.measures.text_chars)
        return counts

    @cached_property
    def cjk(self) -> NDArray[np.bool_]:
        """Whether most words are single Han or kana characters."""
        of_most: NDArray[np.bool_] = 2 * self.measures.cjk > self.measures.words
        return of_most

    @cached_property
    def spaced(self) -> NDArray[np.bool_]:
        """Whether words stand apart: not in Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan."""
        apart: NDArray[np.bool_] = ~self.cjk & (2 * self.measures.unspaced <= self.measures.word_chars)
        return apart

    @cached_property
    def measures(self) -> Columns:
        """The counts of the published rules."""
        return Columns(Measures._fields, self._measured[0])

    @cached_property
    def shape(self) -> Columns:
        """The counts of the house rules."""
        return Columns(Shape._fields, shape(self.texts))

    @cached_property
    def languages(self) -> list[str | None]:
        """The documents' languages as stated, "en" for "en-GB", None where nobody stated one."""
        stated = self._batch.column("language").to_pylist()
        return [language.partition("-")[0].lower() if language else None for language in stated]

    @cached_property
    def likely_languages(self) -> list[str | None]:
        """The languages as stated, else the one whose stop words stand out; None where none does."""
        found = self._measured[1]
        codes = list(self._needs.stop_words)
        likely = found.argmax(axis=1)
        best = found.max(axis=1)
        clear = (best >= 3) & ((found == best[:, None]).sum(axis=1) == 1)
        guesses = [codes[at] if sure else None for at, sure in zip(likely.tolist(), clear.tolist(), strict=True)]
        return [stated or guess for stated, guess in zip(self.languages, guesses, strict=True)]

    @cached_property
    def stop_words(self) -> NDArray[np.int64]:
        """How many different stop words of its language each document has; -1 where there is no list for it.

        A document of no stated language has as many as it has of the list that fits best; if it is in a script of
        none of the lists, there is no list for it.
        """
        import numpy as np

        found = self._measured[1]
        columns = {code: at for at, code in enumerate(self._needs.stop_words)}
        # Latin letters are judged by the lists there are; without them and without one stop word it is another script.
        latin = self.cjk | (10 * self.measures.latin >= self.measures.words)
        of_best = np.where(latin | (found.max(axis=1) > 0), found.max(axis=1), -1)
        told = [columns.get(language, -1) if language else None for language in self.languages]
        counts = [of_best[row] if at is None else found[row, at] if at >= 0 else -1 for row, at in enumerate(told)]
        return np.array(counts, np.int64)

    @cached_property
    def _measured(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        lists = [frozenset(words) for words in self._needs.stop_words.values()]
        return measure(self.texts, self._needs.lines, lists)


def is_prose(media_type: str | None) -> bool:
    """Say whether a media type is that of a text which people write for people: no source code, table or log."""
    kind = (media_type or "").partition(";")[0].strip().lower()
    return not is_code(kind) and not _DATA.fullmatch(kind)
