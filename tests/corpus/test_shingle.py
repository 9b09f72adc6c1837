from __future__ import annotations

import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.corpus.kernel import Texts, compiled, shingle, shingle_python
from metier.corpus.kernel import texts as columns
from metier.corpus.kernel.shingle import Bands, Sets, alike, distinct, exact, measure, order, sets, shared

EVERY = 2**64 - 1
# Characters that are told apart: case, accents that change length in lower case, marks, CJK, white space of all kinds.
ALPHABET = "aBz09_ -\n\t.éÉİßKȺ数据かアｱ々한글ΩΣς्\u200b\u3000\x85\xa0\x1c😀𝐀\U00020000\U00031350ǅ\ufffd"
TEXT = st.one_of(st.text(), st.text(alphabet=ALPHABET, max_size=300), st.text(alphabet="ab ", max_size=300))
BYTES = st.one_of(
    TEXT.map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=200),
    st.lists(
        st.sampled_from([b"a", b" ", b"\xe6\x95\xb0", b"\xe6\x95", b"\xed\xa0\x80", b"\xf4\x90", b"\xc0\x80", b"\xff"])
    ).map(b"".join),
)


@pytest.fixture(scope="module")
def kernel() -> Iterator[ModuleType]:
    module = compiled("_shingle")
    if module is None:
        pytest.skip("there is no compiled kernel here")
    before = module.use()
    yield module
    module.use(before)


def paths(kernel: ModuleType) -> list[str]:
    """Return the instruction sets that this processor has."""
    found = []
    for name in ("portable", "avx2", "avx512"):
        try:
            found.append(kernel.use(name))
        except ValueError:
            continue
    return found


def column_of(documents: list[bytes]) -> Texts:
    return Texts(np.cumsum([0, *map(len, documents)]).astype(np.int64), memoryview(b"".join(documents)))


def everything(
    half: Any, documents: list[bytes], width: int = 5, bands: int = 14, rows: int = 9, most: int = EVERY
) -> list[bytes]:
    """Return all that one half of the kernel says of the documents, as bytes."""
    column, count = column_of(documents), len(documents)
    keys, sketches = np.zeros((count, bands), np.uint64), np.zeros((count, bands * rows), np.uint8)
    simhash, tokens = np.zeros(count, np.uint64), np.zeros(count, np.int64)
    half.measure(column.offsets, column.data, width, bands, rows, keys, sketches, simhash, tokens)
    hashes = np.zeros((count, 2), np.uint64)
    half.exact(column.offsets, column.data, hashes)
    which = np.arange(count)[::-1].copy()
    values, ends = np.zeros(len(column.data) + count, np.uint64), np.zeros(count, np.int64)
    used = half.sets(column.offsets, column.data, which, width, most, values, ends)
    starts = np.append(0, ends[:-1])[:count]
    one, other = (grid.ravel().copy() for grid in np.mgrid[:count, :count])
    in_common = []
    for least in (0, 1, 3):
        counts = np.zeros(len(one), np.int64)
        half.shared(values, starts, ends, one, other, np.full(len(one), least), counts)
        in_common.append(counts)
    equal = np.zeros(len(one), np.uint16)
    half.alike(sketches, bands * rows, one, other, equal)
    places, words = np.zeros(keys.size, np.int64), keys.ravel() >> np.uint64(60)
    half.order(words << np.uint64(50), places)
    kept = half.distinct(words)
    arrays: list[Any] = [
        keys,
        sketches,
        simhash,
        tokens,
        hashes,
        values[:used],
        ends,
        *in_common,
        equal,
        places,
        words[:kept],
    ]
    return [array.tobytes() for array in arrays]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(BYTES, max_size=4), st.sampled_from([(5, 14, 9), (1, 3, 5), (64, 1, 128)]), st.sampled_from([EVERY, 2**62])
)
def test_all_instruction_sets_and_python_say_the_same_to_the_bit(
    kernel: ModuleType, documents: list[bytes], shape: tuple[int, int, int], most: int
) -> None:
    expected = everything(shingle_python, documents, *shape, most)
    for path in paths(kernel):
        kernel.use(path)
        assert everything(kernel, documents, *shape, most) == expected, path


def test_long_texts_and_long_tokens_pass_the_windows_unharmed(kernel: ModuleType) -> None:
    rng = random.Random(3)
    likely = [9 * (character < "\x80") + 1 for character in ALPHABET]
    documents = [
        b"x" * 50_000,
        b"ab " * 20_000,
        ("数据" * 9_000 + "a" * 9_000).encode(),
        *("".join(rng.choices(ALPHABET, likely, k=size)).encode() for size in (8_190, 8_192, 8_200, 30_000)),
        bytes(rng.randrange(256) for _ in range(30_000)),
        b" " * 20_000 + b"end",
    ]  # fmt: skip
    expected = everything(shingle_python, documents)
    for path in paths(kernel):
        kernel.use(path)
        assert everything(kernel, documents) == expected, path


def test_the_python_half_runs_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    text = columns(["one two three four five six", "数据库是仓库吗", ""])
    compiled_says: tuple[Any, ...] = (measure(text, Bands(14, 9), simhash=True), sets(text), exact(text))
    monkeypatch.setenv("METIER_KERNEL", "python")
    assert shingle._kernel() is shingle_python
    python_says: tuple[Any, ...] = (measure(text, Bands(14, 9), simhash=True), sets(text), exact(text))
    for one, other in zip(compiled_says, python_says, strict=True):
        assert [np.asarray(part).tobytes() for part in one] == [np.asarray(part).tobytes() for part in other]


def tokens(text: str) -> int:
    return int(measure(columns([text])).tokens[0])


@pytest.mark.parametrize(("text", "count"), [
    ("", 0), ("_ - ?!", 0), ("snake_case", 2), ("it's 3.14", 4), ("naïve café", 2), ("数据库 SQL语句", 6),
    ("ひらがなカタカナ", 8), ("데이터베이스 관리", 2), ("a\u0301b", 1), ("３４", 1),
])  # fmt: skip
def test_tokens_are_runs_of_word_characters_and_cjk_characters_alone(text: str, count: int) -> None:
    assert tokens(text) == count


def test_a_text_of_n_tokens_has_n_minus_4_shingles_and_a_short_one_has_one() -> None:
    found = sets(columns(["", "a", "a b c d", "a b c d e", "a b c d e f", "a a a a a a a a"]))
    assert found.sizes.tolist() == [0, 1, 1, 1, 2, 1]
    assert found.of(2)[0] != found.of(3)[0]


def test_shingles_count_order_and_not_case_or_punctuation() -> None:
    found = sets(columns(["One two, three four: FIVE", "one TWO three - four five!", "two one three four five"]))
    assert found.values[0] == found.values[1] != found.values[2]


def test_a_sample_is_the_beginning_of_a_set_and_its_share_of_it() -> None:
    text = columns([" ".join(f"w{number}" for number in range(20_004))])
    whole, part = sets(text), sets(text, most=EVERY // 8)
    assert np.array_equal(part.values, whole.values[: len(part.values)])
    assert len(part.values) == pytest.approx(20_000 / 8, rel=0.1)  # 2,500, standard deviation 47


def test_shared_counts_are_those_of_sets() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 5, 40, 700, 5_000):
        pool = rng.integers(0, 2**64, 2 * size + 2, np.uint64)
        one, other = (np.unique(rng.choice(pool, size)) for _ in range(2))
        both = Sets(np.concatenate([one, other]), np.array([0, len(one)]), np.array([len(one), len(one) + len(other)]))
        truth = len(set(one.tolist()) & set(other.tolist()))
        least = np.array([0, truth, truth + 1])
        assert shared(both, np.zeros(3, np.int64), np.ones(3, np.int64), least).tolist() == [truth, truth, -1]


def test_sketches_agree_in_as_many_bins_as_sets_in_shingles() -> None:
    # 400 pairs of 60 to 600 tokens whose Jaccard is 1/2: half of 128 bins, within the deviation of so many draws.
    rng = random.Random(1)
    pairs = []
    for number in range(400):
        size = rng.choice([20, 60, 200])
        middle = [f"m{number}x{at}" for at in range(size)]
        sides = [[f"{side}{number}x{at}" for at in range(size // 2 - 2)] for side in "ab"]
        pairs += [" ".join([*middle, *sides[0]]), " ".join([*sides[1], *middle])]
    found, text = measure(columns(pairs), Bands(16, 8)), sets(columns(pairs))
    assert found.sketches is not None
    one, other = np.arange(0, 800, 2), np.arange(1, 800, 2)
    counts = shared(text, one, other, np.zeros(400, np.int64))
    truth = counts / (text.sizes[one] + text.sizes[other] - counts)
    errors = alike(found.sketches, one, other) / 128 - truth
    assert abs(errors.mean()) < 0.008 and errors.std() < 1.15 * np.sqrt((truth * (1 - truth)).mean() / 128)


def test_keys_are_equal_where_the_bins_of_a_band_are() -> None:
    words = [f"w{at}" for at in range(300)]
    found = measure(columns([" ".join(words), " ".join([*words[:299], "other"])]), Bands(32, 4))
    assert found.keys is not None and found.sketches is not None
    bins = (found.sketches[0] == found.sketches[1]).reshape(32, 4).all(axis=1)
    assert np.array_equal(found.keys[0] == found.keys[1], bins) and 16 < bins.sum() < 32


def test_exact_hashes_are_of_the_text_with_even_white_space() -> None:
    same = ["a b", " a \u3000\n b\t", "a\x85b", "a\x1cb"]
    other = ["a  B", "ab", "a b.", "a \u200b b", ""]
    hashes = [tuple(row) for row in exact(columns([*same, *other])).tolist()]
    assert len(set(hashes[: len(same)])) == 1 and len(set(hashes)) == 1 + len(other)


def test_a_column_may_have_nulls_a_slice_chunks_or_wide_offsets() -> None:
    column = pa.array(["zero", None, "one two", "数"])
    forms = [column, column.cast(pa.large_string()), pa.chunked_array([column[:2], column[2:]])]
    for form in forms:
        assert measure(columns(form)).tokens.tolist() == [1, 0, 2, 1]
        assert measure(columns(form[1:3])).tokens.tolist() == [0, 2]
    assert len(columns(column[:0])) == 0 and len(columns(pa.array([], pa.string()))) == 0
    assert columns(["x\ud800y"]).decoded(0) == "x?y"


@pytest.mark.parametrize("half", ["compiled", "python"])
def test_what_makes_no_sense_is_refused(kernel: ModuleType, half: str) -> None:
    chosen: Any = kernel if half == "compiled" else shingle_python
    offsets, tokens = np.array([0, 2], np.int64), np.zeros(1, np.int64)
    for width, bands, rows in ((0, 1, 1), (65, 1, 1), (5, 0, 1), (5, 129, 8)):
        with pytest.raises(ValueError):
            chosen.measure(offsets, b"ab", width, bands, rows, None, None, None, tokens)
    with pytest.raises(ValueError):
        chosen.sets(offsets, b"ab", np.array([0]), 5, EVERY, np.zeros(0, np.uint64), np.zeros(1, np.int64))


def test_the_compiled_half_reads_nothing_outside_of_what_it_is_given(kernel: ModuleType) -> None:
    tokens, ends, values = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(9, np.uint64)
    for offsets in ([0, 3], [2, 1], [-1, 1]):
        wrong = np.array(offsets, np.int64)
        with pytest.raises(ValueError):
            kernel.measure(wrong, b"ab", 5, 1, 1, None, None, None, tokens)
        with pytest.raises(ValueError):
            kernel.sets(wrong, b"ab", np.array([0]), 5, EVERY, values, ends)
    right = np.array([0, 2], np.int64)
    with pytest.raises(ValueError):
        kernel.sets(right, b"ab", np.array([1]), 5, EVERY, values, ends)
    with pytest.raises(ValueError):
        kernel.measure(right, b"ab", 5, 1, 1, None, None, None, np.zeros(2, np.int64))
    pair = np.array([0]), np.array([1])
    with pytest.raises(ValueError):
        kernel.shared(values, ends, ends, *pair, ends, ends)
    with pytest.raises(ValueError):
        kernel.alike(np.zeros(4, np.uint8), 4, *pair, np.zeros(1, np.uint16))
    with pytest.raises(ValueError):
        kernel.use("abacus")


def test_order_brings_equal_keys_together_and_keeps_their_order() -> None:
    keys = np.array([3, 1, 3, 2, 1], np.uint64) << np.uint64(60)
    assert order(keys).tolist() == [1, 4, 3, 0, 2]
    assert distinct(np.array([5, 1, 5, 2**63, 0], np.uint64)).tolist() == [0, 1, 5, 2**63]
