"""Token ids of documents, equal to those of the tokenizer's own call, as fast as they can be had."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metier.core import Failure, Mistake
from metier.core.extras import missing_packages
from metier.core.pretokenizers import pretokenizer_name
from metier.core.pretrained import load_pretrained
from metier.core.tokens import document_end, vocabulary_digest

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

LONGEST_TEXT = 8_000_000
"""Characters of the longest text that is encoded: a tokenizer takes up to 250 bytes of memory for each."""

_BATCH_BYTES = 2_000_000


class Ids(NamedTuple):
    """What a document becomes: its ids, the end token included, or the reason why it has none."""

    ids: NDArray[np.uint32] | None
    reason: str | None


@dataclass(frozen=True)
class TextEncoder:
    """Turns texts into ids, in any process: what is heavy is loaded when it is first called.

    Args:
        path: a `tokenizer.json`, or a folder of Hugging Face files where the tokenizer has no such form.
        end: put after every document, in place of the end tokens that the tokenizer itself adds (`ends`).
        before, after: ids that the tokenizer puts around a text.
        cut: how it cuts text into pieces, where the compiled kernel knows that cut; None asks the tokenizer for all.
        merged: whether the kernel merges the pieces, too.
        added: regular expression of the tokens that are cut out before; a text with one is left to the tokenizer.
        composed: whether it first brings text into normal form C.
    """

    path: str
    end: int
    ends: tuple[int, ...]
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    cut: str | None = None
    merged: bool = False
    added: str = ""
    composed: bool = False

    def __call__(self, texts: pa.Array) -> list[Ids]:
        """Return the ids of each text of an Arrow string column."""
        import numpy as np
        import pyarrow.compute as pc

        found: list[Ids] = []
        ends = np.cumsum(pc.fill_null(pc.binary_length(texts), 0).to_numpy(False))
        start = 0
        while start < len(texts):  # some megabytes at a time, and a longer text by itself
            done = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + _BATCH_BYTES, "right")))
            found += self._encode(texts.slice(start, stop - start))
            start = stop
        return found

    def _encode(self, texts: pa.Array) -> list[Ids]:
        import pyarrow.compute as pc

        lengths = pc.fill_null(pc.utf8_length(texts), 0).to_pylist()
        found = [_refused(length) for length in lengths]
        if self.cut is not None and None in found:
            found = [one or other for one, other in zip(found, self._by_pieces(texts), strict=True)]
        left = [number for number, one in enumerate(found) if one is None]
        encoded = _whole(self.path)([texts[number].as_py() for number in left]) if left else ()
        for number, ids in zip(left, encoded, strict=True):
            found[number] = self._ended(_array(ids))
        return [one for one in found if one is not None]

    def _by_pieces(self, texts: pa.Array) -> list[Ids | None]:
        import numpy as np
        import pyarrow.compute as pc

        from metier.corpus.kernel import texts as buffers

        assert self.cut is not None
        marked = pc.match_substring_regex(texts, self.added).to_numpy(False) if self.added else None
        encoded = _pieces(self.path, self.cut, self.merged)(buffers(texts))
        around = [_array(self.before), _array(self.after)]
        found: list[Ids | None] = []
        starts = np.concatenate([[0], encoded.ends[:-1]])
        for number, (start, stop) in enumerate(zip(starts.tolist(), encoded.ends.tolist(), strict=True)):
            unsure = encoded.refused[number] or (marked is not None and marked[number])
            if unsure or (self.composed and not unicodedata.is_normalized("NFC", texts[number].as_py())):
                found.append(None)
            else:
                ids = encoded.ids[start:stop]
                found.append(self._ended(np.concatenate([around[0], ids, around[1]]) if any(map(len, around)) else ids))
        return found

    def _ended(self, ids: NDArray[np.uint32]) -> Ids:
        import numpy as np

        size = ids.size
        while size and int(ids[size - 1]) in self.ends:
            size -= 1
        return Ids(np.append(ids[:size], np.uint32(self.end)), None)


class ModelFolder(NamedTuple):
    """A model, and where a file for the workers may be written."""

    model: Path
    scratch: Path


class Prepared(NamedTuple):
    """A model's tokenizer, made ready for workers, and what a reader of ids has to know of it."""

    encoder: TextEncoder
    end_token: str
    vocabulary: str
    size: int


def prepare(folder: ModelFolder) -> Prepared:
    """Make the tokenizer of a model ready for workers.

    The fast ways are taken only if they give the ids of the tokenizer's own call on a probe of all of Unicode.

    Raises:
        Mistake: there is no tokenizer, or it has no token that ends a document. Failure: it does not agree with itself.
    """
    import pyarrow as pa

    model, scratch = folder
    tokenizer = load_tokenizer(model)
    end = document_end(tokenizer)
    ends = tuple({end} | ({tokenizer.eos_token_id} - {None}))
    encoder = TextEncoder(str(model), end, ends)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    texts = probes()
    own = [_array(tokenizer(text, verbose=False)["input_ids"]) for text in texts]
    wanted = [encoder._ended(ids) for ids in own]
    if backend is not None:
        scratch.mkdir(parents=True, exist_ok=True)
        path = scratch / "tokenizer.json"
        path.write_text(backend.to_str(), encoding="utf-8")
        plain = replace(encoder, path=str(path))
        for faster in (*_by_kernel(plain, tokenizer, json.loads(backend.to_str())), plain):
            if same(faster(pa.array(texts)), wanted):
                encoder = faster
                break
    if not same(encoder(pa.array(texts)), wanted):
        raise Failure("the tokenizer gives other ids when asked again", found=str(model), hint="report this tokenizer")
    size = max(len(tokenizer), *(int(ids.max()) + 1 for ids in own if ids.size))
    return Prepared(encoder, tokenizer.convert_ids_to_tokens(end), vocabulary_digest(tokenizer), size)


def load_tokenizer(model: Path) -> Any:
    """Return the tokenizer of a model folder. Raises Mistake if there is none, or if transformers is not installed."""
    missing = missing_packages("train")
    if missing:
        raise Mistake(
            "counting or packing tokens needs metier[train]",
            found=f"not installed: {', '.join(missing)}",
            hint="pip install 'metier[train]'",
        )
    from transformers import AutoTokenizer

    try:
        return load_pretrained(AutoTokenizer, model)
    except (OSError, ValueError, KeyError) as error:
        raise Mistake(
            f"{model} has no tokenizer that can be read",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            hint="put tokenizer.json and tokenizer_config.json beside config.json",
        ) from error


def same(found: Sequence[Ids], wanted: Sequence[Ids]) -> bool:
    """Whether two lists of ids are equal."""
    import numpy as np

    none = np.zeros(0, np.uint32)
    return all(
        one.reason == other.reason
        and np.array_equal(none if one.ids is None else one.ids, none if other.ids is None else other.ids)
        for one, other in zip(found, wanted, strict=True)
    )


@cache
def probes() -> tuple[str, ...]:
    """Return texts that tell cuts apart: contractions, runs of white space and digits, and characters of every kind.

    Of each run of code points that are all letters, all numbers or all others, the first and the last is in them.
    """
    edges: list[int] = []
    before = ""
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        kind = category[0] if category[0] in "LNZ" else "other" if category != "Cn" else "not assigned"
        if kind != before:
            edges += [code - 1, code] if code else [code]
            before = kind
    known, unknown = list[str](), list[str]()
    for code in edges:
        if not 0xD800 <= code <= 0xDFFF:
            (unknown if unicodedata.category(chr(code)) == "Cn" else known).append(chr(code))
    spaces = ["", " ", "  ", "\n", " \n", "\n ", "\r\n\r\n", "\t\t", " \u3000", "\xa0 ", "\n\n   ", "\x1c", "\x85"]
    words = [
        "it's",
        "IT'S",
        "we'll",
        "DON'T",
        "x'y",
        "'",
        "''s",
        "1234567",
        "½²",
        "(a)",
        "a_b",
        "..!",
        "é",
        "数据库",
        "😀",
    ]
    return (
        "".join(f"a{c}1{c} {c}b{c}\n" for c in known),
        "".join(f"a{c} " for c in unknown),
        "".join(f"{a}{s}{b}{s}" for a in words for b in words[::3] for s in spaces),
        *(f"{s}word{s}" for s in spaces[1:]),
        *words,
    )


def _by_kernel(encoder: TextEncoder, tokenizer: Any, told: dict[str, Any]) -> Iterator[TextEncoder]:
    """Yield encoders that ask the kernel, the fastest first; none where it does not know what this tokenizer does."""
    from metier.corpus.kernel import compiled
    from metier.corpus.kernel.pretokens import CUTS, merges_of

    cut = pretokenizer_name(told.get("pre_tokenizer"))
    normaliser = told.get("normalizer")
    known = normaliser is None or normaliser == {"type": "NFC"}
    if cut not in CUTS or not known or compiled("_pretokens") is None:
        return
    whole, bare = (list(tokenizer("a", add_special_tokens=more)["input_ids"]) for more in (True, False))
    at = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0)
    pieces = replace(
        encoder,
        before=tuple(whole[:at]),
        after=tuple(whole[at + len(bare) :]),
        cut=cut,
        added="|".join(re.escape(token["content"]) for token in told.get("added_tokens", [])),
        composed=normaliser is not None,
    )
    if merges_of(told) is not None:
        yield replace(pieces, merged=True)
    yield pieces


def _refused(characters: int) -> Ids | None:
    """Return why a text of this length has no ids, or None."""
    if characters == 0:
        return Ids(None, "no text")
    if characters > LONGEST_TEXT:
        return Ids(None, f"longer than {LONGEST_TEXT:,} characters")
    return None


def _array(ids: Sequence[int]) -> NDArray[np.uint32]:
    import numpy as np

    return np.asarray(ids, dtype=np.uint32)


@lru_cache(1)
def _whole(path: str) -> Any:
    """Return a function that encodes whole texts, special tokens and all."""
    if Path(path).is_dir():
        tokenizer = load_tokenizer(Path(path))
        return lambda texts: [tokenizer(text, verbose=False)["input_ids"] for text in texts]
    loaded = _loaded(path)
    return lambda texts: [one.ids for one in loaded.encode_batch_fast(texts)]


@lru_cache(1)
def _pieces(path: str, cut: str, merged: bool) -> Any:
    from metier.corpus.kernel.pretokens import PieceEncoder, merges_of

    loaded = _loaded(path)
    merges = merges_of(json.loads(Path(path).read_text(encoding="utf-8"))) if merged else None
    return PieceEncoder(
        cut, lambda new: [one.ids for one in loaded.encode_batch_fast(new, add_special_tokens=False)], merges
    )


@lru_cache(1)
def _loaded(path: str) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
