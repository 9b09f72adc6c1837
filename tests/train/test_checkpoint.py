"""A checkpoint is whole and of this training, or it is passed over and the user is told why."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from metier.core import Mistake
from metier.train.checkpoint import MARKER, Cadence, Checkpoints
from metier.train.identity import Identity

ROWS = Identity({"rows": "a" * 64}, {"learning_rate": 1e-4}, {"torch": "2.13.0"})


def write(checkpoints: Checkpoints, step: int, seal: bool = True) -> Path:
    path = checkpoints.path(step)
    (path / "shards").mkdir(parents=True)
    (path / "weights").write_bytes(b"0123456789")
    (path / "shards/rank1").write_bytes(b"abc")
    if seal:
        checkpoints.seal(step)
    return path


def test_a_checkpoint_without_its_marker_does_not_exist_and_is_deleted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ROWS)
    good, half = write(checkpoints, 9), write(checkpoints, 10, seal=False)
    assert checkpoints.newest() == good
    assert not half.exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("weights", b"01234", "weights has 5 of 10 bytes"),
        ("weights", b"0123456780", "weights was changed"),
        ("weights", None, "weights is missing"),
        ("shards/rank1", b"abx", "shards/rank1 was changed"),
    ],
)
def test_a_checkpoint_that_is_damaged_is_named_and_the_one_before_is_resumed(
    tmp_path: Path, file: str, content: bytes | None, said: str
) -> None:
    warnings: list[str] = []
    checkpoints = Checkpoints(tmp_path, ROWS, warnings.append)
    good, bad = write(checkpoints, 9), write(checkpoints, 10)
    (bad / file).unlink()
    if content is not None:
        (bad / file).write_bytes(content)
    assert checkpoints.newest() == good
    (warning,) = warnings
    assert warning.startswith("going on from checkpoint-9") and f"checkpoint-10: {said}" in warning


def test_that_no_checkpoint_is_whole_is_said(tmp_path: Path) -> None:
    warnings: list[str] = []
    checkpoints = Checkpoints(tmp_path, ROWS, warnings.append)
    (write(checkpoints, 9) / "weights").write_bytes(b"")
    assert checkpoints.newest() is None
    assert "begins anew" in warnings[0] and "checkpoint-9: weights has 0 of 10 bytes" in warnings[0]


@pytest.mark.parametrize("marker", ["", "{", "[]"])
def test_a_marker_that_says_nothing_is_told_and_counts_as_none(tmp_path: Path, marker: str) -> None:
    warnings: list[str] = []
    checkpoints = Checkpoints(tmp_path, ROWS, warnings.append)
    (write(checkpoints, 9) / MARKER).write_text(marker)
    assert checkpoints.newest() is None
    assert "checkpoint-9: complete.json is damaged" in warnings[0]


@pytest.mark.parametrize(
    "marker",
    ['{"fingerprint": "x", "bytes": {}}', '{"identity": {}, "files": {}}', '{"identity": 3, "files": 3}', "{}"],
)
def test_a_checkpoint_of_another_version_is_refused_and_kept(tmp_path: Path, marker: str) -> None:
    checkpoints = Checkpoints(tmp_path, ROWS)
    path = write(checkpoints, 9)
    (path / MARKER).write_text(marker)
    with pytest.raises(Mistake, match="step 9 was written by another version") as caught:
        checkpoints.newest()
    assert ", ".join(json.loads(marker)) in (caught.value.found or "") and str(tmp_path) in (caught.value.hint or "")
    assert (path / "weights").is_file()


def test_a_marker_that_cannot_be_read_deletes_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ROWS)
    path = write(checkpoints, 9)
    (path / MARKER).unlink()
    (path / MARKER).mkdir()
    with pytest.raises(OSError, match=MARKER):
        checkpoints.newest()
    assert (path / "weights").is_file()


def test_a_copy_that_a_user_put_beside_them_is_left_alone(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ROWS)
    write(checkpoints, 9).rename(tmp_path / "checkpoint-9-kept")
    (tmp_path / "checkpoint-mine").mkdir()
    assert checkpoints.newest() is None
    for step in (10, 11, 12):
        checkpoints.make_room()
        write(checkpoints, step)
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint-9-kept",
        "checkpoint-mine",
        "checkpoint-11",
        "checkpoint-12",
    }


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (ROWS._replace(data={"rows": "b" * 64}), "rows: aaaaaaaaaaaa → bbbbbbbbbbbb"),
        (ROWS._replace(settings={"learning_rate": 2e-4}), "learning_rate: 0.0001 → 0.0002"),
    ],
)
def test_a_checkpoint_of_other_data_or_settings_is_refused_by_name_and_kept(
    tmp_path: Path, now: Identity, said: str
) -> None:
    path = write(Checkpoints(tmp_path, ROWS), 9)
    with pytest.raises(Mistake, match="cannot go on from step 9") as caught:
        Checkpoints(tmp_path, now).newest()
    assert caught.value.found == said
    assert path.is_dir()
    assert Checkpoints(tmp_path, ROWS).newest() == path


def test_a_checkpoint_of_fsdp2_says_how_to_start_what_goes_on_from_it(tmp_path: Path) -> None:
    cut = ROWS._replace(settings={**ROWS.settings, "layout": "fsdp2"})
    path = write(Checkpoints(tmp_path, cut), 9)
    with pytest.raises(Mistake, match="step 9 can be gone on from with fsdp2 only") as caught:
        Checkpoints(tmp_path, ROWS).newest()
    assert caught.value.found == "started with one process or data parallel"
    assert str(caught.value.hint).startswith("start it with fsdp2 again; or remove")
    assert Checkpoints(tmp_path, cut).newest() == path


@pytest.mark.parametrize(("name", "value"), [("STEPS", "0"), ("STEPS", "-3"), ("MINUTES", "0"), ("MINUTES", "soon")])
def test_a_wish_that_no_cadence_can_keep_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"METIER_CHECKPOINT_{name}", value)
    with pytest.raises(Mistake, match="a number above 0") as caught:
        Cadence.here()
    assert caught.value.found == f"METIER_CHECKPOINT_{name}={value}"


def test_other_circumstances_are_told_and_gone_on_with(tmp_path: Path) -> None:
    warnings: list[str] = []
    path = write(Checkpoints(tmp_path, ROWS), 9)
    assert Checkpoints(tmp_path, ROWS._replace(place={"torch": "2.14.0"}), warnings.append).newest() == path
    assert "torch: 2.13.0 → 2.14.0" in warnings[0] and "bit" in warnings[0]


def test_what_an_older_version_did_not_know_is_no_difference(tmp_path: Path) -> None:
    path = write(Checkpoints(tmp_path, ROWS), 9)
    newer = ROWS._replace(settings={**ROWS.settings, "new_option": 3})
    assert Checkpoints(tmp_path, newer).newest() == path


def test_an_unfinished_training_that_differs_in_little_is_pointed_at(tmp_path: Path) -> None:
    warnings: list[str] = []
    write(Checkpoints(tmp_path / "sft-1111/checkpoints", ROWS), 300)
    changed = ROWS._replace(settings={"learning_rate": 2e-4})
    here = Checkpoints(tmp_path / "sft-2222/checkpoints", changed, warnings.append)
    assert here.newest() is None
    assert "sft-1111 holds an unfinished one at step 300" in warnings[0]
    assert "learning_rate: 0.0001 → 0.0002" in warnings[0]
    (tmp_path / "sft-1111/record.json").write_text("{}")  # finished: nothing to go on with
    assert here.newest() is None and len(warnings) == 1


def test_there_are_never_more_than_two(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ROWS)
    for step in (2, 9, 10):
        checkpoints.make_room()
        write(checkpoints, step)
        assert len(list(tmp_path.iterdir())) <= 2
    assert checkpoints.newest() == checkpoints.path(10)
    assert json.loads((checkpoints.path(10) / MARKER).read_text())["files"].keys() == {"weights", "shards/rank1"}


def test_a_checkpoint_is_sealed_when_all_processes_have_written_their_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metier.train.watched import Watched

    order: list[str] = []

    class Saves:
        def _save_checkpoint(self, model: object, trial: object) -> None:
            order.append("this process has written")

    class Training(Watched, Saves):
        def is_world_process_zero(self) -> bool:
            return True

    monkeypatch.setattr("metier.train.watched.barrier", lambda: order.append("all have written"))
    monkeypatch.setattr(Checkpoints, "seal", lambda self, step: order.append(f"sealed {step}"))
    training = Training.__new__(Training)
    training.state, training.checkpoints = SimpleNamespace(global_step=7), Checkpoints(tmp_path, ROWS)
    monkeypatch.setattr(training, "guard", SimpleNamespace(saved=lambda step: None), raising=False)
    training.cadence = Cadence()
    training._save_checkpoint(None, None)
    assert order == ["this process has written", "all have written", "sealed 7"]


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
