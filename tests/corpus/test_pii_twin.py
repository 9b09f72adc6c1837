"""The compiled scanner and its definition in Python give the same rows, whatever the bytes."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.corpus.anonymise.cues import literals_for
from metier.corpus.anonymise.kinds import KINDS, LANGUAGES, Code
from metier.corpus.anonymise.literals import Act, Cue, Literal, secret_literals
from metier.corpus.kernel import Texts, compiled, texts
from metier.corpus.kernel.pii import Scanner
from tests.corpus.test_pii_scan import FOUND, STAYS

CODES = frozenset(Code)
LITERALS = [*secret_literals(), *literals_for(KINDS, LANGUAGES, ["Foobar", "内部"])]
PIECES = [
    *(text for text, _, _ in FOUND),
    *STAYS,
    *(
        "password",
        "api_key",
        "://",
        "@",
        "tel ",
        "SSN ",
        "host ",
        "version ",
        "-----BEGIN ",
        "PRIVATE KEY-----",
        "Bearer ",
    ),
    *(
        "+49",
        "(0)",
        "0049",
        " x12",
        "转5",
        "中",
        "：",
        "是",
        "“",
        "”",
        "é",
        "\u00a0",
        "\u202f",
        "–",
        "€",
        "字节",
        "straße 12",
    ),
    *("12 bis, rue ", "路12号", "Foobar", "内部", "Mr. ", "Anna ", "NY 1", " Smith;", "Name :", "12345 Berlin"),
]
CHARACTERS = st.text(
    st.sampled_from("0123456789abcdefABCDEFxX +-./:()[]{}=\"'`_,;<>@%$#&*!?\\|~\n\té中："), max_size=12
)
SOUP = st.lists(st.sampled_from(PIECES) | CHARACTERS | st.text(max_size=6), max_size=12).map("".join)


@pytest.fixture(scope="module")
def scanners() -> tuple[Scanner, Scanner]:
    """Return the scanner as it runs, and the one in Python."""
    if compiled("_pii") is None:
        pytest.skip("the compiled kernel is not there")
    with pytest.MonkeyPatch.context() as patch:
        fast = Scanner(LITERALS, CODES)
        patch.setenv("METIER_KERNEL", "python")
        return fast, Scanner(LITERALS, CODES)


def same(scanners: tuple[Scanner, Scanner], column: Texts) -> None:
    ours, twin = (scanner(column) for scanner in scanners)
    assert ours.spans.tolist() == twin.spans.tolist()
    assert ours.reports.tolist() == twin.reports.tolist()


@settings(max_examples=150, deadline=None)
@given(st.lists(SOUP, max_size=4))
def test_on_generated_text(scanners: tuple[Scanner, Scanner], some: list[str]) -> None:
    same(scanners, texts(some))


@settings(max_examples=60, deadline=None)
@given(SOUP, st.binary(max_size=8), st.integers(0, 400))
def test_on_bytes_that_are_no_text(scanners: tuple[Scanner, Scanner], text: str, noise: bytes, at: int) -> None:
    data = text.encode("utf-8", "replace")
    data = data[:at] + noise + data[at:]
    same(scanners, Texts(np.array([0, len(data) // 2, len(data)], np.int64), memoryview(data)))


@pytest.mark.parametrize("vectors", [0, 1, 2])
def test_with_every_width_of_vectors_and_at_every_place_of_a_block(
    scanners: tuple[Scanner, Scanner], vectors: int
) -> None:
    kernel = compiled("_pii")
    assert kernel is not None
    rng = random.Random(vectors)
    try:
        kernel.use_vectors(vectors)
        some = []
        for shift in range(0, 140, 3):
            pieces = rng.sample(PIECES, 6)
            some.append("." * shift + " ".join(pieces))
        some.append(
            ("x" * 63 + "\n") * 62 + " ".join(rng.sample(PIECES, 12)) * 2
        )  # across the end of a round of blocks
        same(scanners, texts(some))
    finally:
        kernel.use_vectors(2)


def test_an_empty_column_and_empty_texts_hold_nothing(scanners: tuple[Scanner, Scanner]) -> None:
    for column in (texts([]), texts(["", ""])):
        same(scanners, column)
        assert scanners[0](column).spans.shape == (0, 4)


def test_a_million_characters_without_a_space_take_a_moment() -> None:
    if compiled("_pii") is None:
        pytest.skip("the compiled kernel is not there")
    scanner = Scanner(LITERALS, CODES)
    for text in ("a" * 1_000_000, "1" * 1_000_000, ":" * 1_000_000, "@" * 1_000_000, "1 " * 500_000, "a@" * 500_000):
        begun = time.process_time()
        scanner(texts([text]))
        assert time.process_time() - begun < 2, text[:4]  # what is quadratic takes minutes


def test_damaged_tables_are_refused() -> None:
    kernel = compiled("_pii")
    if kernel is None:
        pytest.skip("the compiled kernel is not there")
    offsets = np.array([0, 3], np.int64)
    with pytest.raises(ValueError, match="damaged"):
        kernel.scan(offsets, b"abc", b"too short", b"", 1)
    with pytest.raises(ValueError, match="offsets"):
        kernel.scan(np.array([0, 9], np.int64), b"abc", b"", b"", 1)


def test_a_word_of_two_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 bytes"):
        Scanner([Literal(b"ab", Act.REPORT, Cue.OWN)], CODES)
