"""The kernel gives the ids of the tokenizer's own call, or refuses."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from metier.core.pretokenizers import PRETOKENIZERS
from metier.core.tokens import document_end
from metier.corpus.kernel import compiled, texts
from metier.corpus.kernel.pretokens import CUTS, PieceEncoder, merges_of
from metier.corpus.pack import ids as ids_module
from metier.corpus.pack.ids import ModelFolder, TextEncoder, load_tokenizer, prepare, probes, same

built = pytest.mark.skipif(compiled("_pretokens") is None, reason="the kernel is not built")

_COMMON = [
    *"aaeib'  \n\n\r\t0123.,-_()sStTmMdDrReEvVlL",
    "\u3000",
    "\xa0",
    "\x85",
    "\x1c",
    "\u2028",
    "é",
    "数",
    "한",
    "😀",
]
_COMMON += ["½", "²", "٣", "\u0301", "İ", "ß", "K"]
_ANY = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]


def strings(seed: int, count: int) -> list[str]:
    """Return random texts, mostly of characters that cuts turn upon."""
    rng = random.Random(seed)
    return [
        "".join(rng.choice(_COMMON if rng.random() < 0.9 else _ANY) for _ in range(rng.randrange(50)))
        for _ in range(count)
    ]


def tokenizer_with(folder: Path, cut: str, **other: Any) -> Tokenizer:
    told = json.loads((folder / "tokenizer.json").read_text())
    return Tokenizer.from_str(json.dumps({**told, "pre_tokenizer": PRETOKENIZERS[cut], "added_tokens": [], **other}))


def encoder_of(tokenizer: Tokenizer, cut: str, merged: bool = True) -> PieceEncoder:
    merges = merges_of(json.loads(tokenizer.to_str())) if merged else None
    assert (merges is not None) == merged
    return PieceEncoder(cut, lambda new: [one.ids for one in tokenizer.encode_batch_fast(list(new))], merges)


def assert_equal_ids(encoder: PieceEncoder, tokenizer: Tokenizer, rows: list[str]) -> None:
    encoded = encoder(texts(rows))
    start = 0
    for row, wanted, stop, refused in zip(
        rows, tokenizer.encode_batch_fast(rows), encoded.ends, encoded.refused, strict=True
    ):
        assert refused or encoded.ids[start:stop].tolist() == wanted.ids, repr(row)
        start = int(stop)
    assert encoded.refused.mean() < 0.2


@built
@pytest.mark.parametrize("merged", [True, False], ids=["merged by the kernel", "merged by the tokenizer"])
@pytest.mark.parametrize("cut", CUTS)
def test_pieces_have_the_ids_of_the_tokenizer(tiny_model_folder: Path, cut: str, merged: bool) -> None:
    tokenizer = tokenizer_with(tiny_model_folder, cut)
    encoder = encoder_of(tokenizer, cut, merged)
    for seed in (0, 1, 1):  # the last time from memory
        assert_equal_ids(encoder, tokenizer, strings(seed, 800))


@built
def test_merges_go_by_rank_and_then_from_the_left(tiny_model_folder: Path) -> None:
    tokenizer = tokenizer_with(tiny_model_folder, "gpt-2")
    rows = ["a" * size for size in range(1, 40)] + ["ababa" * size for size in range(1, 20)] + ["er" * 300, "in" * 2000]
    assert_equal_ids(encoder_of(tokenizer, "gpt-2"), tokenizer, rows)


@built
def test_a_token_that_no_merge_reaches_is_found_where_merges_are_ignored(tiny_model_folder: Path) -> None:
    model = json.loads((tiny_model_folder / "tokenizer.json").read_text())["model"]
    vocabulary = {**model["vocab"], "zebra": len(model["vocab"]), "Ġzebra": len(model["vocab"]) + 1}
    for ignored in (True, False):
        changed = {**model, "vocab": vocabulary, "ignore_merges": ignored}
        tokenizer = tokenizer_with(tiny_model_folder, "llama-bpe", model=changed)
        rows = ["zebra zebra zebras", *strings(2, 200)]
        assert_equal_ids(encoder_of(tokenizer, "llama-bpe"), tokenizer, rows)
        assert (tokenizer.encode("zebra").ids == [vocabulary["zebra"]]) == ignored


@built
def test_a_byte_without_an_id_is_left_to_the_tokenizer(tiny_model_folder: Path) -> None:
    model = json.loads((tiny_model_folder / "tokenizer.json").read_text())["model"]
    vocabulary = {token: number for token, number in model["vocab"].items() if token != "Ð"}  # 0xD0, as of Cyrillic
    rules = [rule for rule in model["merges"] if "Ð" not in "".join(rule)]
    tokenizer = tokenizer_with(tiny_model_folder, "gpt-2", model={**model, "vocab": vocabulary, "merges": rules})
    assert_equal_ids(encoder_of(tokenizer, "gpt-2"), tokenizer, ["да a да", "plain", "ада"] * 3)


def test_models_that_merge_in_other_ways_are_not_merged_by_the_kernel(tiny_model_folder: Path) -> None:
    told = json.loads((tiny_model_folder / "tokenizer.json").read_text())
    assert merges_of(told) is not None
    for other in ({"dropout": 0.1}, {"byte_fallback": True}, {"end_of_word_suffix": "</w>"}, {"type": "Unigram"}):
        assert merges_of({**told, "model": {**told["model"], **other}}) is None
    assert merges_of({**told, "model": {**told["model"], "merges": [["no", "where"]]}}) is None


@built
def test_what_a_later_unicode_may_know_and_a_very_long_piece_are_refused(tiny_model_folder: Path) -> None:
    encoder = encoder_of(tokenizer_with(tiny_model_folder, "gpt-2"), "gpt-2")
    rows = ["plain", "not assigned: \U000e0fff", "b" * 65_536, "b" * 65_537, ""]
    assert encoder(texts(rows)).refused.tolist() == [False, True, False, True, False]


@built
def test_invalid_utf8_is_refused_and_reads_nothing_beyond_the_text(tiny_model_folder: Path) -> None:
    encoder = encoder_of(tokenizer_with(tiny_model_folder, "qwen2"), "qwen2")
    rng = random.Random(0)
    broken = [b"\xff", b"a\xc3", b"\xe4\xbd", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xed\xa0\x80x", b"\xf5\x80\x80\x80"]
    broken += [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 40))) for _ in range(2000)]
    for one in broken:
        encoded = encoder(texts(pa.array([one, b"sound"], pa.binary())))
        try:
            one.decode()
        except UnicodeDecodeError:
            assert encoded.refused[0], one
        assert not encoded.refused[1]


@built
def test_a_full_store_of_pieces_begins_anew(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.corpus.kernel.pretokens._MOST_PIECES", 50)
    tokenizer = tokenizer_with(tiny_model_folder, "smollm")
    encoder = encoder_of(tokenizer, "smollm")
    for seed in range(4):
        rows = strings(seed, 60)
        encoded = encoder(texts(rows))
        wanted = [token for one in tokenizer.encode_batch_fast(rows) for token in one.ids]
        if not encoded.refused.any():
            assert encoded.ids.tolist() == wanted
        assert encoded.ends[-1] == encoded.ids.size


def own_ids(folder: Path, rows: list[str]) -> list[list[int]]:
    """Return what the tokenizer's own call gives, without the end tokens it adds, and with the document end."""
    tokenizer = load_tokenizer(folder)
    end, found = document_end(tokenizer), []
    for row in rows:
        ids = list(tokenizer(row)["input_ids"])
        while ids and ids[-1] in (end, tokenizer.eos_token_id):
            ids.pop()
        found.append([*ids, end])
    return found


def saved(folder: Path, target: Path, **other: Any) -> Path:
    """Copy the tiny model's tokenizer with other settings."""
    target.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (target / name).write_text((folder / name).read_text())
    told = json.loads((folder / "tokenizer.json").read_text())
    (target / "tokenizer.json").write_text(json.dumps({**told, **other}))
    return target


def around(first: int, last: int) -> dict[str, Any]:
    """Return a post-processor that puts a token before and one after each text."""
    pieces = [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pieces.append({"SpecialToken": {"id": "<|im_end|>", "type_id": 0}})
    special = {
        name: {"id": name, "ids": [number], "tokens": [name]}
        for name, number in (("<|im_start|>", first), ("<|im_end|>", last))
    }
    return {"type": "TemplateProcessing", "single": pieces, "pair": pieces, "special_tokens": special}


PREFIXED = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


@built
@pytest.mark.parametrize(
    ("settings", "cut", "composed"),
    [
        ({}, "smollm", False),
        ({"normalizer": {"type": "NFC"}}, "smollm", True),
        ({"post_processor": around(1, 2)}, "smollm", False),
        ({"normalizer": {"type": "Lowercase"}}, None, False),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
            None,
            False,
        ),
    ],
)
def test_whatever_the_tokenizer_does_ids_are_those_of_its_own_call(
    tiny_model_folder: Path, tmp_path: Path, settings: dict[str, Any], cut: str | None, composed: bool
) -> None:
    folder = saved(tiny_model_folder, tmp_path / "model", **settings)
    encoder = prepare(ModelFolder(folder, tmp_path / "scratch")).encoder
    assert (encoder.cut, encoder.merged, encoder.composed) == (cut, cut is not None, composed)
    rows = [*strings(3, 300), "e\u0301 is not composed", "a <|im_start|> b<|endoftext|>", "x <|im_end|>", "Grüße\r\n"]
    rows = [row for row in rows if row]
    found = [one.ids.tolist() if one.ids is not None else None for one in encoder(pa.array(rows))]
    assert found == own_ids(folder, rows)


def test_without_the_kernel_the_ids_are_the_same(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pa.array(strings(5, 300))
    fast = prepare(ModelFolder(tiny_model_folder, tmp_path)).encoder(rows)
    monkeypatch.setenv("METIER_KERNEL", "python")
    encoder = prepare(ModelFolder(tiny_model_folder, tmp_path)).encoder
    assert encoder.cut is None
    assert same(encoder(rows), fast)


@built
def test_a_kernel_that_gave_other_ids_would_not_be_used(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_kernel = ids_module._by_kernel

    def wrong(*args: Any) -> Iterator[TextEncoder]:
        for encoder in by_kernel(*args):
            yield replace(encoder, cut="llama-bpe")

    monkeypatch.setattr(ids_module, "_by_kernel", wrong)
    assert prepare(ModelFolder(tiny_model_folder, tmp_path)).encoder.cut is None


def test_a_tokenizer_without_a_file_of_its_own_is_called_itself(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        """A tokenizer in Python, as transformers still has some."""

        def __init__(self) -> None:
            self._fast = load_tokenizer(tiny_model_folder)

        def __getattr__(self, name: str) -> Any:
            if name == "backend_tokenizer":
                raise AttributeError(name)
            return getattr(self._fast, name)

        def __call__(self, *args: Any, **more: Any) -> Any:
            return self._fast(*args, **more)

        def __len__(self) -> int:
            return len(self._fast)

    fast = prepare(ModelFolder(tiny_model_folder, tmp_path)).encoder
    slow = Slow()
    monkeypatch.setattr(ids_module, "load_tokenizer", lambda _: slow)
    ids_module._whole.cache_clear()
    encoder = prepare(ModelFolder(tiny_model_folder, tmp_path)).encoder
    assert encoder.path == str(tiny_model_folder)
    rows = pa.array(strings(6, 100))
    assert same(encoder(rows), fast(rows))
    ids_module._whole.cache_clear()


def test_the_probe_holds_every_kind_of_character() -> None:
    found = set("".join(probes()))
    assert {unicodedata.category(one)[0] for one in found} == set("CLMNPSZ")
    assert not any(0xD800 <= ord(one) <= 0xDFFF for one in found)


@built
def test_numbers_without_ids_are_an_error_and_not_a_crash() -> None:
    kernel = compiled("_pretokens")
    assert kernel is not None
    numbers, ends = np.array([0, 5], np.uint32), np.array([2], np.int64)
    starts, ids = np.array([0, 1, 2], np.int64), np.array([7, 8], np.uint32)
    with pytest.raises(ValueError, match="numbers without ids"):
        kernel.expand(numbers, ends, starts, ids)
    with pytest.raises(ValueError, match="numbers without ids"):
        kernel.expand(numbers[:1], ends, starts, ids)
    with pytest.raises(ValueError, match="outside the text"):
        kernel.number(kernel.pieces(bytes(0x110000), 0), b"abc", np.array([0, 4], np.int64))
    with pytest.raises(ValueError, match="0x110000"):
        kernel.pieces(b"", 0)
    store = kernel.pieces(bytes(0x110000), 0)
    with pytest.raises(ValueError, match="no merges"):
        kernel.merged(store, 0)
    with pytest.raises(ValueError, match="triples"):
        kernel.teach(store, b"", b"")
    with pytest.raises(ValueError, match="known already"):
        kernel.know(store, b"abab", np.array([0, 2, 4], np.int64))
    with pytest.raises(ValueError, match="outside the text"):
        kernel.know(store, b"ab", np.array([0, 3], np.int64))
