"""Run in a peer's environment: classify.py LIBRARY GIVEN.json teaches a classifier and times it.

scikit-learn: hashed words and pairs of words, TF-IDF weights and logistic regression. fastText: its own supervised
model with pairs of words, as it is used to choose web text. Prints probabilities of good and best CPU times.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Scorer = Callable[[Sequence[str]], "list[float]"]


def by_sklearn(texts: Sequence[str], good: Sequence[bool]) -> Scorer:
    """Return a function that scores texts."""
    from sklearn.feature_extraction.text import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        HashingVectorizer,
        TfidfTransformer,
    )
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from sklearn.pipeline import make_pipeline  # type: ignore[import-not-found,import-untyped,unused-ignore]

    hashed = HashingVectorizer(ngram_range=(1, 2), n_features=1 << 18, alternate_sign=False, norm=None)
    model = make_pipeline(
        hashed, TfidfTransformer(sublinear_tf=True), LogisticRegression(C=100, max_iter=1000, class_weight="balanced")
    )
    model.fit(texts, good)
    return lambda rows: [float(value) for value in model.predict_proba(rows)[:, 1]]


def by_fasttext(texts: Sequence[str], good: Sequence[bool]) -> Scorer:
    """Return a function that scores texts."""
    import fasttext  # type: ignore[import-not-found,import-untyped,unused-ignore]

    def line(text: str) -> str:
        return re.sub(r"\s+", " ", text.lower())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples.txt"
        labelled = zip(texts, good, strict=True)
        path.write_text(
            "\n".join(f"__label__{'good' if is_good else 'bad'} {line(text)}" for text, is_good in labelled)
        )
        model = fasttext.train_supervised(
            str(path), wordNgrams=2, epoch=25, lr=0.5, dim=50, bucket=200_000, thread=1, verbose=0, seed=1
        )

    def scores(rows: Sequence[str]) -> list[float]:
        # Its own `predict` wants numpy 1; this is what it calls.
        found = [{label: p for p, label in model.f.predict(line(row) + "\n", 2, 0.0, "strict")} for row in rows]
        return [float(one.get("__label__good", 0.0)) for one in found]

    return scores


def main(library: str, path: str) -> None:
    """Print the probabilities and the times."""
    given = json.loads(Path(path).read_text())
    texts, good = [text for text, _ in given["examples"]], [bool(is_good) for _, is_good in given["examples"]]
    start = time.process_time()
    scorer = (by_sklearn if library == "scikit-learn" else by_fasttext)(texts, good)
    taught = time.process_time() - start
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        scorer(given["speed"])
        best = min(best, time.process_time() - start)
    print(json.dumps({"probabilities": scorer(given["judged"]), "taught": taught, "scored": best}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
