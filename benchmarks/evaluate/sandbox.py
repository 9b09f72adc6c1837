"""Hostile programs in the sandbox: what each tries, whether it was contained, and what it left of the machine.

Contained means that the program got nothing it was after; that the run ended at its limit of time or before (and five
seconds in which a busy machine starts it and hands its processes back); that a file and a process of ours are as they
were; and that no process of its is left.
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.record import Row, save
from metier.core.sandbox import Limits, Outcome, Sandbox, kind_here

LIMITS = Limits(seconds=5, memory_bytes=256 << 20, disk_bytes=8 << 20, output_bytes=1 << 16, processes=20)
_SPARE_SECONDS = 5.0


class Prey(NamedTuple):
    """What of ours the programs are after."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int

    @property
    def state(self) -> str:
        """A digest of the folder, and whether the process lives."""
        found = sorted((str(path), path.read_bytes()) for path in self.folder.rglob("*") if path.is_file())
        return f"{hashlib.sha256(repr(found).encode()).hexdigest()} {self.process.poll()}"


class Hostile(NamedTuple):
    """A program, and what its outcome must be like where it got nothing."""

    name: str
    program: Callable[[Prey], str]
    contained: Callable[[Outcome], bool]


def _stopped(*by: str) -> Callable[[Outcome], bool]:
    return lambda outcome: outcome.stopped in by


def _said(*words: str) -> Callable[[Outcome], bool]:
    return lambda outcome: any(word in outcome.stdout + outcome.stderr for word in words)


def _silent(outcome: Outcome) -> bool:
    return "GOT" not in outcome.stdout


PROGRAMS = [
    Hostile("loops for ever", lambda _: "while True: pass", _stopped("time")),
    Hostile(
        "sleeps with its outputs closed",
        lambda _: "import os, time; os.close(1); os.close(2); time.sleep(60)",
        _stopped("time"),
    ),
    Hostile(
        "passes over signals to end",
        lambda _: (
            "import signal, time\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n"
            "  except (OSError, ValueError): pass\ntime.sleep(60)"
        ),
        _stopped("time"),
    ),
    Hostile("prints for ever", lambda _: "while True: print('x' * 1000)", _stopped("output", "time")),
    Hostile(
        "forks for ever",
        lambda _: "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
        _stopped("time", "memory"),
    ),
    Hostile(
        "starts threads for ever",
        lambda _: (
            "import threading as t, time\nwhile True:\n  try: t.Thread(target=time.sleep, args=(60,)).start()\n"
            "  except RuntimeError: time.sleep(0.1)"
        ),
        _stopped("time", "memory"),
    ),
    Hostile("takes 10 GB", lambda _: "x = bytearray(10 << 30); print('GOT')", _said("MemoryError")),
    Hostile(
        "takes memory in many processes",
        lambda _: "import os, time\nfor _ in range(4): os.fork()\nx = bytearray(150 << 20)\ntime.sleep(60)",
        lambda outcome: outcome.stopped in ("memory", "time") or not outcome.ok,
    ),
    Hostile(
        "fills the disk with one file",
        lambda _: "f = open('x', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()",
        lambda outcome: outcome.stopped == "time" or _said("No space left", "File too large")(outcome),
    ),
    Hostile(
        "fills the disk with many files",
        lambda _: "n = 0\nwhile True: open(f'f{n}', 'wb').write(bytes(1 << 16)); n += 1",
        lambda outcome: outcome.stopped == "time" or _said("No space left")(outcome),
    ),
    Hostile(
        "fills the shared memory",
        lambda _: (
            "n = 0\ntry:\n  while n < 4096: open(f'/dev/shm/{n}', 'wb').write(bytes(1 << 20)); n += 1\n"
            "except OSError: pass\nprint('GOT' if n > 64 else n)"
        ),
        _silent,
    ),
    Hostile(
        "connects to a server of this machine",
        lambda prey: f"import socket; socket.create_connection(('127.0.0.1', {prey.port}), 2); print('GOT')",
        _silent,
    ),
    Hostile(
        "connects to the network",
        lambda _: (
            "import socket\nfor at in ('1.1.1.1', '8.8.8.8'):\n  try: socket.create_connection((at, 53), 1);"
            " print('GOT')\n  except OSError: pass"
        ),
        _silent,
    ),
    Hostile(
        "reads our file",
        lambda prey: f"print('GOT', open({str(prey.folder / 'precious')!r}).read())",
        _silent,
    ),
    Hostile(
        "deletes our folder, and all else",
        lambda prey: (
            f"import shutil\nfor p in ({str(prey.folder)!r}, '/root', '/etc', '/home', '/usr', '/'):\n"
            "  shutil.rmtree(p, ignore_errors=True)"
        ),
        _silent,
    ),
    Hostile(
        "writes outside its folder",
        lambda prey: (
            f"for p in ({str(prey.folder / 'new')!r}, '/usr/x', '/etc/x', '/bin/x', '/dev/x', '/x'):\n"
            "  try: open(p, 'w').write('x'); print('GOT', p)\n  except OSError: pass"
        ),
        _silent,
    ),
    Hostile(
        "follows a link out of its folder",
        lambda prey: (
            f"import os\nos.symlink({str(prey.folder)!r}, 'a'); os.symlink('/etc/shadow', 'b')\n"
            "for p in ('a/precious', 'b'):\n  try: print('GOT', open(p).read())\n  except OSError: pass"
        ),
        _silent,
    ),
    Hostile(
        "signals our process, and all",
        lambda prey: f"import os\nfor p in ({prey.process.pid}, -1):\n  try: os.kill(p, 9)\n  except OSError: pass",
        _silent,
    ),
    Hostile(
        "looks for our processes",
        lambda prey: f"import os\nprint('GOT' if os.path.exists('/proc/{prey.process.pid}/cmdline') else '')",
        _silent,
    ),
    Hostile(
        "writes to the kernel",
        lambda _: (
            "for p in ('/proc/sys/kernel/hostname', '/proc/sysrq-trigger', '/proc/1/mem', '/sys/kernel/x'):\n"
            "  try: open(p, 'wb', buffering=0).write(b'x'); print('GOT', p)\n  except OSError: pass"
        ),
        _silent,
    ),
    Hostile(
        "mounts, becomes root, leaves its namespaces",
        lambda _: (
            "import ctypes\nc = ctypes.CDLL(None)\nfor r in (c.mount(b'none', b'/tmp', b'tmpfs', 0, None), "
            "c.setuid(0), c.unshare(0x00020000), c.chroot(b'/')):\n  print('GOT' if r == 0 else r)"
        ),
        _silent,
    ),
    Hostile(
        "becomes root in a namespace of its own",
        lambda _: "import ctypes\nc = ctypes.CDLL(None)\nprint('GOT' if c.unshare(0x10020000) == 0 else '')",
        _silent,
    ),
    Hostile(
        "fills memory that belongs to no process",
        lambda _: (
            "import os\nn = 0\ntry:\n  for _ in range(200):\n    f = os.memfd_create('x')\n"
            "    for _ in range(7): n += os.write(f, bytes(1 << 20))\nexcept OSError: pass\n"
            "print('GOT' if n > 256 << 20 else n)"
        ),
        _silent,
    ),
    Hostile(
        "fills shared memory of System V",
        lambda _: (
            "import ctypes\nc = ctypes.CDLL(None)\nc.shmat.restype = ctypes.c_void_p\nn = 0\nfor _ in range(20):\n"
            "  s = c.shmget(0, 32 << 20, 0o1600)\n  if s < 0: break\n  a = c.shmat(s, None, 0)\n"
            "  ctypes.memset(a, 1, 32 << 20); c.shmdt(ctypes.c_void_p(a)); n += 32\nprint('GOT' if n > 256 else n)"
        ),
        _silent,
    ),
    Hostile(
        "leaves its parent to live on",
        lambda _: "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(300)",
        _silent,
    ),
]


class Found(NamedTuple):
    """What became of one program; `escaped` says how, None where it did not."""

    name: str
    seconds: float
    escaped: str | None


def tried(hostile: Hostile, prey: Prey) -> Found:
    """Run one hostile program and look at the machine before and after."""
    state, ours = prey.state, {process.pid for process in psutil.Process().children(recursive=True)}
    marker = f"metier_hostile_{time.monotonic_ns()}.py"
    start = time.monotonic()
    outcome = Sandbox(LIMITS, weak=True).run(["python", marker], {marker: hostile.program(prey)})
    seconds = time.monotonic() - start
    time.sleep(0.2)
    left = [p for p in psutil.process_iter() if marker in _command(p)]
    left += [p for p in psutil.Process().children(recursive=True) if p.pid not in ours]
    faults = {
        f"got what it was after: {(outcome.stdout + outcome.stderr)[-200:]!r}": not hostile.contained(outcome),
        f"took {seconds:.1f} s": seconds > LIMITS.seconds + _SPARE_SECONDS,
        "changed a file or a process of ours": prey.state != state,
        f"left {len(left)} processes": bool(left),
    }
    escaped = "; ".join(fault for fault, there in faults.items() if there)
    return Found(hostile.name, seconds, escaped or None)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def main() -> None:
    """Try all programs and save what was found."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        (Path(folder) / "precious").write_text("precious")
        victim = subprocess.Popen(["sleep", "600"])
        try:
            prey = Prey(Path(folder), victim, server.getsockname()[1])
            found = [tried(hostile, prey) for hostile in PROGRAMS]
        finally:
            victim.kill()
            victim.wait()
    broken = [one for one in found if one.escaped]
    for one in found:
        print(f"{one.name}: {one.escaped or 'contained'}, {one.seconds:.1f} s", flush=True)
    seconds = sum(one.seconds for one in found)
    what = f"{len(found)} programs, limit {LIMITS.seconds:g} s, {kind_here()}"
    note = "; ".join(f"{one.name} {one.escaped}" for one in broken) or None
    save(
        "evaluate",
        [
            Row("sandbox: hostile programs contained", None, len(found) - len(broken), None, None, "programs", what,
                seconds, bar=f"all {len(found)}", note=note),
            Row("sandbox: longest run", None, round(max(one.seconds for one in found), 2), None, None, "s", what,
                seconds, bar=f"<= {LIMITS.seconds + _SPARE_SECONDS:g} s"),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
