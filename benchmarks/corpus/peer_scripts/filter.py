"""datatrove's filters on texts: `filter.py TEXTS.arrow`. Prints the CPU seconds and each filter's decisions as JSON.

The filters are called as its pipeline calls them, document by document, so that its cache of words serves all four.
Loading the tokenizer is not counted.
"""

import json
import sys
import time
import warnings

import pyarrow as pa
from datatrove.data import Document  # type: ignore[import-not-found,unused-ignore]
from datatrove.pipeline.filters import (  # type: ignore[import-not-found,unused-ignore]
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

warnings.simplefilter("ignore")  # the mean of no words

FILTERS = {
    "gopher-repetition": GopherRepetitionFilter(),
    "gopher-quality": GopherQualityFilter(),
    "fineweb": FineWebQualityFilter(),
    "c4": C4QualityFilter(min_num_sentences=3, min_words_per_line=5),
}


def decided(text: str) -> dict[str, str | None]:
    """Return each filter's reason to drop the text, or None. C4's comes last: it changes the text."""
    document = Document(text=text, id="")
    found = {}
    for name, each in FILTERS.items():
        answer = each.filter(document)
        found[name] = None if answer is True else answer[1] if isinstance(answer, tuple) else "dropped"
    return found


def main(path: str) -> None:
    """Decide on all texts of an Arrow file."""
    with pa.OSFile(path) as source:
        texts = pa.ipc.open_file(source).read_all().column("text").to_pylist()
    decided("Load the tokenizer. It takes a while.")
    start = time.process_time()
    decisions = [decided(text) for text in texts]
    seconds = time.process_time() - start
    print(json.dumps({"seconds": seconds, "decisions": decisions}))


if __name__ == "__main__":
    main(sys.argv[1])
