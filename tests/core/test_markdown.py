from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metier.core.markdown import blocks, plain, sentences

TEXT = """# Head

A paragraph
of two lines.
- one
- two
  more

| a | b |
| --- | --- |

    indented code

```sql
# no heading
```
The end."""


def test_blocks_are_known_by_kind() -> None:
    assert [block.kind for block in blocks(TEXT)] == [
        "heading", "paragraph", "item", "item", "table", "code", "code", "paragraph",
    ]  # fmt: skip


@given(st.text(st.sampled_from("#|-`~ \nab1.*\t"), max_size=80))
def test_blocks_lose_no_line_with_text(text: str) -> None:
    lines = [line for block in blocks(text) for line in block.text.split("\n") if line.strip()]
    assert lines == [line for line in text.split("\n") if line.strip()]


def test_an_open_fence_runs_to_the_end() -> None:
    assert [block.kind for block in blocks("```\na\n\n# b")] == ["code"]


def test_plain_drops_marks_and_keeps_words() -> None:
    assert plain("- **abs(X)** is `fast`,\n  really") == "abs(X) is fast, really"
    assert plain("## 2.1. Locks") == "2.1. Locks"


def test_sentences_end_where_sentences_end() -> None:
    text = 'It holds, e.g. Version 3.40 of D. See sqlite3_open(). "Why?" Since then. 数据库。仓库。 Last'
    assert sentences(text) == [
        "It holds, e.g. Version 3.40 of D.",
        "See sqlite3_open().",
        '"Why?"',
        "Since then.",
        "数据库。",
        "仓库。",
        "Last",
    ]


@given(st.text())
def test_every_sentence_stands_in_its_text(text: str) -> None:
    assert all(sentence in text for sentence in sentences(text))
