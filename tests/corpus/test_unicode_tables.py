from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.corpus.kernel import unicode, unicode_ranges
from metier.corpus.kernel.unicode import CJK, CLASSES, DIGIT, PUNCT, SIZE, SPACE, UPPER, WORD, class_table, lower_map

FOLDER = Path(unicode.__file__).parent


def of(flag: int) -> set[int]:
    return {code for first, last in unicode.ranges(flag) for code in range(first, last + 1)}


@pytest.mark.slow
@pytest.mark.skipif(unicodedata.unidata_version != unicode_ranges.VERSION, reason="this Python has another Unicode")
def test_the_committed_tables_are_what_the_generator_writes() -> None:
    for name, source in unicode.sources().items():
        assert (FOLDER / name).read_text() == source


def test_the_header_says_what_the_ranges_say() -> None:
    # The two-stage tables, read as C reads them.
    header = (FOLDER / "unicode_tables.h").read_text()
    arrays = {
        name: [int(value) for value in values.split(",") if value.strip()]
        for name, values in re.findall(r"metier_(\w+)\[\d+\] = \{([^}]*)\}", header)
    }
    (bits,) = (int(n) for n in re.findall(r"METIER_BLOCK_BITS (\d+)", header))
    assert {name: int(flag) for name, flag in re.findall(r"#define METIER_([A-Z]+) (\d+)", header)} == CLASSES
    flags, lower = class_table().tolist(), lower_map()
    for block, at in enumerate(arrays["block_of"]):
        for place in range(1 << bits):
            code, record = block << bits | place, arrays["record_of"][at << bits | place]
            assert arrays["record_flags"][record] == flags[code]
            assert code + arrays["record_lower"][record] == lower.get(code, code)


@pytest.mark.parametrize(("flag", "some", "none"), [
    (WORD, "aZéß数か한٣Ⅳ²्", "_ -.\u200b😀\ufffd"),
    (CJK, "数据かカｶ々〇〆ー\U00020000\U0002ebf0\U000323af", "a한、。・０"),
    (SPACE, " \t\n\x0b\x0c\r\x1c\x1f\x85\xa0\u2028\u3000", "\u200b\x00a"),
    (PUNCT, "_-.,。、€+😀\ufffd", "a1 "),
    (DIGIT, "09٣７", "²Ⅳ"),
    (UPPER, "AÉΣǅ", "aéσ1"),
])  # fmt: skip
def test_classes_hold_what_they_should(flag: int, some: str, none: str) -> None:
    table = class_table()
    assert all(table[ord(character)] & flag for character in some)
    assert not any(table[ord(character)] & flag for character in none)


def test_classes_are_ascending_ranges_and_cjk_are_words() -> None:
    for flag in CLASSES.values():
        edges = [edge for pair in unicode.ranges(flag) for edge in pair]
        assert edges == sorted(edges) and edges[-1] < SIZE
    assert of(CJK) <= of(WORD) and of(DIGIT) <= of(WORD) and of(UPPER) <= of(WORD)
    assert not of(WORD) & (of(SPACE) | of(PUNCT)) and not of(SPACE) & of(PUNCT)


def test_lower_case_keeps_classes_and_is_lower_case() -> None:
    table = class_table()
    for code, lower in lower_map().items():
        assert lower not in lower_map(), "lower case of lower case"
        assert int(table[code]) & ~UPPER == int(table[lower]) & ~UPPER
        assert chr(code).lower()[0] == chr(lower)


@given(st.text())
def test_lower_case_has_as_many_characters(text: str) -> None:
    lowered = unicode.lower(text)
    assert len(lowered) == len(text)
    assert lowered == "".join(chr(lower_map().get(ord(character), ord(character))) for character in text)


def test_a_character_set_matches_its_class() -> None:
    table = class_table()
    every = "".join(chr(code) for code in range(0, 0x3400)) + "".join(chr(code) for code in range(0x3400, SIZE, 97))
    for flag in CLASSES.values():
        found = "".join(re.findall(f"[{unicode.character_set(flag)}]", every))
        assert found == "".join(character for character in every if table[ord(character)] & flag)
    apart = "".join(re.findall(f"[{unicode.character_set(WORD, without=CJK)}]", every))
    assert apart == "".join(character for character in every if int(table[ord(character)]) & (WORD | CJK) == WORD)
