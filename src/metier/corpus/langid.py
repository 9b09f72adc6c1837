"""Which language a text is in: by script for Chinese, Japanese and Korean, else by py3langid's model.

The model (BSD-3-Clause, as its code; Lui & Baldwin 2011 and 2012, retrained for 139 languages) is naive Bayes over
byte n-grams that an automaton finds. Here its tables are read as integers and walked by metier.corpus.kernel.classify.
A weight becomes a byte: its distance from the smallest weight of the feature, in steps of 1/20. What all languages have
in common of a feature changes no probability, and a text has hundreds of features, so that rounding evens out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metier.core import Failure, Mistake
from metier.corpus.kernel import texts as columns
from metier.corpus.kernel.classify import Automaton, automaton_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NO_LANGUAGE = "zxx"  # the model's class for numbers, mark-up and identifiers
# Written in one script with small differences, they are one language to whoever chooses what to train on.
_MERGED = {"yue": "zh", "wuu": "zh"}
_DAMPING_UNIT = 1024  # ln 2, the smallest damping there is, is then 710: 0.1% exact
_MOST_COUNTED = 4096

_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_CJK = re.compile(
    "[\u1100-\u11ff\u3041-\u318f\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff]"
)
_LETTER = re.compile(r"[^\W\d_]")
# What is English, or no language, in any text: code, links, addresses, mark-up, commands and identifiers.
# Runs are of ASCII only, as Chinese writes no spaces around them, and are entered at their start only, in linear time.
_NO_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|<[^<>\n]{1,200}>|(?<![!-~])(?:--?\w[\w-]*|[!-~]*?[_/\\=|{}@][!-~]*)", re.DOTALL
)
_TWENTY_LETTERS = re.compile(r"(?:[^\W\d_][\W\d_]*){20}")  # fewer say too little
_FEWEST_CJK = 5
_LETTERS_A_CJK = 2.5  # a Chinese character says as much as some 2.5 letters of an English translation


class Model(NamedTuple):
    """The model: its automaton, the log prior of each class, and for each class the number of its language."""

    automaton: Automaton
    prior: NDArray[np.float64]
    languages: list[str]
    language_of: NDArray[np.int64]
    unit: float


def identify(texts: Sequence[str], characters: int = 1000, min_confidence: float = 0.5) -> list[str | None]:
    """Return the ISO 639 code of each text's language, or None where it is not sure.

    Args:
        characters: how much of a text is looked at.
        min_confidence: probability below which a language is not sure.
    """
    samples = [prose_sample(text, characters) for text in texts]
    languages: list[str | None] = [_by_script(sample) for sample in samples]
    rest = [at for at, sample in enumerate(samples) if languages[at] is None and _TWENTY_LETTERS.search(sample)]
    if not rest:
        return languages
    model = load_model()
    probabilities = _probabilities([samples[at] for at in rest], model)
    best = probabilities.argmax(axis=1)
    for row, at in enumerate(rest):
        language = model.languages[int(best[row])]
        if probabilities[row, best[row]] >= min_confidence and language != _NO_LANGUAGE:
            languages[at] = language
    return languages


def prose_sample(text: str, characters: int) -> str:
    """Return about `characters` of a text's prose, from its beginning, middle and end, composed (NFC).

    The beginning alone misleads: licences, menus and prefaces there are English in documents of any language.
    """
    sample = _without_code(_windows(text, characters))
    if len(sample) < characters // 3 and len(text) > characters:
        sample = _without_code(_windows(text, 8 * characters))
        sample = _windows(sample, characters)
    sample = unicodedata.normalize("NFC", sample)
    return sample.lower() if sample.isupper() else sample


def _windows(text: str, characters: int) -> str:
    if len(text) <= characters + characters // 4:
        return text
    first, other = characters * 2 // 5, characters * 3 // 10
    middle, end = len(text) // 2, len(text) * 7 // 8
    middle = max(middle - other // 2, first)
    end = min(max(end, middle + other), len(text) - other)
    return "\n".join((text[:first], text[middle : middle + other], text[end : end + other]))


def _without_code(text: str) -> str:
    return " ".join(_NO_PROSE.sub(" ", text).split())


def _by_script(text: str) -> str | None:
    """Return zh, ja or ko where most of a text is written in their scripts."""
    if text.isascii() or not _CJK.search(text):
        return None
    han, kana, hangul = (len(found.findall(text)) for found in (_HAN, _KANA, _HANGUL))
    all_cjk = han + kana + hangul
    if all_cjk < _FEWEST_CJK or all_cjk * _LETTERS_A_CJK < len(_LETTER.findall(text)) - all_cjk:
        return None
    if hangul > han + kana:
        return "ko"
    # Japanese is a third to a half kana; a Chinese text about Japan quotes a few.
    return "ja" if kana > 0.1 * (han + kana) else "zh"


def _probabilities(samples: Sequence[str], model: Model) -> NDArray[np.float64]:
    """Return the probability of each language [samples, languages]."""
    column = columns(samples)
    sums, _ = automaton_scores(column, model.automaton)
    scores = sums / model.unit + model.prior
    # The naive Bayes sum grows with the text; its root tells how sure it may be (py3langid's own calibration).
    lengths = np.maximum(np.diff(column.offsets), 1)
    scores /= np.sqrt(lengths)[:, None]
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    merged = np.zeros((len(samples), len(model.languages)))
    np.add.at(merged.T, model.language_of, shares.T)
    return merged


@cache
def load_model() -> Model:
    """Return py3langid's model, read once in a process (0.8 s, 60 MB).

    Raises:
        Mistake: py3langid is not installed, or of a version with other tables.
    """
    hint = "pip install 'metier[corpus]'"
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise Mistake("identifying languages needs py3langid", found=str(error), hint=hint) from error
    try:
        read = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        weights = np.asarray(read.nb_ptc, np.float32)
        weights -= weights.min(axis=1, keepdims=True)
        unit = 255 / float(weights.max())
        automaton = Automaton(
            np.asarray(read.tk_nextmove, np.uint32),
            np.asarray(read.tk_row, np.uint32),
            np.asarray(read.tk_output, np.int32),
            np.round(weights * unit).astype(np.uint8),
            np.round(np.log1p(np.arange(_MOST_COUNTED)) * _DAMPING_UNIT).astype(np.int32),
        )
        classes = [_MERGED.get(name, name) for name in read.nb_classes]
    except (AttributeError, OSError, ValueError) as error:
        raise Mistake("py3langid's model is not one that can be read", found=str(error), hint=hint) from error
    _check(automaton, len(classes))
    languages = list(dict.fromkeys(classes))
    language_of = np.array([languages.index(name) for name in classes])
    return Model(automaton, np.asarray(read.nb_pc, np.float64), languages, language_of, float(unit * _DAMPING_UNIT))


def _check(automaton: Automaton, classes: int) -> None:
    """Raise Failure where the tables point outside themselves: the file is damaged."""
    states, rows = automaton.rows.size, automaton.moves.size // 256
    right = (
        automaton.moves.max() < states
        and automaton.rows.max() < rows
        and automaton.outputs.size == states
        and automaton.outputs.max() < len(automaton.weights)
        and automaton.weights.shape[1] == classes
    )
    if not right:
        raise Failure("py3langid's model is damaged", hint="install it anew: pip install --force-reinstall py3langid")
