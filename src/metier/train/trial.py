"""A short trial before the first step: how many threads, which number format, whether to compile.

It chooses among ways that mean the same, by the time of a real pass forward and backward. As each of them changes last
bits, the choice is kept beside the checkpoints and taken again when the training is resumed. What the recipe says
(`precision: bf16`, `compile: true`) is not tried: it is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metier.core import Host
from metier.core.files import write_json_atomic
from metier.core.processes import Processes
from metier.train.adapt import compile_layers, precision_on, uncompile_layers
from metier.train.distributed import threads
from metier.train.options import Precision, Settings
from metier.train.packing import Window
from metier.train.rehearse import Tried, foretold, pass_through, untouched
from metier.train.trainer import Packed

WORTH = 300.0
"""Seconds of a training below which nothing is tried."""

SHARE = 0.03
"""Share of the training's time that the trial may take."""

FASTER = {"threads": 1.05, "fp32": 1.10, "compile": 1.01}
"""How much faster another way has to be to be chosen: passes of one way were seen to differ by 3%. A compiled pass also
has to win back the time of compiling, which is paid again whenever the training is resumed."""

COMPILING = 40.0
"""Seconds that compiling is taken to need before it was tried: 12 to 32 were seen for a model of 135M parameters."""

_FILE = "choice.json"
_PASSES = 3  # of each way: one to warm up, and the faster of two


class Choice(NamedTuple):
    """How the passes are worked out. precision: what the recipe says, or "fp32" where that beat an `auto` of bf16."""

    threads: int
    precision: Precision
    compile: bool

    def on(self, settings: Settings) -> Settings:
        """Return the settings of a training that takes this choice, where the recipe leaves it one."""
        precision = self.precision if settings.precision == "auto" else settings.precision
        return settings._replace(precision=precision, compile=self.compile or settings.compile is True)


class Chosen(NamedTuple):
    """A choice, and how it came about.

    ratios: how many times as fast a pass is with it as with what else was tried, by name. seconds: of the trial.
    why: it was not tried, or not all of it. aloud: whether that is worth a line on the screen.
    """

    choice: Choice
    ratios: dict[str, float]
    seconds: float = 0.0
    why: str | None = None
    aloud: bool = True

    def words(self, number_format: str) -> str:
        """Return what was chosen, in a line. number_format: "bf16", "fp16" or "fp32", whatever says so."""
        threads = f"{self.choice.threads} thread{'s' * (self.choice.threads != 1)}"
        told = ", ".join([threads, number_format, "compiled" if self.choice.compile else "not compiled"])
        ratios = [f"{ratio:.2f} times as fast as {name}" for name, ratio in self.ratios.items()]
        begun = f"trial in {self.seconds:.0f} s: {told}" if ratios else f"no trial: {told}"
        return "; ".join([begun, *ratios, *([self.why] if self.why else [])])


def as_set(settings: Settings, host: Host) -> Choice:
    """Return what is done where nothing was tried."""
    return Choice(threads(host), settings.precision, settings.compile is True)


def take(choice: Choice, network: Any, settings: Settings) -> None:
    """Do as an earlier attempt chose, as to threads and compiling; the number format is one of the settings."""
    torch.set_num_threads(choice.threads)
    if choice.compile and settings.compile == "auto":
        compile_layers(network)


def kept(folder: Path, fingerprint: str, now: Choice) -> Chosen | None:
    """Return what a killed attempt chose, or None.

    Args:
        folder: of the checkpoints.
        fingerprint: of the data.
        now: what is done where nothing is chosen; on a machine of other threads those are taken.
    """
    try:
        told = json.loads((folder / _FILE).read_text())
        if told["fingerprint"] != fingerprint:
            return None
        choice, ratios = Choice(**told["choice"]), dict(told["ratios"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if told["threads"] != now.threads:
        choice = choice._replace(threads=now.threads)
    return Chosen(choice, ratios, why="chosen by an earlier attempt")


def keep(folder: Path, fingerprint: str, now: Choice, chosen: Chosen) -> None:
    """Write down what was chosen for an attempt that goes on from here, see `kept`."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"threads": now.threads, "choice": chosen.choice._asdict(), "ratios": chosen.ratios}
    write_json_atomic(folder / _FILE, {"fingerprint": fingerprint, **told})


def tried(trainer: Packed, window: Window, seen: Tried | None) -> Chosen:
    """Return the fastest way to do a pass on `window`, tried only as far as the training is long enough for it.

    Weights, gradients and random state stay as they were. With several processes nothing is tried: they would have to
    agree, and each would be timed while the others compute.

    Args:
        window: the one that was rehearsed, whose memory is known to suffice.
        seen: by the rehearsal.
    """
    settings, host = trainer.settings, trainer.work.host
    now = as_set(settings, host)
    if seen is None:
        return Chosen(now, {}, why="there was no pass before the training to time")
    expected = seen.seconds * trainer.schedule.tokens / seen.tokens
    if expected < WORTH:
        return Chosen(now, {}, why=f"the training is shorter than {WORTH / 60:.0f} minutes", aloud=False)
    if Processes.here().total > 1:
        return Chosen(now, {}, why="several processes would have to agree")
    compiled = settings.compile == "auto"
    ways = [*_fewer_threads(now, host), *_wider(trainer, window, now)]
    if not ways and not compiled:
        return Chosen(now, {}, why="there is nothing to choose from", aloud=False)
    with untouched(trainer):
        trainer.model.train()
        clock = Clock(trainer, window, now)
        chosen = choose(now, ways, compiled, clock, expected, seen.seconds)
        clock.set(chosen.choice)
    return chosen


def choose(
    now: Choice, ways: list[tuple[str, Choice]], compiled: bool, clock: Clock, expected: float, first: float
) -> Chosen:
    """Return the fastest of some ways to do a pass.

    Args:
        now: what is done without a trial.
        ways: what may be done instead, each by the name of what it changes ("threads", "fp32").
        compiled: whether to try to compile.
        expected: seconds of the training.
        first: seconds of a pass, as far as is known.
    """
    start, budget, ratios = clock.now(), SHARE * expected, dict[str, float]()
    left_out: list[str] = []

    def room(more: float, passes: int = _PASSES) -> bool:
        return clock.now() - start + more + passes * first <= budget

    if not room(0.0, 2 * _PASSES - 1):
        return Chosen(now, {}, why=f"{SHARE:.0%} of the training is too short to try anything")
    best, took = now, clock.seconds(now, warm=False)
    for name, way in ways:
        if not room(0.0):
            left_out.append(_name(name, way))
            continue
        changed = best._replace(**({"threads": way.threads} if name == "threads" else {"precision": way.precision}))
        other = clock.seconds(changed)
        if took / other >= FASTER[name]:
            ratios[_name(name, best)], best, took = took / other, changed, other
        else:
            ratios[_name(name, way)] = other / took
    why: list[str] = []
    if compiled and room(COMPILING):
        best = _compiled(best, took, clock, expected, ratios, why)
    elif compiled:
        left_out.append("compiled")
    if left_out:
        why.append(f"no time for {', '.join(left_out)}")
    rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
    return Chosen(best, rounded, round(clock.now() - start, 3), "; ".join(why) or None)


def _compiled(
    best: Choice, took: float, clock: Clock, expected: float, ratios: dict[str, float], why: list[str]
) -> Choice:
    """Return `best`, compiled where that wins back its own time."""
    before, way = clock.now(), best._replace(compile=True)
    try:
        other = clock.seconds(way)
    except Exception as error:  # of whatever compiler, or of none: the training does not need it
        clock.set(best)
        why.append(f"compiling does not work here: {(str(error) or type(error).__name__).splitlines()[0]}")
        return best
    compiling = clock.now() - before - _PASSES * other
    saved = expected * (1 - other / took)
    if took / other >= FASTER["compile"] and saved > compiling:
        ratios["not compiled"] = took / other
        return way
    clock.set(best)
    ratios["compiled"] = other / took
    return best


def _name(what: str, way: Choice) -> str:
    if what == "threads":
        return f"{way.threads} thread{'s' * (way.threads != 1)}"
    return "bf16" if way.precision == "auto" else way.precision  # an `auto` of anything else is not tried


class Clock:
    """Times passes of a trainer on a window, worked out as a choice says.

    Args:
        now: how they are worked out at first.
    """

    now = staticmethod(time.perf_counter)

    def __init__(self, trainer: Packed, window: Window, now: Choice) -> None:
        self._trainer, self._window, self._first, self._set = trainer, window, now, now

    def seconds(self, choice: Choice, warm: bool = True) -> float:
        """Return the time of the faster of two passes, after one that warms up."""
        self.set(choice)
        times = []
        for _ in range(_PASSES if warm else _PASSES - 1):
            start = self.now()
            pass_through(self._trainer, self._window, self._format(choice))
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(self.now() - start)
            self._trainer.model.zero_grad(set_to_none=True)
        return min(times[-2:])

    def set(self, choice: Choice) -> None:
        """Let passes be worked out so from here on; the number format is a matter of each pass."""
        torch.set_num_threads(choice.threads)
        if choice.compile != self._set.compile:
            (compile_layers if choice.compile else uncompile_layers)(self._trainer.model)
        self._set = choice

    def _format(self, choice: Choice) -> contextlib.AbstractContextManager[Any]:
        if choice.precision != self._first.precision:
            return contextlib.nullcontext()  # float32, which the weights are in
        autocast: contextlib.AbstractContextManager[Any] = self._trainer.accelerator.autocast()
        return autocast


def _fewer_threads(now: Choice, host: Host) -> Iterator[tuple[str, Choice]]:
    """Yield one thread a core where the cores that may be used run two each."""
    cores = physical_cores()
    if not host.gpus and cores is not None and cores < now.threads:
        yield "threads", now._replace(threads=cores)


def _wider(trainer: Packed, window: Window, now: Choice) -> Iterator[tuple[str, Choice]]:
    """Yield float32 where the recipe leaves the format to the machine, the weights are in it and it fits the memory."""
    settings, host = trainer.settings, trainer.work.host
    if host.gpus or settings.precision != "auto" or settings.adapter or precision_on(host, "auto") != "bf16":
        return
    config = trainer.model.config.get_text_config().to_dict()
    plan = foretold(config, [window], trainer.schedule.accumulate, settings._replace(precision="fp32"), host)
    if plan is not None and plan.memory.peak <= plan.machine.memory:
        yield "fp32", now._replace(precision="fp32")


def physical_cores(system: Path = Path("/sys/devices/system/cpu")) -> int | None:
    """Return how many cores the processors that this process may run on belong to, or None where nobody says."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    try:
        return len({(system / f"cpu{at}/topology/thread_siblings_list").read_text() for at in os.sched_getaffinity(0)})
    except OSError:
        return None
