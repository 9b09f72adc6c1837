"""Examine documents with the lexicon and, where they are given, a classifier and a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metier.corpus.scores import Scored

if TYPE_CHECKING:
    import pyarrow as pa

    from metier.corpus.quality.sequence import Settings

WINDOWS_TOLD = 5
_WINDOW = 1500  # characters that the classifier judges at a time: one paragraph must not hide in a long document
_TOLD = 300


@dataclass(frozen=True)
class Examiner:
    """The scorer of the step: 1 or more is an objection, and the detail says what is objected to.

    Args:
        own_lexicon: a lexicon of the user's, beside those of the package.
        classifier: the folder of a classifier whose good is compliant, and from which probability of bad it objects.
        model: the folder of a sequence classifier, how to use it, and from which score it objects.
    """

    categories: tuple[str, ...]
    threshold: float
    own_lexicon: Path | None = None
    classifier: tuple[Path, float] | None = None
    model: tuple[Path, Settings, float] | None = None

    def __call__(self, batch: pa.RecordBatch) -> list[Scored]:
        """Return how near each document is to an objection, and the objections."""
        texts = [text or "" for text in batch.column("text").to_pylist()]
        found: list[list[dict[str, Any]]] = [list(self._by_lexicon(text)) for text in texts]
        if self.classifier is not None:
            for mine, more in zip(found, self._by_classifier(texts, *self.classifier), strict=True):
                mine += more
        if self.model is not None:
            for mine, more in zip(found, self._by_model(texts, *self.model), strict=True):
                mine += more
        return [_told(mine) for mine in found]

    def _by_lexicon(self, text: str) -> Iterator[dict[str, Any]]:
        from metier.corpus.comply.match import ENOUGH, excerpt, matcher, objections

        data = text.encode("utf-8", "replace")
        enough = ENOUGH * self.threshold
        for one in objections(data, matcher(self.own_lexicon), enough):
            if one.category in self.categories:
                told = {"category": one.category, "score": round(one.points / enough, 3), "terms": list(one.terms)}
                if one.excuse is not None:
                    told["in_spite_of"] = one.excuse
                yield {**told, "text": excerpt(data, one)}

    def _by_classifier(self, texts: Sequence[str], folder: Path, threshold: float) -> Iterator[list[dict[str, Any]]]:
        from metier.corpus.kernel import texts as column_of
        from metier.corpus.quality.classifier import load

        windows = [list(_windows(text)) for text in texts]
        bad = 1 - load(folder).probabilities(column_of([window for mine in windows for window in mine]))
        at = 0
        for mine in windows:
            scores = bad[at : at + len(mine)].tolist()
            at += len(mine)
            yield [
                {"category": "classifier", "score": round(score / threshold, 3), "text": window[:_TOLD]}
                for score, window in zip(scores, mine, strict=True)
                if score >= threshold
            ]

    def _by_model(
        self, texts: Sequence[str], folder: Path, settings: Settings, threshold: float
    ) -> Iterator[list[dict[str, Any]]]:
        from metier.corpus.quality.sequence import score

        for told in score(folder, settings, texts):
            objects = told.score >= threshold
            mine = {"category": "model", "score": round(told.score / threshold, 3), "text": told.window[:_TOLD]}
            yield [mine] if objects else []


def _told(found: list[dict[str, Any]]) -> Scored:
    """Return the score of a document and its worst windows; all its categories are told."""
    if not found:
        return Scored(0.0)
    worst = sorted(found, key=lambda one: -one["score"])
    first = {one["category"]: one for one in reversed(worst)}
    chosen = [one for one in worst if first[one["category"]] is one]
    rest = [one for one in worst if first[one["category"]] is not one]
    return Scored(worst[0]["score"], [*chosen, *rest][: max(WINDOWS_TOLD, len(chosen))])


def _windows(text: str) -> Iterator[str]:
    """Yield a text in windows that end at white space where there is some; the last is no mere scrap."""
    at = 0
    while len(text) - at > _WINDOW + _WINDOW // 2:
        end = max(text.rfind(" ", at, at + _WINDOW), text.rfind("\n", at, at + _WINDOW))
        end = end if end > at + _WINDOW // 2 else at + _WINDOW
        yield text[at:end]
        at = end
    yield text[at:]
