from __future__ import annotations

from metier.corpus.pdf import join_lines, without_running_heads


def test_running_heads_and_page_numbers_go_and_text_stays() -> None:
    pages = [
        [f"Manual  {n}", f"Text of page {'abcdef'[n]}.", f"More text {'abcdef'[n]}.", "Other line.", str(n)]
        for n in range(6)
    ]
    kept = without_running_heads(pages, edge=1)
    assert kept[2] == ["Text of page c.", "More text c.", "Other line."]
    assert without_running_heads(pages[:3], edge=1) == pages[:3]


def test_words_cut_at_a_line_end_are_made_whole() -> None:
    assert join_lines(["The data-", "base is", "- one", "- two"]) == "The database is\n- one\n- two"


def test_joining_takes_time_in_proportion_to_the_text() -> None:
    import time

    def seconds(count: int) -> float:
        lines = [f"a line of words that ends in a hy{number:06d}-" for number in range(count)]
        start = time.process_time()
        join_lines(["x-", *(f"phen {line[:-7]}cut-" for line in lines)])
        return time.process_time() - start

    seconds(1000)
    assert seconds(80_000) < 30 * max(seconds(8_000), 1e-3)
