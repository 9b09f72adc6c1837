"""Leave out documents that a classifier scores too low."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from metier.core import Mistake, Step, Work
from metier.core.types import Documents
from metier.corpus.quality.classifier import Classifier
from metier.corpus.scores import Row, Scored, Scorer, Scores, leave_out, score_all

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_BINS = 20


class Quality(Step[Documents]):
    """Score documents with a classifier that `teach-quality` made, and leave out those that score too low.

    A score is the probability that a text is good, where good and bad are equally frequent. All scores are in
    `scores/`, their distribution and examples from each part of it are in the record: set the threshold to 0 first,
    look, and then choose.
    """

    name: ClassVar[str] = "quality"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    classifier: Step[Classifier] = Field(description="The step that taught the classifier.")
    threshold: float = Field(0.5, ge=0, le=1, description="Documents that score lower are left out; 0 keeps all.")
    keep_share: float | None = Field(
        None, gt=0, le=1, description="Keep this share of the documents, those that score best, whatever the threshold."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.keep_share is not None and "threshold" in self.model_fields_set:
            raise Mistake(
                "quality takes a threshold or a share to keep, not both",
                found=f"threshold: {self.threshold}, keep_share: {self.keep_share}",
                hint="leave one of them out",
            )
        return self

    def run(self, work: Work) -> None:
        """Score all documents, then write those that score enough."""
        model = work.made(self.classifier)
        model.model()  # a damaged classifier is told before anything starts
        scorer = LinearScorer((model.folder / "classifier").absolute())
        filter_by_score(work, work.made(self.corpus), scorer, Cut(self.threshold, self.keep_share))


@dataclass(frozen=True)
class LinearScorer:
    """Scores documents with the classifier of a folder."""

    folder: Path

    def __call__(self, batch: pa.RecordBatch) -> list[Scored]:
        """Return the probability that each document is good."""
        from metier.corpus.kernel import texts
        from metier.corpus.quality.classifier import load

        return [Scored(score) for score in load(self.folder).probabilities(texts(batch.column("text"))).tolist()]


class Cut(NamedTuple):
    """Which scores are too low: below `threshold`, or all but the best `keep_share`. `low_is_good` turns it round."""

    threshold: float
    keep_share: float | None = None
    low_is_good: bool = False

    def at(self, values: NDArray[np.float32]) -> float:
        """Return the threshold, which a share to keep makes that of the last document to stay. Ties stay too."""
        import numpy as np

        if self.keep_share is None or not values.size:
            return self.threshold
        ordered = np.sort(values) if self.low_is_good else np.sort(values)[::-1]
        return float(ordered[max(0, round(self.keep_share * values.size) - 1)])


def filter_by_score(
    work: Work,
    documents: Documents,
    scorer: Scorer,
    cut: Cut,
    workers: int | None = None,
    memory_bytes: int | None = None,
) -> None:
    """Score the documents, keep the figures, and leave out what the cut says. Raises Mistake if no document stays.

    Args:
        workers, memory_bytes: of the pool, where they should not be the engine's choice.
    """
    import numpy as np

    scores = score_all(work, documents, scorer, "scoring", workers=workers, memory_bytes=memory_bytes)
    values = scores.values()
    values = values[~np.isnan(values)]
    threshold = cut.at(values)
    work.figure("threshold", round(threshold, 6))
    if values.size:
        work.figure("scores", _distribution(scores, float(values.min()), float(values.max())))

    def why(row: Row) -> str | None:
        if row.score is None:
            return row.failed
        if cut.low_is_good:
            return f"score above {threshold:.4g}" if row.score > threshold else None
        return f"score below {threshold:.4g}" if row.score < threshold else None

    totals = leave_out(work, documents, scores, why, "filtering")
    if not totals.kept and totals.came:
        found = f"scores from {values.min():.3f} to {values.max():.3f}" if values.size else "no document has a score"
        raise Mistake("no document scores enough", found=found, hint="choose another threshold, or look at the model")
    made = {"document": totals.kept}
    work.count("document", totals.came, totals.kept, totals.dropped, source="corpus", made=made)


def _distribution(scores: Scores, lowest: float, highest: float) -> list[dict[str, Any]]:
    """Return how many documents score how much, and one of each part of the range."""
    width = (highest - lowest) / _BINS or 1.0
    bins: list[dict[str, Any]] = [
        {"from": round(lowest + at * width, 6), "documents": 0, "example": ""} for at in range(_BINS)
    ]
    for row in scores.rows():
        if row.score is not None:
            chosen = bins[min(int((row.score - lowest) / width), _BINS - 1)]
            chosen["documents"] += 1
            chosen["example"] = chosen["example"] or row.source
    return bins
