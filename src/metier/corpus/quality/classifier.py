"""A trained text classifier: a weight for each hashed n-gram, and how their mean becomes a probability."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from metier.core import Artifact, Failure, LocalPath, Mistake, Step, Work
from metier.corpus.kernel.unicode_ranges import VERSION as UNICODE_VERSION

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.corpus.kernel import Texts

_FORMAT = 1
_FILES = ("classifier.json", "weights.npy")
_LARGEST = 1 << 30  # weights are integers of at most this size, so that sums are exact wherever they are made


class Linear(NamedTuple):
    """A linear classifier on texts of n-grams of 1 to `order` tokens.

    The margin of a text is `bias` plus the mean of its n-grams' `weights` / `unit`; the probability of "good" is the
    logistic function of `slope` × margin + `intercept` (Platt scaling on texts that were held out).
    """

    weights: NDArray[np.int32]
    unit: float
    order: int
    bias: float
    slope: float
    intercept: float

    def margins(self, texts: Texts) -> NDArray[np.float64]:
        """Return the margin of each text; a text without tokens has the bias alone."""
        import numpy as np

        from metier.corpus.kernel.classify import ngram_sums

        sums, counts = ngram_sums(texts, self.weights, self.order)
        margins: NDArray[np.float64] = self.bias + sums / np.maximum(counts, 1) / self.unit
        return margins

    def probabilities(self, texts: Texts) -> NDArray[np.float64]:
        """Return the probability that each text is good, where good and bad are equally frequent."""
        return logistic(self.slope * self.margins(texts) + self.intercept)


def logistic(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)), without overflow."""
    import numpy as np

    shrunk = np.exp(-np.abs(margins))
    found: NDArray[np.float64] = np.where(margins >= 0, 1, shrunk) / (1 + shrunk)
    return found


def rounded(weights: NDArray[np.float64]) -> tuple[NDArray[np.int32], float]:
    """Return weights as integers, and how many of them make 1."""
    import numpy as np

    largest = float(np.abs(weights).max(initial=0)) or 1.0
    unit = 2.0 ** np.floor(np.log2(_LARGEST / largest))
    return np.round(weights * unit).astype(np.int32), float(unit)


class Classifier(Artifact):
    """A classifier that `teach-quality` made.

    `classifier/` holds its numbers, `features.tsv` what it goes by, `mistakes.jsonl` held-out examples it got wrong.
    """

    def save(self, model: Linear) -> None:
        """Write the classifier's numbers."""
        import numpy as np

        folder = self.folder / "classifier"
        folder.mkdir(exist_ok=True)
        np.save(folder / "weights.npy", model.weights)
        told = {name: value for name, value in model._asdict().items() if name != "weights"}
        told |= {"format": _FORMAT, "unicode": UNICODE_VERSION}
        (folder / "classifier.json").write_text(json.dumps(told, indent=1) + "\n")

    def model(self) -> Linear:
        """Return the classifier. Raises Failure if its files are missing, damaged or of another version of Metier."""
        return load(self.folder / "classifier")


class SavedClassifier(Step[Classifier]):
    """Take a classifier that `teach-quality` wrote in another run, as it is."""

    name: ClassVar[str] = "saved-classifier"

    folder: LocalPath = Field(description="The folder, or the `classifier` folder in it.")

    def run(self, work: Work) -> None:
        """Copy the classifier and check it."""
        folder = self.folder.path
        folder = folder / "classifier" if (folder / "classifier").is_dir() else folder
        missing = [name for name in _FILES if not (folder / name).is_file()]
        if missing:
            raise Mistake(
                f"{self.folder.written} holds no classifier",
                found=f"no {' and no '.join(missing)}",
                hint="give the folder that `metier corpus teach-quality … -o` wrote",
            )
        (work.folder / "classifier").mkdir(exist_ok=True)
        for name in _FILES:
            shutil.copyfile(folder / name, work.folder / "classifier" / name)
        Classifier(work.folder).model()


@cache
def load(folder: Path) -> Linear:
    """Return the classifier of a folder, read once in a process."""
    import numpy as np

    hint = "make it again with teach-quality"
    try:
        told: dict[str, Any] = json.loads((folder / "classifier.json").read_text())
        weights = np.load(folder / "weights.npy", allow_pickle=False)
        version = told.pop("format"), told.pop("unicode")
        model = Linear(weights=weights, **told)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Failure("the classifier cannot be read", found=f"{type(error).__name__}: {error}", hint=hint) from error
    if version != (_FORMAT, UNICODE_VERSION):
        found = f"format {version[0]}, Unicode {version[1]}"
        raise Failure("the classifier is of another version of Metier", found=found, hint=hint)
    size = weights.size
    if weights.dtype != np.int32 or weights.ndim != 1 or size < 2 or size & (size - 1) or not 1 <= model.order <= 3:
        raise Failure("the classifier is damaged", found=f"weights {weights.dtype} {weights.shape}", hint=hint)
    if not np.isfinite([model.unit, model.bias, model.slope, model.intercept]).all() or model.unit <= 0:
        raise Failure("the classifier is damaged", found="numbers that are not finite", hint=hint)
    return model
