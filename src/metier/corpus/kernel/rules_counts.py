"""What the rules count, by name: shared by the compiled kernel and its Python twins, which say how it is counted."""

from __future__ import annotations

from typing import NamedTuple

TABLE_BITS = 22
TABLE_SIZE = 1 << TABLE_BITS
"""Places of the table. A vocabulary of 200,000 forms fills 5%: so often an unknown form passes for a known one."""
VERDICTS = (
    "c4_long_word",
    "c4_no_end",
    "c4_few_words",
    "c4_script",
    "c4_policy",
    "c4_kept",
    "c4_lorem",
    "c4_braces",
)
"""What C4 says of a line; `c4_lorem` and `c4_braces` are for the whole page."""


class LineRules(NamedTuple):
    """What makes a line short (FineWeb) and what C4 keeps of lines.

    short_chars: characters; a Han or kana character counts as four, since that many letters stand for one in German and
        French translations of the same pages. end_mark, citations: 1 or 0.
    """

    short_chars: int = 30
    min_words: int = 5
    max_word_chars: int = 1000
    end_mark: int = 1
    citations: int = 1


class Measures(NamedTuple):
    """The counts of one text. Lines, tokens and words are those of `rules_lines`, characters are code points.

    `*_chars` are without white space unless said otherwise.
    """

    chars: int = 0
    text_chars: int = 0  # all but white space, code and tables too
    prose_chars: int = 0  # all but white space, code and tables
    tokens: int = 0
    words: int = 0
    cjk: int = 0  # words of one Han or kana character
    word_chars: int = 0  # letters, marks and numbers in the other words
    unspaced: int = 0  # of them those of Thai, Lao, Tibetan, Myanmar, Khmer
    lettered: int = 0  # tokens with a letter in them
    single_letters: int = 0  # words of one letter
    hashes: int = 0
    ellipses: int = 0
    lines: int = 0
    bullet_lines: int = 0
    ellipsis_lines: int = 0
    ended_lines: int = 0
    short_lines: int = 0
    line_chars: int = 0  # with the white space inside
    duplicate_lines: int = 0
    duplicate_line_chars: int = 0
    paragraphs: int = 0
    paragraph_chars: int = 0  # with the white space inside
    duplicate_paragraphs: int = 0
    duplicate_paragraph_chars: int = 0
    gram_chars: int = 0  # of the tokens that n-grams are counted in
    top_2: int = 0
    top_3: int = 0
    top_4: int = 0
    duplicate_5: int = 0
    duplicate_6: int = 0
    duplicate_7: int = 0
    duplicate_8: int = 0
    duplicate_9: int = 0
    duplicate_10: int = 0
    c4_long_word: int = 0  # lines that C4 takes out, by its first reason
    c4_no_end: int = 0
    c4_few_words: int = 0
    c4_script: int = 0
    c4_policy: int = 0
    c4_kept: int = 0
    c4_lorem: int = 0  # lines for which C4 drops the page
    c4_braces: int = 0
    c4_sentences: int = 0  # in the lines kept
    damaged: int = 0
    controls: int = 0
    odd: int = 0  # symbols in prose
    endless: int = 0  # characters of words too long to be any
    stretched: int = 0  # characters in runs of five and more of the same letter
    latin: int = 0  # ASCII words of five letters and more
    strange: int = 0  # of them: without a vowel, or changing case and kind inside


class Shape(NamedTuple):
    """The counts of one text. Characters are code points, without white space unless said otherwise."""

    prose: int  # characters of paragraphs, items and table cells with a sentence in them
    code: int
    tables: int  # characters of cells without a sentence
    fragments: int  # characters of paragraphs and items without a sentence
    parts: int  # paragraphs and items
    codes: int  # of them: nothing but a number or a code
    entries: int  # headings and items
    dated: int  # of them: those that begin with a version or a date
    words: int  # runs of \w
    legal_terms: int
    chars: int  # with white space
    damaged: int  # places that were decoded wrongly
    part_words: int  # words of paragraphs and items
    part_chars: int
    odd: int  # of them: symbols, and the characters of endless words
    latin: int  # of the words: ASCII letters and digits alone, five or more
    strange: int  # of them: without a vowel, or changing case and kind inside

    @property
    def total(self) -> int:
        """The characters of all but headings."""
        return self.prose + self.code + self.tables + self.fragments
