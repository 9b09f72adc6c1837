"""Leave out, hold back or report what a model should not learn from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.types import Documents, Model
from metier.corpus.comply.examine import Examiner
from metier.corpus.comply.review import REVIEW, Decided, category_of, read_decisions, write_review
from metier.corpus.quality.classifier import Classifier
from metier.corpus.quality.model_filter import Crew, crew_for
from metier.corpus.scores import Row, Scores, leave_out, score_all

if TYPE_CHECKING:
    from metier.corpus.quality.sequence import Settings

Category = Literal["toxic", "sexual", "hateful", "illegal"]


class Comply(Step[Documents]):
    """Find toxic, sexual, hateful and illegal text, in English and Chinese, and have a person decide on it.

    A lexicon looks for several terms close together, and asks for more of them in a medical, legal or journalistic
    context; one word is never enough. A classifier that `teach-quality` made, and a sequence classifier of the Hugging
    Face library, may look too. All that is objected to is in `review.jsonl` with the passages: write keep or drop into
    `decision`, and give the file to `decisions`. It is obeyed, as long as a document's text stays the same.
    """

    name: ClassVar[str] = "comply"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    mode: Literal["review", "keep", "drop"] = Field(
        "review",
        description="What becomes of documents on which nobody has decided: review holds them back, keep only reports "
        "them, drop leaves them out.",
    )
    decisions: LocalPath | None = Field(None, description="A review file with decisions filled in.")
    categories: tuple[Category, ...] = Field(get_args(Category), min_length=1, description="What to look for.")
    threshold: float = Field(1.0, gt=0, description="How much it takes: 2 asks for twice as much, 0.5 for half.")
    lexicon: LocalPath | None = Field(None, description="Terms of your own, as YAML like the lexicons of the package.")
    classifier: Step[Classifier] | None = Field(
        None, description="A classifier, taught with compliant text as good and the other as bad."
    )
    classifier_threshold: float = Field(0.9, gt=0, le=1, description="Probability of bad at which it objects.")
    model: Step[Model] | None = Field(None, description="A sequence classifier: a step `hub` or `local-model`.")
    labels: tuple[str, ...] = Field((), description="The model's labels that mean trouble.")
    model_threshold: float = Field(0.8, gt=0, description="Probability of those labels at which it objects.")
    windows: int = Field(8, ge=1, description="Windows of a long document that the model reads at most.")

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.model is not None and not self.labels:
            raise Mistake("comply has a model and no labels", hint="name the labels that mean trouble: labels: [toxic]")
        return self

    def run(self, work: Work) -> None:
        """Examine all documents, write the review file, and leave out what mode and decisions say."""
        decided = read_decisions(self.decisions.path) if self.decisions is not None else {}
        documents = work.made(self.corpus)
        crew = Crew(None, "cpu", 1, None)
        model: tuple[Path, Settings, float] | None = None
        if self.model is not None:
            from metier.corpus.quality.sequence import Settings, check_labels

            folder = work.made(self.model).model_folder.absolute()
            check_labels(folder, self.labels)
            crew = crew_for(work.host, folder)
            settings = Settings(self.labels, self.windows, None, "highest", crew.device, crew.threads)
            model = folder, settings, self.model_threshold
        examiner = Examiner(self.categories, self.threshold, self._own_lexicon(work), self._classifier(work), model)
        scores = score_all(work, documents, examiner, "examining", workers=crew.workers, memory_bytes=crew.memory_bytes)
        self._tell(work, scores, decided)
        totals = leave_out(work, documents, scores, lambda row: self.reason(row, decided), "filtering")
        made = {"document": totals.kept}
        work.count("document", totals.came, totals.kept, totals.dropped, source="corpus", made=made)

    def reason(self, row: Row, decided: dict[int, Decided]) -> str | None:
        """Return why a document is left out, or None if it stays."""
        if row.failed:
            return row.failed
        known = decided.get(row.key)
        if known is not None:
            return f"left out by review: {known.category}" if known.decision == "drop" else None
        if not row.detail or self.mode == "keep":
            return None
        return f"{'held for review' if self.mode == 'review' else 'non-compliant'}: {category_of(row)}"

    def _own_lexicon(self, work: Work) -> Path | None:
        """Copy the user's lexicon to where all workers see it. Raises Mistake if it is none."""
        if self.lexicon is None:
            return None
        from metier.corpus.comply.lexicon import lexicon

        copy = work.folder.absolute() / "lexicon.yaml"
        copy.write_bytes(self.lexicon.path.read_bytes())
        lexicon(copy)
        return copy

    def _classifier(self, work: Work) -> tuple[Path, float] | None:
        if self.classifier is None:
            return None
        made = work.made(self.classifier)
        made.model()
        return (made.folder / "classifier").absolute(), self.classifier_threshold

    def _tell(self, work: Work, scores: Scores, decided: dict[int, Decided]) -> None:
        """Write the review file and the figures, and say what is left to decide."""
        categories, keys = Counter[str](), set[int]()
        open_cases = 0
        for row in scores.rows():
            if row.key in decided:
                keys.add(row.key)
            if row.detail:
                categories.update({one["category"] for one in row.detail})
                open_cases += row.key not in decided
        objected = write_review(work.folder / REVIEW, scores, decided)
        work.figure("objected", {"documents": objected, "undecided": open_cases, **dict(categories.most_common())})
        if decided:
            work.figure("decided", dict(Counter(decided[key].decision for key in keys).most_common()))
        if gone := len(decided) - len(keys):
            work.warn(f"{gone} decisions are about documents that are not here, or whose text has changed since")
        if open_cases and self.mode != "drop":
            what = "held back" if self.mode == "review" else "kept all the same"
            work.warn(
                f"{open_cases} documents were objected to and are {what}: write keep or drop into `decision` of "
                f"{REVIEW}, and give it to the step as `decisions`"
            )
