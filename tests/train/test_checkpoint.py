from __future__ import annotations

from pathlib import Path

from metier.train.checkpoint import Cadence, Checkpoints


def write(checkpoints: Checkpoints, step: int, seal: bool = True) -> Path:
    path = checkpoints.path(step)
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"0123456789")
    if seal:
        checkpoints.seal(step)
    return path


def test_a_checkpoint_without_its_marker_does_not_exist_and_is_deleted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "rows")
    good, half = write(checkpoints, 9), write(checkpoints, 10, seal=False)
    assert checkpoints.newest() == good
    assert not half.exists()


def test_a_checkpoint_cut_short_is_not_resumed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "rows")
    good, bad = write(checkpoints, 9), write(checkpoints, 10)
    (bad / "weights").write_bytes(b"01234")
    assert checkpoints.newest() == good


def test_a_checkpoint_of_other_rows_is_not_resumed(tmp_path: Path) -> None:
    write(Checkpoints(tmp_path, "rows"), 9)
    assert Checkpoints(tmp_path, "other rows").newest() is None


def test_there_are_never_more_than_two(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "rows")
    for step in (2, 9, 10):
        checkpoints.make_room()
        write(checkpoints, step)
        assert len(list(tmp_path.iterdir())) <= 2
    assert checkpoints.newest() == checkpoints.path(10)


def test_the_first_save_is_early_and_slow_saves_are_rare() -> None:
    now = 0.0
    cadence = Cadence(lambda: now)
    now = 19.0
    assert not cadence.due(1)
    now = 21.0
    assert cadence.due(1)
    cadence.saved(seconds=1.0)
    now = 21.0 + 39
    assert not cadence.due(1)
    now = 21.0 + 41
    assert cadence.due(1)
    cadence.saved(seconds=5.0)  # 20 x 5 s = 100 s
    now += 99
    assert not cadence.due(1)
    now += 2
    assert cadence.due(1)
