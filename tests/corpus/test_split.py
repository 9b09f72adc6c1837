from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metier.corpus.split import held_out_ids, overlaps, place
from tests.corpus.pages import documents, prose

IDS = st.sets(st.text("0123456789abcdef", min_size=16, max_size=16), min_size=1, max_size=80)


@given(IDS, IDS)
def test_adding_documents_moves_no_other(old: set[str], new: set[str]) -> None:
    def held(ids: set[str]) -> set[str]:
        return held_out_ids({id: place(id, 0) for id in ids}, share=0.3, at_least=1)

    both = held(old | new)
    fixed = {id for id in old if place(id, 0) < 0.3}
    assert both & old == fixed or not fixed


@given(IDS, st.integers(1, 30))
def test_at_least_so_many_are_held_out(ids: set[str], at_least: int) -> None:
    held = held_out_ids({id: place(id, 3) for id in ids}, share=0.01, at_least=at_least)
    assert len(held) >= min(at_least, len(ids))


def test_the_share_is_about_what_was_asked() -> None:
    places = {f"{number:016x}": place(f"{number:016x}", 0) for number in range(5000)}
    # 500 expected, standard deviation sqrt(5000 * .1 * .9) = 21
    assert 415 < len(held_out_ids(places, 0.1, 1)) < 585


def test_overlap_is_the_share_of_shingles_that_training_has() -> None:
    rows = documents([prose(1), prose(2), prose(1) + "\n\n" + prose(3)])
    shares = overlaps(lambda: rows, {rows[0].id, rows[1].id})
    assert shares[rows[0].id] == 1.0 and shares[rows[1].id] == 0.0
