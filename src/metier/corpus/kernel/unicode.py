"""Character classes and lower case, the same for the compiled kernels and their Python twins.

`unicode_ranges.py` is the one source: both it and `unicode_tables.h` are written by

    python -m metier.corpus.kernel.unicode

from the running Python's `unicodedata`, and committed. So neither the Python that runs nor the compiler changes what a
token is. Raise the versions of the steps that use them when the tables change.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD = 1
"""Letters, marks and numbers: general categories L*, M*, N*. The underscore is not one."""
CJK = 2
"""Han, Hiragana and Katakana of WORD: scripts without spaces, whose every character is a token of its own."""
SPACE = 4
"""What `str.isspace` says is white space."""
PUNCT = 8
"""Punctuation and symbols: P*, S*."""
DIGIT = 16
"""Decimal digits of any script: Nd."""
UPPER = 32
"""Upper-case letters: Lu, and Lt (title case)."""

CLASSES = {"WORD": WORD, "CJK": CJK, "SPACE": SPACE, "PUNCT": PUNCT, "DIGIT": DIGIT, "UPPER": UPPER}
SIZE = 0x110000
_BLOCK_BITS = 7  # blocks of 128 code points: the smallest tables, of 64, 128 and 256


def ranges(flag: int) -> list[tuple[int, int]]:
    """Return the code points of one class as ascending (first, last) pairs, both inclusive."""
    from metier.corpus.kernel import unicode_ranges

    name = next(name for name, value in CLASSES.items() if value == flag)
    text: str = getattr(unicode_ranges, name)
    pairs = (item.partition("-") for item in text.split())
    return [(int(first, 16), int(last or first, 16)) for first, _, last in pairs]


@cache
def lower_map() -> dict[int, int]:
    """Return the simple, one-to-one lower case by code point: what `str.translate` takes.

    Not `str.lower`, which turns one character into two (U+0130) and looks at neighbours (the final sigma).
    """
    from metier.corpus.kernel.unicode_ranges import LOWER

    found: dict[int, int] = {}
    for item in LOWER.split():
        place, _, delta = item.partition(":")
        span, _, step = place.partition("/")
        first, _, last = span.partition("-")
        for code in range(int(first, 16), int(last or first, 16) + 1, int(step or "1")):
            found[code] = code + int(delta)
    return found


def lower(text: str) -> str:
    """Return the text with every character's simple lower case: as many characters as before."""
    return text.lower() if text.isascii() else text.translate(lower_map())


def character_set(flag: int, without: int | None = None) -> str:
    r"""Return a class as the inside of a regular expression's brackets: `re.compile(f"[{character_set(SPACE)}]+")`.

    Args:
        without: a class whose characters are left out.
    """
    codes = ranges(flag)
    for first, last in ranges(without) if without is not None else []:
        apart = [((low, min(high, first - 1)), (max(low, last + 1), high)) for low, high in codes]
        codes = [(low, high) for pair in apart for low, high in pair if low <= high]
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in codes)


@cache
def class_table() -> NDArray[np.uint8]:
    """Return the flags of every code point, as an array of 0x110000 bytes."""
    import numpy as np

    table = np.zeros(SIZE, np.uint8)
    for flag in CLASSES.values():
        for first, last in ranges(flag):
            table[first : last + 1] |= flag
    return table


@cache
def lower_table() -> NDArray[np.uint32]:
    """Return the lower case of every code point, as an array of 0x110000 code points."""
    import numpy as np

    table = np.arange(SIZE, dtype=np.uint32)
    table[np.fromiter(lower_map(), np.int64)] = np.fromiter(lower_map().values(), np.uint32)
    return table


def flags_of(code: int) -> int:
    """Return the classes of a code point as this Python's `unicodedata` has them, for the generator."""
    character = chr(code)
    category = unicodedata.category(character)
    if category == "Cn" and 0x20000 <= code <= 0x3FFFD:
        # Planes 2 and 3 are set aside for ideographs: those that later versions assign are Han already now.
        return WORD | CJK
    flags = WORD if category[0] in "LMN" else 0
    flags |= CJK if flags and _is_cjk(code) else 0
    flags |= SPACE if character.isspace() else 0
    flags |= PUNCT if category[0] in "PS" else 0
    flags |= DIGIT if category == "Nd" else 0
    return flags | (UPPER if category in ("Lu", "Lt") else 0)


def _is_cjk(code: int) -> bool:
    # unicodedata has no scripts, but these scripts name their characters after themselves. 3021-3029 and 3038-303B are
    # the Hangzhou numerals and Han marks; 3005 repeats an ideograph, 3006 closes, 3007 is zero.
    name = unicodedata.name(chr(code), "")
    starts = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "HENTAIGANA")
    return name.startswith(starts) or code in (0x3005, 0x3006, 0x3007, *range(0x3021, 0x302A), *range(0x3038, 0x303C))


def lower_of(code: int) -> int:
    """Return the simple lower case of a code point as this Python has it, for the generator."""
    # The first of two characters is the simple mapping of U+0130, the only one with two.
    return ord(chr(code).lower()[0])


def _python_source(flags: list[int], lowers: list[int]) -> str:
    lines = [
        f'"""Character classes of Unicode {unicodedata.unidata_version}, generated by metier.corpus.kernel.unicode.',
        "",
        "Classes are ranges of code points in hexadecimal. LOWER is `first-last/step:difference to its lower case`.",
        '"""',
        "",
        f'VERSION = "{unicodedata.unidata_version}"',
    ]
    for name, flag in CLASSES.items():
        runs = [list(run) for has, run in groupby(range(SIZE), key=lambda code: bool(flags[code] & flag)) if has]
        lines += _assignment(name, [_span(run[0], run[-1]) for run in runs])
    return "\n".join([*lines, *_assignment("LOWER", _lower_items(lowers))]) + "\n"


def _span(first: int, last: int) -> str:
    return f"{first:X}-{last:X}" if last > first else f"{first:X}"


def _lower_items(lowers: list[int]) -> list[str]:
    items = []
    code = 0
    changed = [lowers[code] - code for code in range(SIZE)]
    while code < SIZE:
        delta = changed[code]
        if not delta:
            code += 1
            continue
        # Alphabets lie in rows (step 1) or alternate with their lower case (step 2).
        step = 2 if changed[code + 1] != delta and changed[code + 2] == delta else 1
        last = code
        while changed[last + step] == delta and (step == 1 or not changed[last + 1]):
            last += step
        items.append(_span(code, last) + ("/2" if step == 2 else "") + f":{delta}")
        code = last + 1
    return items


def _assignment(name: str, items: list[str]) -> list[str]:
    lines, line = [f"{name} = ("], ""
    for item in items:
        if len(line) + len(item) > 108:
            lines.append(f'    "{line} "')
            line = ""
        line += (" " if line else "") + item
    return [*lines, f'    "{line}"', ")"] if len(lines) > 1 else [f'{name} = "{line}"']


def _header_source(flags: list[int], lowers: list[int]) -> str:
    """Return two-stage tables: code point >> 7 gives a block, the block gives a record of flags and lower case."""
    size = 1 << _BLOCK_BITS
    records: dict[tuple[int, int], int] = {}
    blocks: dict[tuple[int, ...], int] = {}
    stage1 = []
    for start in range(0, SIZE, size):
        codes = range(start, start + size)
        block = tuple(records.setdefault((flags[code], lowers[code] - code), len(records)) for code in codes)
        stage1.append(blocks.setdefault(block, len(blocks)))
    if len(records) > 256 or len(blocks) > 256:
        raise ValueError(f"{len(records)} records and {len(blocks)} blocks do not fit a byte")
    return "\n".join(
        [
            f"/* Character classes of Unicode {unicodedata.unidata_version}. Generated by",
            "   `python -m metier.corpus.kernel.unicode`: do not edit. Read by text.h, which explains them. */",
            "#ifndef METIER_UNICODE_TABLES_H",
            "#define METIER_UNICODE_TABLES_H",
            "",
            "#include <stdint.h>",
            "",
            *(f"#define METIER_{name} {value}" for name, value in CLASSES.items()),
            f"#define METIER_BLOCK_BITS {_BLOCK_BITS}",
            "",
            _c_array("uint8_t", f"metier_block_of[{len(stage1)}]", stage1),
            _c_array("uint8_t", f"metier_record_of[{len(blocks) * size}]", [at for block in blocks for at in block]),
            _c_array("uint8_t", f"metier_record_flags[{len(records)}]", [record[0] for record in records]),
            _c_array("int32_t", f"metier_record_lower[{len(records)}]", [record[1] for record in records]),
            "#endif",
            "",
        ]
    )


def _c_array(kind: str, name: str, values: list[int]) -> str:
    rows = []
    row = ""
    for value in values:
        if len(row) > 114:
            rows.append(row)
            row = ""
        row += f"{value},"
    return "\n".join([f"static const {kind} {name} = {{", *rows, row, "};"])


def sources() -> dict[str, str]:
    """Return the generated files by name, as this Python's Unicode version has them."""
    flags = [flags_of(code) for code in range(SIZE)]
    lowers = [lower_of(code) for code in range(SIZE)]
    return {"unicode_ranges.py": _python_source(flags, lowers), "unicode_tables.h": _header_source(flags, lowers)}


if __name__ == "__main__":
    for file, source in sources().items():
        (Path(__file__).parent / file).write_text(source, encoding="ascii")
