"""Teach a classifier what good text is, from examples that a person chose."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.types import Documents
from metier.corpus.quality.classifier import Classifier
from metier.corpus.quality.examples import Example, Examples, read_examples, shared, without

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.corpus.quality.fit import HeldOut, Shares

_FEWEST = 30
_FEW = 100
_MOST_SHARED = 0.1
_TOLD = 30  # telling features of either class
_MISTAKES = 50


class TeachQuality(Step[Classifier]):
    """Teach a classifier to tell good text from bad, from a few hundred examples of each.

    It looks at words, pairs of words and punctuation. How good it is on examples it has not seen, with an interval,
    and what it goes by, is in the record and in `features.tsv`; held-out examples that it got wrong are in
    `mistakes.jsonl`: read them, they are often examples in the wrong class. It refuses classes that are too small,
    overlap or cannot be told apart, and warns if length, language or source alone would tell them apart as well.
    """

    name: ClassVar[str] = "teach-quality"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    good: Step[Documents] | LocalPath = Field(
        description="Good text: documents, or a table with a column of text, a text file with one example a line, or a "
        "folder with one example a file."
    )
    bad: Step[Documents] | LocalPath = Field(description="Bad text, likewise.")
    column: str = Field("text", description="The column with the text, where a table is given.")
    most: int = Field(5000, ge=_FEWEST, description="Examples of either class to use at most.")
    characters: int = Field(20_000, ge=200, description="Characters of an example to use at most.")
    order: int = Field(2, ge=1, le=3, description="Longest n-grams: 1 looks at words alone, 2 also at pairs.")
    bits: int = Field(18, ge=12, le=24, description="The classifier has 2^bits weights of 4 bytes.")

    def run(self, work: Work) -> None:
        """Read the examples, measure on held-out ones, and fit to all."""
        import numpy as np

        from metier.corpus.quality.fit import hold_out, shares, taught
        from metier.corpus.quality.measure import FOLDS, folds

        examples, good = self._examples(work)
        texts = [one.text for one in examples]
        matrix = shares(texts, self.bits, self.order)
        places = folds(matrix)
        with work.progress("teaching", FOLDS + 1, "folds") as bar:
            held = hold_out(matrix, good, places, bar.advance)
            self._measure(work, examples, good, held, places)
            model = taught(matrix, good, held, self.order)
            bar.advance()
        Classifier(work.folder).save(model)
        self._explain(work, texts, matrix, good, np.asarray(model.weights, np.float64))
        _write_mistakes(work, examples, good, held.probabilities)

    def _examples(self, work: Work) -> tuple[list[Example], NDArray[np.bool_]]:
        """Return the examples of both classes, and which are good. Raises Mistake if they teach nothing."""
        import numpy as np

        classes: dict[str, Examples] = {}
        for name, given in (("good", self.good), ("bad", self.bad)):
            classes[name] = read_examples(work, given, self.column, self.most, self.characters)
        both = shared(classes["good"].kept, classes["bad"].kept)
        smaller = min(len(found.kept) for found in classes.values())
        if len(both) > _MOST_SHARED * smaller > 0:
            raise Mistake(
                "the good and the bad examples overlap",
                found=f"{len(both)} texts are in both, of {smaller} in the smaller class",
                hint="give each text once: as good, or as bad",
            )
        for name, found in classes.items():
            kept = without(found.kept, both)
            dropped = found.dropped + Counter({"in both classes": len(found.kept) - len(kept)})
            work.count(f"{name} example", len(kept) + dropped.total(), len(kept), +dropped)
            if len(kept) < _FEWEST:
                raise Mistake(
                    f"there are too few {name} examples to learn from",
                    found=f"{len(kept)} that can be used, of {len(kept) + dropped.total()}",
                    hint=f"give {_FEWEST} at least; a few hundred are better",
                )
            if len(kept) < _FEW:
                work.warn(f"only {len(kept)} {name} examples: a few hundred make a better classifier")
            classes[name] = Examples(kept, dropped)
        good, bad = classes["good"].kept, classes["bad"].kept
        return [*good, *bad], np.arange(len(good) + len(bad)) < len(good)

    def _measure(
        self, work: Work, examples: list[Example], good: NDArray[np.bool_], held: HeldOut, places: NDArray[np.int64]
    ) -> None:
        """Keep the held-out figures. Raises Mistake if the classes cannot be told apart."""
        from metier.corpus.quality.fit import log_loss
        from metier.corpus.quality.measure import accuracy, investigate, rank_share, suspects

        told = held.probabilities
        share = accuracy(told, good)
        if share.low <= 0.5 or held.slope <= 0:
            raise Mistake(
                "the good examples cannot be told from the bad ones",
                found=f"held-out accuracy {share.value:.2f} (95%: {share.low:.2f} to {share.high:.2f}; chance is 0.50)",
                hint="look whether they differ as you think they do, or give more of them",
            )
        figures: dict[str, Any] = {
            "accuracy": round(share.value, 4),
            "low": round(share.low, 4),
            "high": round(share.high, 4),
            "n": len(good),
            "rank_share": round(rank_share(held.margins, good), 4),
            "good_kept": round(float((told[good] >= 0.5).mean()), 4),
            "bad_left_out": round(float((told[~good] < 0.5).mean()), 4),
            "log_loss_nats": round(log_loss(told, good), 4),
            "regularisation": held.strength,
        }
        work.figure("held_out", figures)
        work.say(
            f"held-out accuracy {share.value:.3f} (95%: {share.low:.3f} to {share.high:.3f}): of the good "
            f"{figures['good_kept']:.1%} would stay, of the bad {figures['bad_left_out']:.1%} would go"
        )
        findings = [investigate(one, (told >= 0.5) == good, good, places) for one in suspects(examples)]
        work.figure("suspects", [finding._asdict() for finding in findings])
        for finding in findings:
            if finding.guilty:
                work.warn(
                    f"the {finding.name} alone tells good from bad with accuracy {finding.alone:.2f}, the classifier "
                    f"with {share.value:.2f}: it may have learnt nothing else. Give good and bad examples that do not "
                    f"differ in {finding.name}."
                )

    def _explain(
        self, work: Work, texts: list[str], matrix: Shares, good: NDArray[np.bool_], weights: NDArray[np.float64]
    ) -> None:
        """Write the n-grams that part the classes most."""
        from metier.corpus.kernel.classify import named_ngrams
        from metier.corpus.quality.measure import names_of, telling

        buckets = telling(matrix, good, weights, _TOLD)
        names = names_of(buckets, matrix, texts, lambda text: named_ngrams(text, self.bits, self.order))
        rows = [("good" if weights[bucket] > 0 else "bad", names[bucket]) for bucket in buckets.tolist()]
        with (work.folder / "features.tsv").open("w", encoding="utf-8", newline="") as out:
            table = csv.writer(out, dialect="excel-tab")
            table.writerows([("speaks for", "words"), *rows])
        for side in ("good", "bad"):
            work.figure(f"speaks_for_{side}", [name for of, name in rows if of == side][:15])


def _write_mistakes(
    work: Work, examples: list[Example], good: NDArray[np.bool_], probabilities: NDArray[np.float64]
) -> None:
    """Write the held-out examples that were judged most wrongly."""
    import numpy as np

    wrong = np.where(good, 1 - probabilities, probabilities)
    with (work.folder / "mistakes.jsonl").open("w", encoding="utf-8") as out:
        for at in np.argsort(-wrong, kind="stable")[:_MISTAKES].tolist():
            if wrong[at] > 0.5:
                row = {
                    "given_as": "good" if good[at] else "bad",
                    "probability_good": round(float(probabilities[at]), 4),
                }
                row |= {"source": examples[at].source, "text": examples[at].text[:500]}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
