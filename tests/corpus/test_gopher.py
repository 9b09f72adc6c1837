"""Gopher's rules at their thresholds (Rae et al. 2021, appendix A1.1, table A1), by hand-made texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from metier.corpus.documents import new_document
from metier.corpus.rules import GopherQuality, GopherRepetition
from tests.corpus.pages import prose

ZH = (
    "数据库是按照数据结构来组织、存储和管理数据的仓库。它可以长期保存在计算机内,供多个用户共享使用。"
    "用户不必知道数据在磁盘上的位置,只要说明想要什么,系统就会找到合适的办法。每张表都有自己的索引,"
    "修改一行时也会修改与之有关的索引。事务保证一组操作要么全部完成,要么全部撤销,不会停在半路。"
)


def quality(text: str, language: str | None = "en", media_type: str = "text/html", **thresholds: object) -> str | None:
    rules = GopherQuality.model_validate(thresholds)
    return rules.reason(new_document("page", text, "", media_type, language))


def repetition(text: str, **thresholds: object) -> str | None:
    return GopherRepetition.model_validate(thresholds).reason(new_document("page", text, "", "text/html"))


def words(count: int, word: str = "Sentence") -> str:
    """Return `count` words, "the" and "of" the last two of them. They begin with a capital: no line goes on in them."""
    return " ".join([word] * (count - 2) + ["the", "of"])


def test_fifty_words_are_enough_and_forty_nine_are_not() -> None:
    assert quality(words(49)) == "gopher: too few words"
    assert quality(words(50)) is None


def test_a_hundred_thousand_words_are_allowed_and_one_more_is_not() -> None:
    assert quality(words(100_000)) is None
    assert quality(words(100_001)) == "gopher: too many words"


def test_words_have_three_to_ten_letters_in_the_mean() -> None:
    # 58 words of n letters, "the", "of" and one more: 58 n + 5 + m of 61. Punctuation is no letter.
    assert quality(words(60, "(abc),") + " abcd") is None, "183 of 61 words: 3"
    assert quality(words(60, "(abc),") + " abc") == "gopher: words too short"
    assert quality(words(60, "abcdefghij") + " " + "a" * 25) is None, "610 of 61 words: 10"
    assert quality(words(60, "abcdefghij") + " " + "a" * 26) == "gopher: words too long"


def test_ten_words_are_needed_for_each_hash_and_each_ellipsis() -> None:
    assert quality(words(60) + "#" * 6) is None
    assert quality(words(60) + "#" * 7) == "gopher: too many #"
    assert quality(words(60) + "...…" * 3 + ".") is None
    assert quality(words(60) + "...…" * 3 + "....") == "gopher: too many ellipses"


def test_the_hashes_of_headings_are_no_symbols() -> None:
    assert quality("\n\n".join(f"### Part\n\n{words(9)}" for _ in range(9))) is None


def test_more_than_nine_lines_in_ten_with_a_bullet_are_too_many() -> None:
    item = "- " + words(9)
    assert quality("\n".join([item] * 9 + [words(9)])) is None
    assert quality("\n".join([item] * 10 + [words(9)])) == "gopher: nearly all bullets"
    assert quality("\n".join(["• " + words(9)] * 10)) == "gopher: nearly all bullets"


def test_more_than_three_lines_in_ten_that_break_off_are_too_many() -> None:
    lines = [f"{words(22)}."] * 7 + [f"{words(22)}..."] * 3
    assert quality("\n".join(lines)) is None
    assert quality("\n".join([*lines, f"{words(22)}…"])) == "gopher: lines end with ellipses"


def test_one_word_in_five_may_have_no_letter() -> None:
    assert quality(words(80) + " 12" * 20) is None
    assert quality(words(80) + " 12" * 21) == "gopher: too few words with letters"


def test_two_different_stop_words_are_needed() -> None:
    text = " ".join(["sentence"] * 60)
    assert quality(f"{text} The the THE.") == "gopher: too few stop words"
    assert quality(f"{text} the (of)") is None


def test_stop_words_are_those_of_the_language() -> None:
    german = "Satz " * 60 + "der und"
    assert quality(german, "de-AT") is None
    assert quality(german, "fr") == "gopher: too few stop words"
    assert quality(german, None) is None, "no language stated: the list that fits best"
    assert quality(german, "eu") is None, "no list for Basque: not judged"
    assert quality(german, "eu", more_stop_words={"eu": ["eta", "da"]}) == "gopher: too few stop words"
    assert quality(german + " Eta da.", "eu", more_stop_words={"EU": ["Eta", "Da"]}) is None


def test_good_chinese_passes_and_two_characters_are_a_word() -> None:
    assert quality(ZH, "zh") is None and quality(ZH, None) is None and repetition(ZH) is None
    assert quality("的是在" + "数" * 96, "zh") == "gopher: too few words"
    assert quality("的是在" + "数" * 97, "zh") is None


def test_scripts_without_spaces_are_not_judged_by_the_length_of_words() -> None:
    thai = "ฐานข้อมูลคือที่เก็บข้อมูลซึ่งจัดเรียงตามโครงสร้าง " * 9
    assert quality(thai, "th") is None


@pytest.mark.parametrize(
    "sentence", ["यह एक वाक्य है जिसमें दस से अधिक शब्द हैं। ", "Η βάση δεδομένων αποθηκεύει γραμμές πινάκων. "]
)
def test_a_script_of_none_of_the_lists_is_not_judged_by_stop_words(sentence: str) -> None:
    assert quality(sentence * 9, None) is None
    assert quality("Bzzt grmbl wxyzt " * 20, None) == "gopher: too few stop words"


def test_code_tables_and_what_is_mostly_those_are_not_judged() -> None:
    code = "```\n" + "x[0] = y[1];\n" * 50 + "```\n"
    table = "| 1 | 2 | 3 |\n" * 50
    assert quality("x = 1", media_type="text/x-python") is None
    assert quality("a,b", media_type="text/csv") is None
    assert quality(code + "Short.") is None and repetition(code + "Short.") is None
    assert quality(table + "Short.") is None and repetition(table + "Short.") is None
    assert quality("Short.") == "gopher: too few words"


def test_null_switches_a_quality_rule_off() -> None:
    fields = [name for name in GopherQuality.model_fields if name.startswith(("min", "max"))]
    off: dict[str, Any] = dict.fromkeys(fields)
    assert quality("- # # #\n- ...\n", **off) is None
    assert quality("- # # #\n- ...\n", **{**off, "max_symbol_ratio": 0.1}) == "gopher: too many #"


def test_three_lines_in_ten_may_be_repeated() -> None:
    different = [f"{prose(n, 8)}" for n in range(7)]
    fine = "\n".join([*different[:6], "One line.", "One line.", "One line.", "One line."])
    assert repetition(fine, max_line_chars=None) is None
    more = fine + "\nOne line."
    assert repetition(more, max_line_chars=None) == "gopher: repeated lines"


def test_a_fifth_of_the_characters_may_be_in_repeated_lines() -> None:
    # Four lines of 50 characters, one of them twice: 50 of 250 are repeated.
    line = [f"{letter * 24} {letter * 24}." for letter in "ABCD"]
    assert {len(each) for each in line} == {50}
    free = {"max_top_2": None, "max_lines": None, "max_paragraphs": None, "max_paragraph_chars": None}
    assert repetition("\n".join([*line, line[0]]), **free) is None
    assert repetition("\n".join([*line[:3], "Another.", line[0]]), **free) == "gopher: characters in repeated lines"


def test_paragraphs_are_repeated_only_as_a_whole() -> None:
    parts = ["First part.\nTwo lines of it.", "Second part.\nTwo lines of it.", "Third part."]
    off = dict.fromkeys(GopherRepetition.model_fields, None) | {"max_paragraphs": 0.3}
    assert repetition("\n\n".join(parts), **off) is None
    assert repetition("\n\n".join([*parts, parts[0]]), **off) is None, "one of four"
    assert repetition("\n\n".join([*parts, parts[0], parts[1]]), **off) == "gopher: repeated paragraphs"


def grams() -> Iterator[tuple[int, float]]:
    yield from ((2, 0.2), (3, 0.18), (4, 0.16), (5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))


@pytest.mark.parametrize(("n", "share"), grams())
def test_table_a1_at_its_thresholds(n: int, share: float) -> None:
    field = f"max_top_{n}" if n < 5 else f"max_repeated_{n}"
    reason = f"gopher: one {n}-gram all over" if n < 5 else f"gopher: repeated {n}-grams"
    assert GopherRepetition.model_fields[field].default == share
    # The n-gram has n words of 10 characters and stands twice: both count as the top n-gram, the second as repeated.
    counted = 10 * n * (2 if n < 5 else 1)
    gram = [f"{letter}{n:09d}" for letter in "abcdefghij"[:n]]
    filler = [f"{at:010d}" for at in range(round(counted / share) // 10 - 2 * n)]
    off = dict.fromkeys((name for name in GopherRepetition.model_fields if name != field), None)
    fits = " ".join([*gram, *filler[: len(filler) // 2], *gram, *filler[len(filler) // 2 :]])
    assert len(fits.replace(" ", "")) * share >= counted - 10 * share
    assert repetition(fits + " 1234567890", **off) is None
    assert repetition(fits.rsplit(" ", 3)[0], **off) == reason


def test_characters_of_overlapping_repeats_count_once() -> None:
    # "x" 20 times: 5-grams at 0 (new), 1 to 5 (seen), 6 to 10, 11 to 15; at 16 only four are left. 15 of 20.
    text = "x " * 20
    off = dict.fromkeys(GopherRepetition.model_fields, None)
    assert repetition(text, **{**off, "max_repeated_5": 0.75}) is None
    assert repetition(text, **{**off, "max_repeated_5": 0.74}) == "gopher: repeated 5-grams"


def test_an_n_gram_that_stands_once_is_no_repetition() -> None:
    assert repetition("Two words.") is None
