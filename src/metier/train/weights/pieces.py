"""Pieces of words that a domain needs, learnt by going on where the tokenizer's own training stopped.

Words of the corpus are cut by the tokenizer as it is; then the most frequent pair of neighbouring pieces is joined, and
so on, as byte-pair encoding does (Sennrich et al. 2016). New merges stand after all old ones, so that every old merge
still happens first: a text that holds no new piece is cut as before.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Failure, Mistake
from metier.core.files import write_text_atomic


class Piece(NamedTuple):
    """A new piece: the two that it joins, how often they met in the corpus when it was made."""

    left: str
    right: str
    met: int

    @property
    def text(self) -> str:
        """The piece as the vocabulary spells it."""
        return self.left + self.right


def bpe_of(folder: Path) -> Any:
    """Return a folder's tokenizer (of the library tokenizers). Raises Mistake if new merges cannot be added to it."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    hint = "pieces can be added to byte-level BPE tokenizers, as of Llama 3, Qwen, Mistral's Tekken, SmolLM and GPT-2"
    if not path.is_file():
        raise Mistake("the model has no tokenizer.json", found=str(folder), hint=hint)
    told = json.loads(path.read_text())
    kind = told["model"].get("type") or ("BPE" if "merges" in told["model"] else "unknown")
    if kind != "BPE" or told["model"].get("byte_fallback") or "ByteLevel" not in json.dumps(told.get("pre_tokenizer")):
        fallback = ", with byte fallback instead of a byte alphabet" if told["model"].get("byte_fallback") else ""
        raise Mistake("the tokenizer is not a byte-level BPE", found=f"{kind}{fallback}", hint=hint)
    return Tokenizer.from_file(str(path))


def words_of(tokenizer: Any, texts: Iterable[str], most: int = 4_000_000) -> Counter[str]:
    """Count the words of texts as the tokenizer cuts them before merging.

    Beyond `most` different words those met once are forgotten now and then: no piece comes from them.
    """
    words: Counter[str] = Counter()
    normalise, cut = tokenizer.normalizer, tokenizer.pre_tokenizer
    for text in texts:
        plain = normalise.normalize_str(text) if normalise is not None else text
        words.update(word for word, _ in cut.pre_tokenize_str(plain))
        if len(words) > most:
            words = Counter({word: count for word, count in words.items() if count > 1})
    return words


def learn(tokenizer: Any, words: Mapping[str, int], pieces: int, least: int, longest: int = 32) -> list[Piece]:
    """Return at most `pieces` new pieces, each the pair that saves most tokens of `words` when it is made.

    Args:
        words: how often each word occurs, spelt as the pre-tokenizer gives them.
        least: how often a pair must occur.
        longest: most characters of a piece.
    """
    known = set(tokenizer.get_vocab())
    cut = [[token.value for token in tokenizer.model.tokenize(word)] for word in words]
    counts = list(words.values())
    pairs: Counter[tuple[str, str]] = Counter()
    where: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for at, parts in enumerate(cut):
        for pair in pairwise(parts):
            pairs[pair] += counts[at]
            where[pair].add(at)
    # The heap may hold outdated counts: they only ever shrink there, and a pair is pushed again when it grows.
    heap = [(-count, pair) for pair, count in pairs.items() if count >= least]
    heapq.heapify(heap)
    found: list[Piece] = []
    while heap and len(found) < pieces:
        negative, pair = heapq.heappop(heap)
        count = pairs[pair]
        if -negative != count:
            if count >= least:
                heapq.heappush(heap, (-count, pair))
            continue
        joined = pair[0] + pair[1]
        # A piece that exists is reached by other merges; a second way to it would change how old text is cut.
        if count < least or joined in known or len(joined) > longest:
            continue
        found.append(Piece(*pair, count))
        known.add(joined)
        grown = _join(pair, joined, cut, counts, pairs, where)
        for other in grown:
            if pairs[other] >= least:
                heapq.heappush(heap, (-pairs[other], other))
    return found


def _join(
    pair: tuple[str, str],
    joined: str,
    cut: list[list[str]],
    counts: list[int],
    pairs: Counter[tuple[str, str]],
    where: defaultdict[tuple[str, str], set[int]],
) -> set[tuple[str, str]]:
    """Join a pair in all words that hold it; return the pairs that became more frequent."""
    grown = set()
    for at in where.pop(pair):
        parts, count = cut[at], counts[at]
        for old in pairwise(parts):
            pairs[old] -= count
        whole: list[str] = []
        index = 0
        while index < len(parts):
            if index + 1 < len(parts) and (parts[index], parts[index + 1]) == pair:
                whole.append(joined)
                index += 2
            else:
                whole.append(parts[index])
                index += 1
        cut[at] = whole
        for new in pairwise(whole):
            pairs[new] += count
            where[new].add(at)
            if joined in new:
                grown.add(new)
    del pairs[pair]
    return grown


def extended(told: dict[str, Any], pieces: Iterable[Piece]) -> dict[str, Any]:
    """Return a `tokenizer.json` with new pieces and their merges, after all that are there.

    New ids begin after the highest id, an added token's too: no old id changes its meaning.
    """
    model = told["model"]
    # Added tokens too: those the vocabulary lacks are numbered anew after it, wherever they stood.
    vocabulary = {**model["vocab"], **{token["content"]: token["id"] for token in told.get("added_tokens", ())}}
    merges = list(model["merges"])
    as_text = bool(merges) and isinstance(merges[0], str)
    number = 1 + max(vocabulary.values())
    for piece in pieces:
        vocabulary[piece.text] = number
        merges.append(f"{piece.left} {piece.right}" if as_text else [piece.left, piece.right])
        number += 1
    return {**told, "model": {**model, "vocab": vocabulary, "merges": merges}}


def write_tokenizer(source: Path, target: Path, pieces: Sequence[Piece]) -> None:
    """Write the extended tokenizer.json; all else of it stays. Raises Failure if an old id changed its meaning."""
    from tokenizers import Tokenizer

    told = extended(json.loads((source / "tokenizer.json").read_text()), pieces)
    write_text_atomic(target / "tokenizer.json", json.dumps(told, ensure_ascii=False, indent=2))
    old = Tokenizer.from_file(str(source / "tokenizer.json")).get_vocab()
    new = Tokenizer.from_file(str(target / "tokenizer.json")).get_vocab()
    changed = next((token for token, number in old.items() if new.get(token) != number), None)
    if changed is not None or len(new) != len(old) + len(pieces):
        raise Failure("the extended tokenizer is not the old one and more", found=changed or f"{len(new):,} tokens")


def compared(before: Path, after: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Return how two tokenizers cut texts: tokens, tokens a word, bytes a token, and how many words are cut otherwise.

    A word is what stands between blanks; what is cut otherwise is counted over the pre-tokenizer's words.
    """
    from tokenizers import Tokenizer

    both = [Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (before, after)]
    tokens = [sum(len(one.ids) for one in each.encode_batch(texts, add_special_tokens=False)) for each in both]
    size, words = sum(len(text.encode()) for text in texts), sum(len(text.split()) for text in texts)
    counts = words_of(both[0], texts)
    cuts = [[[token.value for token in each.model.tokenize(word)] for word in counts] for each in both]
    otherwise = sum(count for count, a, b in zip(counts.values(), *cuts, strict=True) if a != b)

    def told(values: Iterable[float]) -> dict[str, float]:
        return dict(zip(("before", "after"), values, strict=True))

    return {
        "tokens": told(tokens),
        "tokens_per_word": told(round(count / max(1, words), 4) for count in tokens),
        "bytes_per_token": told(round(size / max(1, count), 3) for count in tokens),
        "words_cut_otherwise": round(otherwise / max(1, counts.total()), 4),
    }
