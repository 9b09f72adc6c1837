"""The compiled kernel and its Python twins say the same of any text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metier.corpus.kernel import compiled, texts
from metier.corpus.kernel import rules as kernel
from metier.corpus.kernel.rules_counts import TABLE_SIZE, VERDICTS, LineRules, Measures, Shape
from metier.corpus.kernel.rules_lines import BULLETS, MARKUP, SENTENCE_ENDS
from metier.corpus.kernel.rules_prose import COUNTED_TOKENS
from tests.corpus.pages import prose

needs_kernel = pytest.mark.skipif(compiled("_rules") is None, reason="the kernel is not built")

STOP_WORDS = (frozenset({"the", "of", "and"}), frozenset({"und", "der", "the"}), frozenset({"好", "ß", "i"}))
PIECES = (
    *"\n\n\n \t\r\u3000\xa0\x85\x1c#-*+.,;:!?'\"()[]{}|/_=…”’你好世界。，！カー한é½٣😀𠀀\0\x7f\x9f\ufffd",
    *(*BULLETS, *MARKUP, *SENTENCE_ENDS),
    *("word ", "The ", "of ", "and then ", "\n\n", "# ", "- ", "1. ", "12345", "1.2.3 ", "v1.2.3.", "2021-03-04 "),
    *("| a | b |\n", "```\n", "~~~\n", "    x", "...", "[1]", "[edit]", "[citation needed]", "lorem ipsum "),
    *("JavaScript", "cookie policy ", "Ã©", "â€™", "ï¿½", "锟斤拷", "aaaaaaa", "啊啊啊啊啊", "don't ", "foo(bar) "),
    *("getElementById ", "q1Zx7Kp2 ", "hereby grant ", "Public Domain ", "R-12441-00313", "11 May 2021 ", "a" * 61),
    *("กรุงเทพ", "İ", "\u212a", "Ⱥ", "A line of more than forty characters goes on", "\nin the next", "\nübrigens "),
    "This ends. ",
)
generated = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=200)


def told(column: list[bytes], rules: LineRules) -> list[object]:
    taken = texts(pa.array(column, pa.binary()))
    measures, stops = kernel.measure(taken, rules, STOP_WORDS)
    counts = np.zeros(TABLE_SIZE, np.uint8)
    groups = np.arange(len(column), dtype=np.int64) % 3 - 1
    kernel.learn_forms(taken, groups, counts)
    return [
        *(dict(zip(Measures._fields, row, strict=True)) for row in measures.tolist()),
        *(dict(zip(Shape._fields, row, strict=True)) for row in kernel.shape(taken).tolist()),
        stops.tolist(),
        *(part if isinstance(part, list) else part.tolist() for part in kernel.clean(taken, rules)),
        {place: counts[place] for place in counts.nonzero()[0].tolist()},
        kernel.known_forms(taken, groups, counts, 2).tolist(),
    ]


def by_twin(column: list[bytes], rules: LineRules) -> list[object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METIER_KERNEL", "python")
        return told(column, rules)


@needs_kernel
@settings(max_examples=150, deadline=None)
@given(
    st.lists(generated.map(str.encode) | st.binary(max_size=60), max_size=4),
    st.sampled_from([LineRules(), LineRules(10, 1, 5, 0, 0)]),
)
@example([prose(1).encode(), (prose(2) + "\n" + prose(2)).encode(), b""], LineRules())
@example(["的数据库管理数据库管理系统数据库管理数据库管理系统".encode() * 9], LineRules())
@example([b"\xe4\xbd\xa0 \xe4\xbd", b"\xff\xfe\xff", b"a\xf0\x9f\x98 a\xf0\x9f b"], LineRules())
def test_the_kernel_says_what_the_twin_says(column: list[bytes], rules: LineRules) -> None:
    assert told(column, rules) == by_twin(column, rules)


@needs_kernel
def test_the_kernel_counts_in_the_order_of_the_twin() -> None:
    module = compiled("_rules")
    assert module is not None
    assert module.MEASURES.split() == list(Measures._fields)
    assert module.SHAPE.split() == list(Shape._fields)
    first = Measures._fields.index(VERDICTS[0])
    assert Measures._fields[first : first + len(VERDICTS)] == VERDICTS


@needs_kernel
def test_tables_grow_and_n_grams_stop_at_the_same_token() -> None:
    # 5,000 different words twice grow every table; behind the limit nothing is a repetition any more.
    words = " ".join(f"w{n}" for n in range(5000))
    many = "x y z " * (COUNTED_TOKENS // 3 + 2)
    column = [f"{words}\n\n{words}".encode(), many.encode()]
    measures, _ = kernel.measure(texts(pa.array(column, pa.binary())))
    by_name = [dict(zip(Measures._fields, row, strict=True)) for row in measures.tolist()]
    assert by_name[0]["duplicate_5"] == by_name[0]["gram_chars"] // 2
    assert by_name[1]["gram_chars"] == COUNTED_TOKENS < by_name[1]["tokens"]
    assert told(column[:1], LineRules()) == by_twin(column[:1], LineRules())


def test_a_slice_of_a_column_is_that_slice() -> None:
    whole = pa.array([prose(n) for n in range(6)])
    measures, _ = kernel.measure(texts(whole))
    sliced, _ = kernel.measure(texts(whole.slice(2, 3)))
    assert (sliced == measures[2:5]).all()


@needs_kernel
@pytest.mark.parametrize("offsets", [[0, 5], [3, 1], [-1, 2], [], [0, 1, 0]])
def test_offsets_that_point_outside_the_data_are_refused(offsets: list[int]) -> None:
    module = compiled("_rules")
    assert module is not None
    out = np.zeros(max(len(offsets) - 1, 0) * len(Shape._fields), np.int64)
    with pytest.raises(ValueError, match="offsets"):
        module.shape(np.array(offsets, np.int64), b"abcd", out)


@needs_kernel
def test_an_array_of_the_wrong_size_is_refused() -> None:
    module = compiled("_rules")
    assert module is not None
    with pytest.raises(ValueError, match="int64 numbers"):
        module.shape(np.array([0, 4], np.int64), b"abcd", np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="table"):
        module.learn(np.array([0, 4], np.int64), b"abcd", np.zeros(1, np.int64), np.zeros(9, np.uint8))


@needs_kernel
@pytest.mark.slow
@pytest.mark.parametrize("text", ["a", "你", "a\n", "| ", "- a b\n", "Well. ", "\xff", "..."], ids=repr)
def test_fifty_million_characters_take_seconds(text: str) -> None:
    taken = texts([text * (50_000_000 // len(text))])
    measures, _ = kernel.measure(taken)
    assert measures[0, 0] == 50_000_000 // len(text) * len(text)
    assert kernel.shape(taken)[0, Shape._fields.index("chars")] == measures[0, 0]


def test_too_many_stop_words_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 64"):
        kernel.measure(texts(["a"]), stop_words=[frozenset({"a"})] * 65)
    with pytest.raises(ValueError, match="64 bytes"):
        kernel.measure(texts(["a"]), stop_words=[frozenset({"a" * 65})])


def test_cleaned_texts_are_cut_at_characters() -> None:
    column = ["An é at the end of a line.", "", "no end", "Next one stands here as 你好 does."]
    assert kernel.clean(texts(column))[0] == [column[0], "", "", column[3]]
