"""The engine on two Ray nodes of one core each, started here: what is made there is what is made here.

Ray ends the process that asks it where it gives up one of its nodes, so ``test_engine_cluster.py`` runs these tests in
a process of their own.
"""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from metier.core import Host, Mistake, Workshop
from metier.corpus import Dedup, Normalise
from metier.corpus.engine.cluster import RayPool
from metier.corpus.engine.pool import CRASHED, TOO_LONG, Lost, Pool, open_pool
from tests.corpus.tasks import crash_on, crash_the_first_time, divide, hang_on, meet, object_to, square
from tests.corpus.test_engine import Bench, Given, with_planted, words

pytestmark = pytest.mark.slow
GIB = 1 << 30


# What Ray waits for is late where the cores are busy, and what it gives up it ends: a node, and this very process.
PATIENT = {
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_failure_threshold": "20",
}
STARTS = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {"RAY_USAGE_STATS_ENABLED": "0", **PATIENT}.items():
            patched.setenv(name, value)
        utils = pytest.importorskip("ray.cluster_utils")
        for attempt in range(1, STARTS + 1):
            try:
                cluster = started(utils)
                break
            except Exception as error:  # of many kinds, all of them timeouts on a busy machine
                print(f"the cluster did not start, attempt {attempt} of {STARTS}: {error!r}", file=sys.stderr)
                if attempt == STARTS:
                    raise
        yield cluster
        cluster.shutdown()


def started(utils: Any) -> Any:
    """Return two nodes that run, or leave none running."""
    cluster = utils.Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=80 << 20, include_dashboard=False)
        cluster.wait_for_nodes(timeout=120)
    except BaseException:
        cluster.shutdown()
        raise
    return cluster


@pytest.fixture
def host(cluster: Any) -> Host:
    return Host(cores=2, threads=2, memory_bytes=8 * GIB, cluster=cluster.address)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, with_planted(words(40), drop=3, CRASH=17, RAISE=25), rows_per_shard=11)


@pytest.fixture
def pool(host: Host, bench: Bench) -> Iterator[Pool]:
    with open_pool(host, bench.work()) as pool:
        yield pool


@pytest.fixture(autouse=True)
def workers_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["metier.corpus.engine.apply"], "_SMALL_BYTES", 0)


def test_an_operator_gives_the_same_bytes_on_a_cluster_as_on_this_machine(bench: Bench, host: Host) -> None:
    totals = bench.apply(host=host)
    assert totals.dropped == Counter({"operator crashed": 1, "operator failed (ValueError)": 1, "says drop": 1})
    there = bench.digest()
    bench.forget()
    bench.apply()
    assert bench.digest() == there


def test_near_duplicates_are_found_across_partitions_with_the_same_bytes(host: Host, tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = [" ".join(f"word{rng.randrange(5000)}" for _ in range(200)) + "." for _ in range(60)]
    near = [f"{text} Last edited on a Monday." for text in texts[:9]]  # in other shards than what they are copies of
    corpus = Normalise(corpus=Given(texts=(*texts, *near, *texts[9:12]), rows_per_shard=16), boilerplate_share=None)
    made = []
    for place, where in (("there", host), ("here", dataclasses.replace(host, cluster=None))):
        workshop = Workshop(tmp_path / place, where)
        unique = workshop.make(Dedup(corpus=corpus, compilation=None))
        assert unique.record.ledger.lines[-1].dropped == {"exact duplicate": 3, "near duplicate": 9}
        made.append([artifact.record.output_sha256 for artifact in workshop.artifacts()])
    assert made[0] == made[1] and len(made[0]) == 3


def test_the_pool_of_a_cluster_keeps_order_and_uses_both_nodes(pool: Pool, tmp_path: Path) -> None:
    assert isinstance(pool, RayPool) and pool.workers == 2
    (tmp_path / "meeting").mkdir()
    assert list(pool.map(square, range(30))) == [number * number for number in range(30)]
    assert len(set(pool.map(partial(meet, folder=tmp_path / "meeting"), range(2)))) == 2


def test_a_dead_worker_of_a_cluster_costs_nothing_and_a_deadly_task_only_itself(pool: Pool, tmp_path: Path) -> None:
    assert list(pool.map(partial(crash_the_first_time, folder=tmp_path), range(2))) == [0, 1]
    assert list(pool.map(partial(crash_on, poison=1), range(3))) == [0, Lost(CRASHED), 2]


def test_a_task_that_hangs_on_a_cluster_is_given_up(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.corpus.engine.cluster.FIRST_SECONDS", 1.0)
    results = list(pool.map(partial(hang_on, poison=1), range(3), seconds=1))
    lost = results[1]
    assert [results[0], results[2]] == [0, 2]
    assert isinstance(lost, Lost) and lost.reason == TOO_LONG and "in hang_on" in str(lost.detail)


def test_what_a_function_raises_on_a_cluster_is_what_it_raises_here(pool: Pool) -> None:
    lost = list(pool.map(divide, [1, 0]))[1]
    assert isinstance(lost, Lost) and lost.reason == "failed (ZeroDivisionError)"
    with pytest.raises(Mistake, match="no such model"):
        list(pool.map(object_to, [5, 6]))


def test_a_machine_that_does_not_see_the_workshop_says_so(pool: Pool, tmp_path: Path) -> None:
    assert isinstance(pool, RayPool)
    pool._site = pool._site._replace(token=tmp_path / "elsewhere" / ".scratch" / "token")
    with pytest.raises(Mistake, match=f"does not see {tmp_path / 'elsewhere'}"):
        list(pool.map(square, [1, 2]))


def test_a_machine_with_other_versions_says_so(pool: Pool) -> None:
    assert isinstance(pool, RayPool)
    pool._site = pool._site._replace(versions={**pool._site.versions, "pyarrow": "1.0"})
    with pytest.raises(Mistake, match="has other versions") as caught:
        list(pool.map(square, [1, 2]))
    assert "1.0 here" in str(caught.value.found)


def test_where_there_is_no_cluster_the_user_is_told(bench: Bench) -> None:
    nowhere = Host(cores=1, threads=1, memory_bytes=GIB, cluster="127.0.0.1:1")
    with pytest.raises(Mistake, match=r"there is no Ray cluster at 127\.0\.0\.1:1"), open_pool(nowhere, bench.work()):
        pass


def test_a_machine_that_is_lost_costs_nothing(cluster: Any, host: Host, tmp_path: Path) -> None:
    bench = Bench(tmp_path, [f"{text} SLEEP" for text in words(40)], rows_per_shard=5)
    extra = cluster.add_node(num_cpus=2, object_store_memory=80 << 20)

    run = sys.modules["metier.corpus.engine.apply"]._Run
    show = run._show

    def show_and_lose(self: Any, bar: Any) -> None:
        if extra in cluster.worker_nodes and any((bench.folder / ".scratch-apply" / "counts").glob("*")):
            cluster.remove_node(extra, allow_graceful=False)
        show(self, bar)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "_show", show_and_lose)
        assert bench.apply(host=host).kept == 40
    assert extra not in cluster.worker_nodes
    there = bench.digest()
    bench.forget()
    bench.apply()
    assert bench.digest() == there


def test_a_killed_step_leaves_no_task_on_the_cluster(host: Host, bench: Bench) -> None:
    program = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from tests.corpus import tasks; from tests.corpus.test_engine import Bench\n"
        "from metier.corpus.engine.cluster import RayPool\n"
        "with RayPool(sys.argv[1], Bench(Path(sys.argv[2]), ['a']).work()) as pool:\n"
        "    print('pids', *set(pool.map(tasks.pid, range(50))), flush=True)\n"
        "    list(pool.map(partial(tasks.hang_on, poison=1), [1, 1]))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(host.cluster), bench.folder.parent / "other"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    told = next(line for line in parent.stdout if line.startswith("pids "))  # Ray tells of other things too
    pids = {int(number) for number in told.split()[1:]}
    assert all(map(psutil.pid_exists, pids))
    time.sleep(1)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 30
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, pids))
