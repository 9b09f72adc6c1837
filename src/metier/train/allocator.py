"""What glibc does with memory that a training frees: give it back to the system, or keep it for the next pass.

Given back, every tensor over 4 MB is a mapping of its own that the kernel fills with zeros at each pass: a tenth of the
processor's time on one core (135M parameters, 1 to 1.5 s of steps of 10 s). Kept, it lies in the heap and is used
again. But windows differ in length, so a heap gets holes that no next tensor fits: under glibc's own settings a
training that needs 4 GB was seen to hold 7.6 GB after half an hour. So memory is kept only where there is clearly room,
and up to a bound. Nothing that is computed depends on it. Elsewhere than on glibc nothing is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from metier.core import Host, Work

ROOM = 2.0
"""Memory is kept where so many times the planned peak are there."""

BOUND = 1.5
"""How many times the planned peak may be held, besides `KERNELS`; what is over it after a pass is given back."""

KERNELS = 1 << 30
"""Bytes that no trimming gives back: for every shape of a bf16 product oneDNN, and torch above it, keep the kernel they
made, up to 1024 each. With windows of 300 lengths 0.6 GB were seen (3 matrices, 0.6 MB for each of 1024 kernels)."""

_LAST, _OFTEN = 8, 6  # of the last 8 optimizer steps as many gave memory back: then each tensor may do so by itself
_LARGE = 4 << 20  # bytes of a block that is given back when it is freed
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # mallopt(3)
_MAPPINGS = 65536  # glibc's own M_MMAP_MAX
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of version 2, of version 1


def give_back() -> None:
    """Have glibc give blocks of over 4 MB back to the system when they are freed."""
    # Set by hand, the threshold no longer grows with every block that is freed.
    _tell((_M_MMAP_MAX, _MAPPINGS), (_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, 2 * _LARGE))


def keep() -> None:
    """Have glibc keep what is freed, of any size, in its heap."""
    _tell((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))


def _tell(*options: tuple[int, int]) -> None:
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for name, value in options:
            mallopt(name, value)


def return_freed_memory() -> None:
    """Give the free pages of the heap back to the system, and the free blocks of GPUs to the driver."""
    import torch

    gc.collect()
    _trim()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _trim() -> None:
    """Give back all whole pages that are free, those between blocks too."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident_bytes() -> int | None:
    """Return what this process holds of the memory now, or None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def room_for(host: Host) -> int:
    """Return the bytes that this process may have: its own, and its part of what is free on the machine.

    The limit of a container counts, which the machine's figures do not show.
    """
    import psutil

    local = os.environ.get("LOCAL_WORLD_SIZE", "1")  # processes of the training on this machine
    processes = max(1, int(local)) if local.isdigit() else 1
    free = psutil.virtual_memory().available // processes + (resident_bytes() or 0)
    room = int(min(host.memory_bytes // processes, free))
    for file in map(Path, _CGROUPS):
        with contextlib.suppress(OSError, ValueError):  # none, or the word "max"
            room = min(room, int(file.read_text()) // processes)
    return room


class Heap:
    """The heap over one training. It works inside `with`, and is told of every pass and every optimizer step.

    Args:
        bound: bytes that the process may hold; None gives everything back at once.
        resident: says what it holds.
        trim: gives free pages back.
        tell: hears when the heap changes its ways, with the reason.
    """

    def __init__(
        self,
        bound: int | None,
        tell: Callable[[str], None] = lambda _text: None,
        resident: Callable[[], int | None] = resident_bytes,
        trim: Callable[[], None] = _trim,
    ) -> None:
        self.bound, self.trims = bound, 0
        self._tell, self._resident, self._trim = tell, resident, trim
        self._trimmed = False  # in the step at work
        self._steps: deque[bool] = deque(maxlen=_LAST)

    @property
    def way(self) -> str:
        """What is done now: "keep" or "give back"."""
        return "give back" if self.bound is None else "keep"

    def __enter__(self) -> Heap:
        if self.bound is not None:
            keep()
        return self

    def __exit__(self, *_: object) -> None:
        give_back()
        if self.bound is not None:
            self._trim()

    def after_pass(self) -> None:
        """Give free pages back if the process holds more than the bound. Asking what it holds takes microseconds."""
        if self.bound is None or (self._resident() or 0) <= self.bound:
            return
        self._trim()
        self.trims += 1
        self._trimmed = True

    def after_step(self) -> None:
        """Give everything back at once from here on if nearly every step came over the bound."""
        self._steps.append(self._trimmed)
        self._trimmed = False
        if self.bound is None or sum(self._steps) < _OFTEN:
            return
        give_back()
        self._trim()
        often, held, self.bound = f"{sum(self._steps)} of {len(self._steps)} steps", self.bound / 1e9, None
        self._tell(f"freed memory is given back at once from here on: {often} came over {held:.1f} GB")


def bound_of(peak: int | None, room: int) -> int | None:
    """Return the bytes that a training may hold when what it frees is kept; None where it is to be given back.

    Args:
        peak: the most that it needs at once, as planned or measured; None where that is not known.
        room: what there is for it.
    """
    if peak is None:
        return None
    bound = int(BOUND * peak) + KERNELS
    return bound if max(ROOM * peak, bound) <= room else None


@contextlib.contextmanager
def heap_of(trainer: Any, peak: int | None, work: Work) -> Iterator[Heap]:
    """Have the heap of a training looked after while it runs; in the events is what was chosen and what came of it.

    Args:
        trainer: of transformers.
        peak: the most that it needs at once, planned or measured; None where that is not known, or it runs on GPUs.
    """
    room = room_for(work.host)

    def tell(text: str) -> None:
        work.event("heap", way="give back", step=trainer.state.global_step, reason=text)
        work.say(text)

    heap = Heap(bound_of(peak, room), tell)
    work.event("heap", way=heap.way, bound_bytes=heap.bound, peak_bytes=peak, available_bytes=room)
    callback = _callback(heap)
    trainer.add_callback(callback)
    try:
        with heap:
            yield heap
    finally:
        trainer.remove_callback(callback)


def _callback(heap: Heap) -> Any:
    import transformers

    class Passes(transformers.TrainerCallback):
        def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            heap.after_pass()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            heap.after_pass()
            heap.after_step()

    return Passes()
