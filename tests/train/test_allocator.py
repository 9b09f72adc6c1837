"""What a training frees: kept where there is room, bounded, and no matter to what is computed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import metier.train.allocator as allocator
from metier.core import Artifact, Host
from metier.train.allocator import BOUND, KERNELS, ROOM, Heap, bound_of, heap_of, resident_bytes, room_for
from metier.train.options import Settings
from metier.train.tune import tune
from tests.train.bench import rows_with_prefixes, same, weights, work_in
from tests.train.test_rehearse import plan

GB = 10**9
SETTINGS = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.0, seed=0)

# Of a hundred blocks of a megabyte every fourth stays: the others leave holes below the top of the heap.
HOLES = """
from metier.train.allocator import Heap, resident_bytes

before = resident_bytes()
with Heap(before + (50 << 20)) as heap:
    blocks = [bytearray(b"x" * (1 << 20)) for _ in range(100)]
    blocks = blocks[::4]
    full = resident_bytes() - before
    heap.after_pass()
    trimmed = resident_bytes() - before
    heap.after_pass()
    assert all(block == b"x" * (1 << 20) for block in blocks)
print(full / 1e6, trimmed / 1e6, heap.trims)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_over_the_bound_free_pages_between_blocks_that_stay_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    full, trimmed, trims = map(float, done.stdout.split())
    assert full > 100 and 20 < trimmed < 40 and trims == 1


def test_memory_is_kept_only_where_twice_the_peak_is_there() -> None:
    assert bound_of(4 * GB, int(ROOM * 4 * GB)) == int(BOUND * 4 * GB) + KERNELS
    assert bound_of(4 * GB, int(ROOM * 4 * GB) - 1) is None
    assert bound_of(GB, int(BOUND * GB) + KERNELS) == int(BOUND * GB) + KERNELS  # of a small model the kernels count
    assert bound_of(GB, int(BOUND * GB) + KERNELS - 1) is None
    assert bound_of(None, 1 << 50) is None
    assert BOUND < ROOM


def test_the_room_is_what_the_machine_and_the_container_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(allocator, "_CGROUPS", (str(tmp_path / "memory.max"),))
    monkeypatch.setattr(allocator, "resident_bytes", lambda: 2 * GB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=20 * GB))
    large = Host(8, 8, 64 * GB)
    assert room_for(large) == 22 * GB
    assert room_for(Host(8, 8, 16 * GB)) == 16 * GB
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert room_for(large) == 7 * GB  # a quarter of what is free, and what it has
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    (tmp_path / "memory.max").write_text("max\n")
    assert room_for(large) == 22 * GB
    (tmp_path / "memory.max").write_text(f"{12 * GB}\n")
    assert room_for(large) == 12 * GB


class Told:
    """A heap of which is said what is held, by pass."""

    def __init__(self, bound: int | None, *held: int) -> None:
        self.held, self.trimmed, self.said = list(held), 0, list[str]()
        self.heap = Heap(bound, self.said.append, lambda: self.held.pop(0), self._trim)

    def _trim(self) -> None:
        self.trimmed += 1

    def steps(self, count: int, passes: int = 1) -> None:
        for _ in range(count):
            for _ in range(passes):
                self.heap.after_pass()
            self.heap.after_step()


def test_free_pages_are_given_back_after_a_pass_that_came_over_the_bound() -> None:
    told = Told(100, 99, 100, 101, 50)
    told.steps(2, passes=2)
    assert told.heap.trims == told.trimmed == 1 and told.heap.way == "keep" and not told.said


def test_where_nearly_every_step_comes_over_the_bound_all_is_given_back_from_then_on() -> None:
    told = Told(2 * GB, *[3 * GB, 3 * GB, GB, 3 * GB] * 2)
    told.steps(7)
    assert told.heap.way == "keep" and told.heap.trims == 5
    told.steps(1)
    assert told.heap.way == "give back" and told.heap.trims == 6 and not told.held
    assert told.said == ["freed memory is given back at once from here on: 6 of 8 steps came over 2.0 GB"]
    told.steps(3)  # it no longer asks what is held: nothing is left to be told
    assert len(told.said) == 1


def test_a_few_steps_over_the_bound_change_nothing() -> None:
    told = Told(100, *[101, 99] * 20)
    told.steps(40)
    assert told.heap.way == "keep" and told.heap.trims == 20 and not told.said


def test_a_heap_that_gives_back_never_asks() -> None:
    told = Told(None)
    told.steps(5)
    assert told.heap.way == "give back" and told.heap.trims == 0


def test_a_step_of_several_passes_counts_once() -> None:
    told = Told(100, *[101] * 20)
    told.steps(5, passes=4)
    assert told.heap.trims == 20 and told.heap.way == "keep"


def test_what_was_chosen_stands_in_the_events_and_the_callback_goes_with_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocator, "room_for", lambda _host: 10 * GB)
    callbacks: list[Any] = []
    trainer = SimpleNamespace(
        add_callback=callbacks.append, remove_callback=callbacks.remove, state=SimpleNamespace(global_step=3)
    )
    work = work_in(tmp_path)
    with pytest.raises(KeyboardInterrupt), heap_of(trainer, 4 * GB, work) as heap:
        assert len(callbacks) == 1 and heap.way == "keep"
        raise KeyboardInterrupt
    assert callbacks == []
    (event,) = Artifact(tmp_path).events("heap")
    assert (event["way"], event["bound_bytes"], event["available_bytes"]) == ("keep", 6 * GB + KERNELS, 10 * GB)


@pytest.mark.parametrize("peak", [1, None])
def test_the_same_weights_are_trained_whatever_is_done_with_freed_memory(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peak: int | None
) -> None:
    course = plan(rows_with_prefixes(0), batch_rows=3, window_tokens=64)
    tune(tiny_model_folder, course, SETTINGS, plain := work_in(tmp_path / "plain"))
    monkeypatch.setattr("metier.train.tune._peak", lambda *_: peak)
    monkeypatch.setattr(allocator, "BOUND", 0)  # with a peak every pass gives back
    monkeypatch.setattr(allocator, "KERNELS", 0)
    tune(tiny_model_folder, course, SETTINGS, other := work_in(tmp_path / "other"))
    assert same(weights(tmp_path / "plain" / "model"), weights(tmp_path / "other" / "model"))
    assert plain.figures["heap"]["way"] == "keep" and plain.figures["heap"]["given_back"] == 0
    way = "give back" if peak is None else "keep"
    assert other.figures["heap"] == {"way": way, "given_back": len(course.windows) * (peak or 0)}


def test_what_is_resident_is_what_the_system_says() -> None:
    told = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]
    assert resident_bytes() == pytest.approx(int(told) * 1024, rel=0.02)
