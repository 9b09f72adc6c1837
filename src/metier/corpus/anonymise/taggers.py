"""Models that tag the names of persons in running text, where one is installed. Every one is an import of its own.

`spacy:MODEL` is a spaCy pipeline with named entities, `presidio` Presidio's analyser with its default pipeline for
English, `lac` Baidu's LAC for Chinese.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from metier.core import Mistake
from metier.corpus.anonymise.latin_names import Named

Tagger = Callable[[str], Iterator[Named]]
_LONGEST = 100_000  # characters a model is given at a time: spaCy refuses a million


def tagger(name: str) -> Tagger:
    """Return a function from a text to the names in it. Raises Mistake if the model is unknown or not installed."""
    kind, _, model = name.partition(":")
    makers: dict[str, Callable[[str], Tagger]] = {"spacy": _spacy, "presidio": _presidio, "lac": _lac}
    if kind not in makers:
        raise Mistake(f"there is no tagger '{kind}'", found=name, hint="spacy:MODEL, presidio or lac")
    try:
        tag = makers[kind](model)
    except (ImportError, OSError) as error:
        raise Mistake(
            f"the tagger '{name}' is not installed",
            found=f"{type(error).__name__}: {error}",
            hint=f"pip install {'LAC' if kind == 'lac' else 'presidio-analyzer' if kind == 'presidio' else 'spacy'}, "
            "and the model",
        ) from error
    return lambda text: _in_parts(text, tag)


def _in_parts(text: str, tag: Tagger) -> Iterator[Named]:
    """Tag a long text a part at a time, cut at line ends where there are any."""
    start = 0
    while start < len(text):
        end = min(start + _LONGEST, len(text))
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        for found in tag(text[start:end]):
            yield Named(start + found.start, start + found.end)
        start = end


def _spacy(model: str) -> Tagger:
    pipeline: Any = import_module("spacy").load(model, disable=["lemmatizer", "textcat"])

    def tag(text: str) -> Iterator[Named]:
        for entity in pipeline(text).ents:
            if entity.label_ in ("PERSON", "PER"):
                yield Named(entity.start_char, entity.end_char)

    return tag


def _presidio(model: str) -> Tagger:
    analyser: Any = import_module("presidio_analyzer").AnalyzerEngine()

    def tag(text: str) -> Iterator[Named]:
        for result in analyser.analyze(text=text, language=model or "en", entities=["PERSON"]):
            yield Named(result.start, result.end)

    return tag


def _lac(model: str) -> Tagger:
    analyser: Any = import_module("LAC").LAC(mode="lac")

    def tag(text: str) -> Iterator[Named]:
        words, tags = analyser.run(text)
        at = 0
        for word, kind in zip(words, tags, strict=True):
            at = text.find(word, at)
            if kind == "PER":
                yield Named(at, at + len(word))
            at += len(word)

    return tag
