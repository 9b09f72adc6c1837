"""Hostile programs: all contained, the machine unchanged, nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from metier.core import Mistake
from metier.core.sandbox import Limits, Outcome, Sandbox, kind_here
from metier.core.sandbox import run as module

walls = pytest.mark.skipif(kind_here() != "namespaces", reason="this machine offers no namespaces")
LIMITS = Limits(seconds=4, memory_bytes=256 << 20, disk_bytes=8 << 20, output_bytes=1 << 16, processes=20)


QUICK = LIMITS._replace(seconds=1)


def run(program: str, limits: Limits = LIMITS, stdin: str = "") -> Outcome:
    return Sandbox(limits, weak=True).run(["python", "main.py"], {"main.py": program}, stdin)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> object:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    deadline = time.monotonic() + 5
    while (left := {p.pid for p in psutil.Process().children(recursive=True)} - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_a_program_reads_its_input_and_files_and_its_exit_code_is_told() -> None:
    outcome = Sandbox(LIMITS, weak=True).run(
        ["python", "main.py"],
        {"main.py": "import sys; print(open('data/a.txt').read() + input()); sys.exit(3)", "data/a.txt": "file "},
        stdin="in\n",
    )
    assert (outcome.exit_code, outcome.stdout, outcome.stopped) == (3, "file in\n", None)


def test_the_signal_that_ended_a_program_is_told() -> None:
    assert run("import os; os.abort()").exit_code == 128 + signal.SIGABRT
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)").exit_code == 128 + signal.SIGTERM


def test_text_in_and_out_may_be_large_and_unread() -> None:
    assert run("print(len(open(0).read()))", stdin="x" * 3_000_000).stdout == "3000000\n"
    assert run("pass", stdin="x" * 3_000_000).ok


def test_an_endless_program_ends_with_its_time() -> None:
    start = time.monotonic()
    assert run("while True: pass", QUICK).stopped == "time"
    assert run("import os, time; os.close(1); os.close(2); time.sleep(60)", QUICK).stopped == "time"
    assert time.monotonic() - start < 2 * QUICK.seconds + 5


def test_endless_output_is_cut() -> None:
    outcome = run("while True: print('x' * 1000)")
    assert outcome.stopped == "output" and len(outcome.stdout) <= LIMITS.output_bytes


def test_memory_of_one_process_and_of_many_is_bounded() -> None:
    assert "MemoryError" in run("x = bytearray(10 << 30)").stderr
    many = "import os, time\nfor _ in range(8): os.fork()\nx = bytearray(150 << 20)\ntime.sleep(60)"
    outcome = run(many)
    assert outcome.stopped == "memory" or not outcome.ok


@walls
def test_a_fork_bomb_stays_small_and_ends() -> None:
    outcome = run("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", QUICK)
    assert outcome.stopped == "time"


@walls
def test_the_disk_cannot_be_filled_by_one_file_or_by_many() -> None:
    one = run("f = open('x', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()")
    assert "No space left" in one.stderr or "File too large" in one.stderr
    many = run("n = 0\nwhile True: open(f'f{n}', 'wb').write(bytes(1 << 16)); n += 1")
    assert "No space left" in many.stderr


@walls
def test_there_is_no_network_not_even_to_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tried = run(f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)")
    assert "Network is unreachable" in tried.stderr or "refused" in tried.stderr


@walls
def test_files_of_the_machine_can_be_neither_seen_nor_deleted_nor_written(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("precious")
    probe = f"""
import os, shutil
for path in ({str(secret)!r}, '/etc/passwd', '/etc/shadow', '/root/.ssh', '/home'):
    print(os.path.exists(path), end=' ')
for path in ('/usr/games', '/etc', '/root', '/proc'):
    shutil.rmtree(path, ignore_errors=True)
for path in ('/usr/x', '/bin/x', '/x', '/etc/x', '/dev/x'):
    try: open(path, 'w'); print('wrote', path)
    except OSError: pass
print(os.path.exists('/usr/bin'))
"""
    assert run(probe).stdout.split() == ["False"] * 5 + ["True"]
    assert secret.read_text() == "precious"


@walls
def test_links_lead_nowhere_outside() -> None:
    probe = """
import os
os.symlink('/etc/shadow', 'a')
os.symlink('../../../../root', 'b')
print(os.path.exists('a'), os.listdir('b') if os.path.isdir('b') else None)
"""
    outcome = run(probe)
    assert outcome.stdout.startswith("False") and ".ssh" not in outcome.stdout


@walls
def test_other_processes_can_be_neither_seen_nor_signalled() -> None:
    victim = subprocess.Popen(["sleep", "60"])
    try:
        seen = run(
            f"import os\nprint(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))\n"
            f"try: os.kill({victim.pid}, 9)\nexcept OSError as error: print(error)\n"
            "try: os.kill(-1, 9)\nexcept OSError as error: print(error)"
        )
        assert victim.poll() is None
        assert str(victim.pid) not in seen.stdout.splitlines()[0] if seen.stdout else True
    finally:
        victim.kill()
        victim.wait()


@walls
def test_proc_and_the_kernel_cannot_be_written_and_no_privilege_is_gained() -> None:
    probe = """
import ctypes, os
for path in ('/proc/sys/kernel/hostname', '/proc/sysrq-trigger', '/proc/1/mem', '/proc/self/oom_score_adj'):
    try: open(path, 'wb', buffering=0).write(b'-1000' if 'oom' in path else b'x'); print('wrote', path)
    except OSError: pass
libc = ctypes.CDLL(None)
print(os.getuid() != 0, libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.setuid(0), libc.unshare(0x00020000))
print([line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapPrm', 'NoNewPrivs'))])
"""
    lines = run(probe).stdout.splitlines()
    assert lines[0] == "True -1 -1 -1"
    assert set(lines[1].replace("'", "").strip("[]").split(", ")) == {"0" * 16, "1"}


@walls
def test_no_namespace_of_its_own_gives_a_program_what_it_gave_up() -> None:
    probe = """
import ctypes, os, subprocess, threading
libc = ctypes.CDLL(None, use_errno=True)
print([libc.unshare(kind) for kind in (0x10000000, 0x10000000 | 0x00020000, 0x80)])
clone = {'x86_64': 56}.get(os.uname().machine, 220)
print(libc.syscall(clone, 0x10000000 | 17, 0, 0, 0, 0), ctypes.get_errno())
print(libc.syscall(435, 0, 0), ctypes.get_errno())
thread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()
print(subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout, end='')
"""
    assert run(probe).stdout.splitlines() == ["[-1, -1, -1]", "-1 1", "-1 38", "thread", "child"]


@walls
def test_memory_that_belongs_to_no_process_is_not_to_be_had() -> None:
    assert "Operation not permitted" in run("import os\nos.memfd_create('x')").stderr
    assert run("import ctypes\nprint(ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600))").stdout == "-1\n"


@walls
def test_a_process_that_left_its_parent_ends_with_it() -> None:
    before = set(psutil.pids())
    outcome = run("import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(300)")
    assert outcome.seconds <= LIMITS.seconds + 1
    time.sleep(0.2)
    sleepers = [
        p for p in set(psutil.pids()) - before if _command(p).startswith(sys.executable) and "main.py" in _command(p)
    ]
    assert not sleepers


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


@walls
def test_the_program_dies_with_metier() -> None:
    code = (
        "from metier.core.sandbox import Sandbox, Limits\n"
        "Sandbox(Limits(seconds=100)).run(['python', 'm.py'], {'m.py': 'import time; time.sleep(97.25)'})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 10
    while not (inner := _below(parent.pid, "m.py")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert inner
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(inner, timeout=5)
    assert not alive


def _below(pid: int, word: str) -> list[psutil.Process]:
    try:
        return [p for p in psutil.Process(pid).children(recursive=True) if word in p.cmdline()]
    except psutil.Error:
        return []


def test_a_file_may_not_lead_out_of_the_folder() -> None:
    with pytest.raises(Mistake, match="out of its folder"):
        Sandbox(LIMITS, weak=True).run(["python", "x"], {"../x": ""})
    with pytest.raises(Mistake, match="out of its folder"):
        Sandbox(LIMITS, weak=True).run(["python", "x"], {"/tmp/x": ""})


def test_a_machine_without_walls_must_be_accepted_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "kind_here", lambda: "limits")
    with pytest.raises(Mistake, match="cannot keep an untrusted program"):
        Sandbox(LIMITS)
    weak = Sandbox(QUICK, weak=True)
    assert weak.kind == "limits" and weak.run(["python", "-c", "print(6 * 7)"]).stdout == "42\n"
    assert weak.run(["python", "-c", "while True: pass"]).stopped == "time"


def test_a_command_that_is_not_there_is_no_traceback() -> None:
    outcome = Sandbox(LIMITS, weak=True).run(["no-such-program"])
    assert (outcome.exit_code, outcome.stderr) == (127, "no-such-program: No such file or directory\n")
