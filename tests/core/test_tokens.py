from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from metier.core import Failure
from metier.core.permutation import Permutation
from metier.core.tokens import Layout, PackedWindow, Shard, Tokens, told_of, write_layout, write_shard


def artifact(folder: Path, windows: list[int], kind: type = np.uint16) -> Tokens:
    """Write shards of so many windows; window w has two pieces of w % 5 + 1 and 3 tokens, all of them the number w."""
    shards, row = [], 0
    for number, count in enumerate(windows):
        lengths = [[(row + at) % 5 + 1, 3] for at in range(count)]
        ids = [row + at for at in range(count) for _ in range(sum(lengths[at]))]
        name = f"part-{number:05d}.arrow"
        write_shard(
            folder / "tokens" / name,
            np.array(ids, kind),
            np.array(lengths, np.int32).reshape(-1),
            np.full(count, 2, np.int32),
            [f"d{row + at}{part}" for at in range(count) for part in "ab"],
            [("domain", None)[at % 2] for at in range(count) for _ in "ab"],
            {"windows": count},
        )
        shards.append(Shard(name, count, len(ids)))
        row += count
    write_layout(folder, Layout(16, "document", False, "vocabulary", 0, shards))
    return Tokens(folder)


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_every_window_is_read_back_as_written(tmp_path: Path, kind: type) -> None:
    tokens = artifact(tmp_path, [3, 0, 300, 1], kind)
    assert (len(tokens), tokens.layout.sequence_length) == (304, 16)
    read = list(tokens.windows())
    assert [window.row for window in read] == list(range(304))
    for window in read:
        assert window.lengths == [window.row % 5 + 1, 3]
        assert window.ids.tolist() == [window.row] * sum(window.lengths)
        assert window.documents == [f"d{window.row}a", f"d{window.row}b"]
    assert [window.channels for window in read[:3]] == [["domain"] * 2, [None] * 2, ["domain"] * 2]
    assert tokens.tokens == sum(window.ids.size for window in read)


def test_positions_count_from_zero_in_each_piece() -> None:
    window = PackedWindow(0, np.arange(5), [2, 3], ["a", "b"], [None, None])
    assert window.positions == [0, 1, 0, 1, 2]


def test_a_reader_goes_on_at_the_exact_row_in_either_order(tmp_path: Path) -> None:
    tokens = artifact(tmp_path, [40, 260, 7])
    for seed in (None, 0, "0/1"):
        whole = [window.row for window in tokens.windows(seed=seed)]
        assert [window.row for window in tokens.windows(123, seed)] == whole[123:]
        assert sorted(whole) == list(range(307))
    orders = [[window.row for window in tokens.windows(seed=seed)] for seed in (0, 1)]
    assert orders[0] != orders[1] != list(range(307))


def test_windows_of_one_shard_are_spread_over_the_whole_order(tmp_path: Path) -> None:
    tokens = artifact(tmp_path, [100] * 10)
    places = [place for place, window in enumerate(tokens.windows(seed=3)) if window.row < 100]
    # Of 1000 places drawn at random the mean of 100 is 500 with a deviation of 29.
    assert abs(sum(places) / 100 - 500) < 4 * 29


def test_sizes_are_those_of_the_windows(tmp_path: Path) -> None:
    tokens = artifact(tmp_path, [5, 290])
    sizes, pieces = tokens.sizes()
    assert sizes.tolist() == [window.ids.size for window in tokens.windows()]
    assert set(pieces.tolist()) == {2}


@pytest.mark.parametrize("batch", [1, 2, 256])
def test_the_largest_id_of_a_window_is_that_of_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr("metier.core.tokens._BATCH_WINDOWS", batch)
    rng = np.random.default_rng(0)
    shards: list[Shard] = []
    for number, count in enumerate((3, 0, 300, 1)):
        lengths = rng.integers(0, 5, count).astype(np.int32)  # a window may be empty
        ids = rng.integers(0, 60_000, int(lengths.sum())).astype(np.uint16)
        path = tmp_path / "tokens" / f"{number}.arrow"
        write_shard(path, ids, lengths, np.ones(count, np.int32), ["d"] * count, [None] * count, {})
        shards.append(Shard(path.name, count, ids.size))
    write_layout(tmp_path, Layout(16, "document", False, "vocabulary", 0, shards))
    tokens = Tokens(tmp_path)
    rows = rng.integers(0, 304, 1000)  # in any order, and more than once
    wanted = [max(tokens.window(int(row)).ids.tolist(), default=0) for row in rows]
    assert tokens.largest_ids(rows).tolist() == wanted
    assert tokens.largest_ids(np.zeros(0, np.int64)).tolist() == []


def test_few_files_stay_open_however_many_shards_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.core.tokens._OPEN_SHARDS", 2)
    tokens = artifact(tmp_path, [3] * 6)
    order = random.Random(0).choices(range(18), k=50)
    assert [tokens.window(row).ids[0] for row in order] == order
    assert len(tokens._open) == 2


def test_a_row_beyond_the_last_is_an_index_error(tmp_path: Path) -> None:
    tokens = artifact(tmp_path, [2])
    with pytest.raises(IndexError):
        tokens.window(2)
    assert list(tokens.windows(2)) == []


def test_a_shard_cut_short_is_named(tmp_path: Path) -> None:
    tokens = artifact(tmp_path, [30])
    shard = tmp_path / "tokens/part-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(Failure, match=r"part-00000\.arrow is damaged"):
        tokens.window(0)


def test_a_layout_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"tokens\.json"):
        len(Tokens(tmp_path))
    (tmp_path / "tokens.json").write_text(json.dumps({"shards": []}))
    with pytest.raises(Failure, match=r"tokens\.json"):
        len(Tokens(tmp_path))


def test_what_was_told_is_kept_in_the_file(tmp_path: Path) -> None:
    artifact(tmp_path, [4])
    assert told_of(tmp_path / "tokens/part-00000.arrow") == {"windows": 4}
    assert told_of(tmp_path / "tokens/part-00001.arrow") is None


def test_lengths_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be written"):
        write_shard(
            tmp_path / "a.arrow",
            np.zeros(5, np.uint16),
            np.array([4], np.int32),
            np.array([1], np.int32),
            ["d"],
            [None],
            {},
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 1000])
def test_a_permutation_has_each_place_once(count: int) -> None:
    order = Permutation(count, 7)
    assert sorted(order) == list(range(count)) == sorted(order.whole())
    assert [order[place] for place in range(count)] == order.whole().tolist()


def test_a_permutation_depends_on_its_seed_alone() -> None:
    assert list(Permutation(10, 0)) == [5, 4, 3, 6, 1, 0, 7, 2, 9, 8]
    assert list(Permutation(10, 0)) != list(Permutation(10, 1))
    with pytest.raises(IndexError):
        Permutation(10, 0)[10]


def test_neighbours_do_not_stay_together_in_a_permutation() -> None:
    order = Permutation(10_000, 0).whole()
    # Two places drawn at random lie 3333 apart in the mean.
    assert abs(float(np.abs(np.diff(order)).mean()) - 3333) < 100
    assert abs(float(np.corrcoef(order, np.arange(10_000))[0, 1])) < 0.05
