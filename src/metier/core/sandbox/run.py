"""Start a program behind walls, watch it, and say how it ended."""

from __future__ import annotations

import functools
import itertools
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal, NamedTuple

from metier.core.errors import Mistake

Kind = Literal["namespaces", "limits"]

_INSIDE = Path(__file__).with_name("inside.py")
_WALLS_FAILED = 125
_POLL_SECONDS = 0.02
_FIRST_UID = 200_000  # beyond the users of any usual system; each run has its own, so that processes are counted apart
_uids = itertools.count(os.getpid() % 10_000)


class Limits(NamedTuple):
    """What one run may take.

    seconds: by the clock. memory_bytes: of each process, and of all together. disk_bytes: of the folder it works in.
    output_bytes: of standard output and error together. processes: at once, threads included.
    """

    seconds: float = 10.0
    memory_bytes: int = 512 << 20
    disk_bytes: int = 64 << 20
    output_bytes: int = 1 << 20
    processes: int = 32


class Outcome(NamedTuple):
    """How a run ended.

    exit_code: the program's, 128 + the signal that ended it, or None where a limit did; `stopped` then says which.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    stopped: str | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the program ended by itself and with success."""
        return self.exit_code == 0


class _Heard(NamedTuple):
    stdout: str
    stderr: str
    stopped: str | None


class Sandbox:
    """Run commands, one at a time.

    Args:
        limits: what each run may take.
        readable: further files and folders of the machine that programs may read, at the same place.
        weak: run with limits alone where there are no namespaces.

    Raises:
        Mistake: there are no namespaces, and `weak` is not asked for; or there is nothing at a `readable` path.
    """

    def __init__(self, limits: Limits = Limits(), readable: Sequence[Path] = (), weak: bool = False) -> None:  # noqa: B008
        self.limits, self.kind = limits, kind_here()
        self._readable = [str(path.absolute()) for path in (*_python_folders(), *readable)]
        if self.kind == "limits" and not weak:
            raise Mistake(
                "this machine cannot keep an untrusted program from its files and network",
                found="no user, mount and network namespaces",
                hint="allow unprivileged user namespaces, run as root in a container, or accept limits alone (weak)",
            )
        if lacking := [str(path) for path in readable if not path.exists()]:
            raise Mistake(
                "there is nothing that programs could read there",
                found=", ".join(lacking),
                hint="`readable` names files and folders of this machine",
            )

    def has(self, command: str) -> bool:
        """Whether a program finds `command` behind the walls."""
        return self.run(["sh", "-c", 'command -v "$0"', command]).ok

    def run(
        self,
        command: Sequence[str],
        files: Mapping[str, str] | None = None,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run `command` in a folder that holds `files` (relative path → text) and nothing else.

        "python" as the first word is the Python that runs this. Whatever the program does, this returns within the
        limits and leaves no process and no file behind.

        Raises:
            Mistake: a file's path leads out of the folder, or the walls could not be built.
        """
        for name in files or {}:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise Mistake("a file of a program leads out of its folder", found=name)
        first = os.path.realpath(sys.executable) if command[0] == "python" else command[0]
        folder = tempfile.mkdtemp(prefix="metier-box-") if self.kind == "limits" else ""
        plan = {
            "command": [first, *command[1:]],
            "files": dict(files or {}),
            "environment": dict(environment or {}),
            "readable": self._readable,
            "namespaces": self.kind == "namespaces",
            "folder": folder,
            "uid": _FIRST_UID + next(_uids) % 1_000_000,
            "disk_bytes": self.limits.disk_bytes,
            "limits": self._rlimits(),
        }
        try:
            outcome = self._watched(plan, stdin)
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        if outcome.exit_code == _WALLS_FAILED and "metier-sandbox:" in outcome.stderr:
            raise Mistake("the sandbox could not be built", found=outcome.stderr.strip().partition(": ")[2])
        return outcome

    def _rlimits(self) -> dict[str, int]:
        cpu = max(1, round(self.limits.seconds + 1))
        return {
            "CPU": cpu,
            "AS": self.limits.memory_bytes,
            "FSIZE": self.limits.disk_bytes,
            "NOFILE": 256,
            "CORE": 0,
            "MSGQUEUE": 0,
            **({"NPROC": self.limits.processes} if self.kind == "namespaces" else {}),
        }

    def _watched(self, plan: Mapping[str, object], stdin: str) -> Outcome:
        plan_out, plan_in = os.pipe()
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_INSIDE), str(plan_out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[plan_out],
            start_new_session=True,
        )
        os.close(plan_out)
        try:
            with os.fdopen(plan_in, "wb") as out:
                out.write(json.dumps(plan).encode())
            heard = self._listen(process, stdin, start + self.limits.seconds)
        finally:
            _kill(process)
        code = None if heard.stopped else process.returncode
        return Outcome(code, heard.stdout, heard.stderr, heard.stopped, round(time.monotonic() - start, 3))

    def _listen(self, process: subprocess.Popen[bytes], stdin: str, deadline: float) -> _Heard:
        """Pass on standard input, gather output, and say which limit was reached, if one was."""
        assert process.stdin and process.stdout and process.stderr
        waiting = stdin.encode("utf-8", "surrogatepass")
        gathered = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        out, err = gathered.values()
        stopped: str | None = None
        os.set_blocking(process.stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            for descriptor in gathered:
                selector.register(descriptor, selectors.EVENT_READ)
            selector.register(process.stdin, selectors.EVENT_WRITE)
            open_streams = len(gathered)
            while open_streams and stopped is None:
                for key, _ in selector.select(_POLL_SECONDS):
                    if key.fileobj is process.stdin:
                        waiting = _fed(process.stdin, waiting, selector)
                        continue
                    data = os.read(key.fd, 65536)
                    gathered[key.fd] += data
                    if not data:
                        selector.unregister(key.fd)
                        open_streams -= 1
                stopped = self._reached(process, len(out) + len(err), deadline)
            while stopped is None and process.poll() is None:  # it closed its output and goes on
                time.sleep(_POLL_SECONDS)
                stopped = self._reached(process, 0, deadline)
        most = self.limits.output_bytes
        told = [bytes(part[:most]).decode("utf-8", "replace") for part in (out, err)]
        return _Heard(told[0], told[1], stopped)

    def _reached(self, process: subprocess.Popen[bytes], output: int, deadline: float) -> str | None:
        if time.monotonic() > deadline:
            return "time"
        if output > self.limits.output_bytes:
            return "output"
        if _tree_bytes(process.pid) > self.limits.memory_bytes:
            return "memory"
        return None


@functools.cache
def kind_here() -> Kind:
    """Return what this machine offers: namespaces, or limits alone. Found by trying, once a process."""
    if not sys.platform.startswith("linux"):
        return "limits"
    box = object.__new__(Sandbox)
    box.limits, box.kind, box._readable = Limits(seconds=20), "namespaces", [str(path) for path in _python_folders()]
    try:
        return "namespaces" if box.run(["/bin/true"]).ok else "limits"
    except (Mistake, OSError):
        return "limits"


def _python_folders() -> list[Path]:
    """Return where the interpreter and its library lie, outside of the system's own folders."""
    found = {Path(sys.base_prefix), Path(os.path.realpath(sys.executable)).parents[1]}
    return sorted(path for path in found if not path.is_relative_to("/usr"))


def _fed(stream: IO[bytes], waiting: bytes, selector: selectors.BaseSelector) -> bytes:
    try:
        waiting = waiting[os.write(stream.fileno(), waiting[:65536]) :] if waiting else b""
    except BlockingIOError:
        return waiting
    except OSError:
        waiting = b""  # it reads no more
    if not waiting:
        selector.unregister(stream)
        stream.close()
    return waiting


def _tree_bytes(pid: int) -> int:
    import psutil

    try:
        family = [(root := psutil.Process(pid)), *root.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in family[1:]:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program and all it started: the first process of its namespace takes the others with it."""
    import psutil

    family: list[psutil.Process] = []
    with suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    for stream in (process.stdin, process.stdout, process.stderr):
        with suppress(OSError):
            if stream is not None:
                stream.close()
    for target in (*family, process):
        try:
            os.kill(target.pid, signal.SIGKILL)
        except OSError:
            continue
    process.wait()
    psutil.wait_procs(family, timeout=5)
