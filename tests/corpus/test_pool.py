from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from metier.core import Failure, Host, Mistake
from metier.corpus.engine.local import LocalPool
from metier.corpus.engine.pool import CRASHED, NO_MEMORY, TOO_LONG, Lost, open_pool
from tests.corpus.tasks import (
    crash_on,
    crash_the_first_time,
    divide,
    grow,
    hang_on,
    meet,
    object_to,
    pid,
    square,
    write_to_full_disk,
)

GIB = 1 << 30


@pytest.fixture(scope="module")
def pool() -> Iterator[LocalPool]:
    with LocalPool(2, 4 * GIB) as pool:
        yield pool


def names(pids: set[int]) -> set[int]:
    return {number for number in pids if psutil.pid_exists(number) and psutil.Process(number).status() != "zombie"}


def test_results_come_in_the_order_of_the_tasks(pool: LocalPool) -> None:
    assert list(pool.map(square, range(100))) == [number * number for number in range(100)]


def test_tasks_are_taken_no_further_ahead_than_allowed(pool: LocalPool) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = pool.map(square, endless(), ahead=3)
    for number in range(1, 20):
        assert next(results) == number * number
        assert taken <= number + 3 * pool.workers
    results.close()
    assert list(pool.map(square, [1, 2])) == [1, 4]


def test_both_workers_work_and_neither_is_this_process(pool: LocalPool, tmp_path: Path) -> None:
    pids = set(pool.map(partial(meet, folder=tmp_path), range(2)))
    assert len(pids) == 2 and os.getpid() not in pids


def test_a_single_task_runs_here() -> None:
    with LocalPool(2, 4 * GIB) as fresh:
        assert list(fresh.map(pid, [0])) == [os.getpid()]
        (lost,) = fresh.map(divide, [0])
        assert isinstance(lost, Lost) and lost.reason == "failed (ZeroDivisionError)"


def test_a_task_that_kills_its_worker_is_lost_and_the_rest_is_done(pool: LocalPool) -> None:
    results = list(pool.map(partial(crash_on, poison=3), range(8)))
    assert results == [0, 1, 2, Lost(CRASHED), 4, 5, 6, 7]


def test_a_task_whose_worker_dies_once_is_done_again(pool: LocalPool, tmp_path: Path) -> None:
    assert list(pool.map(partial(crash_the_first_time, folder=tmp_path), range(2))) == [0, 1]
    results = list(pool.map(partial(crash_the_first_time, folder=tmp_path), [0, 7], retry=False))
    assert results == [0, Lost(CRASHED)]


def test_a_task_that_hangs_in_c_code_is_given_up(pool: LocalPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.corpus.engine.local.FIRST_SECONDS", 0.0)
    results = list(pool.map(partial(hang_on, poison=1), range(4), seconds=1))
    assert results == [0, Lost(TOO_LONG), 2, 3]


def test_a_task_that_outgrows_its_memory_is_lost(pool: LocalPool) -> None:
    results = list(pool.map(grow, [0, 100, 0]))
    assert results[0] == results[2] == 0
    assert isinstance(results[1], Lost) and results[1].reason == NO_MEMORY


def test_a_function_that_raises_loses_its_task_with_the_traceback(pool: LocalPool) -> None:
    results = list(pool.map(divide, [1, 0, 2]))
    lost = results[1]
    assert [results[0], results[2]] == [1.0, 0.5]
    assert isinstance(lost, Lost) and lost.reason == "failed (ZeroDivisionError)"
    assert lost.detail is not None and "return 1 / number" in lost.detail


def test_where_every_task_counts_a_lost_one_is_a_failure(pool: LocalPool) -> None:
    with pytest.raises(Failure, match="counting could not be finished") as caught:
        list(pool.every(divide, [1, 0], what="counting"))
    assert caught.value.found == "ZeroDivisionError: division by zero"


def test_a_problem_reaches_the_user_as_it_was_raised(pool: LocalPool) -> None:
    with pytest.raises(Mistake) as caught:
        list(pool.map(object_to, [5, 6]))
    assert (caught.value.what, caught.value.hint) == ("no such model", "name another")
    assert caught.value.found in ("5", "6")


def test_a_full_disk_reaches_the_user(pool: LocalPool) -> None:
    with pytest.raises(Mistake, match="the disk is full"):
        list(pool.map(write_to_full_disk, [1, 2]))


def test_a_function_of_a_script_is_refused_in_words(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from metier.corpus.engine.local import LocalPool\n"
        "def double(n): return 2 * n\n"
        "with LocalPool(1, 1 << 32) as pool:\n"
        "    try: list(pool.map(double, [1, 2]))\n"
        "    except Exception as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert "worker processes cannot import double" in said and "module of its own" in said


def test_leaving_a_map_early_stops_its_tasks_and_the_pool_goes_on(pool: LocalPool) -> None:
    results = pool.map(partial(hang_on, poison=1), range(2))
    assert next(results) == 0
    results.close()
    assert list(pool.map(square, [2, 3])) == [4, 9]


def test_workers_that_do_not_start_are_a_failure_and_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.corpus.engine.local._PROGRAM", "import sys; sys.exit('no memory')")
    with pytest.raises(Failure, match="a worker process could not be started"), LocalPool(1, 4 * GIB) as pool:
        list(pool.map(square, [1, 2]))


def test_no_worker_is_left_when_the_block_is_left() -> None:
    with pytest.raises(KeyboardInterrupt), open_pool(two_cores()) as pool:
        pids = set(pool.map(pid, range(8)))
        raise KeyboardInterrupt
    assert not names(pids)  # type: ignore[arg-type]


def test_no_worker_outlives_a_parent_that_is_killed() -> None:
    # The workers are inside C code that never lets go of the interpreter: no thread of theirs could notice.
    program = (
        "from functools import partial; from tests.corpus import tasks as t\n"
        "from metier.corpus.engine.local import LocalPool\n"
        "with LocalPool(2, 1 << 32) as pool:\n"
        "    print(*set(pool.map(t.pid, range(50))), flush=True)\n"
        "    list(pool.map(partial(t.hang_on, poison=1), [1, 1]))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = {int(number) for number in parent.stdout.readline().split()}
    assert names(pids) == pids
    time.sleep(0.3)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 5
    while names(pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert not names(pids)


def two_cores() -> Host:
    return Host(cores=2, threads=2, memory_bytes=8 * GIB)
