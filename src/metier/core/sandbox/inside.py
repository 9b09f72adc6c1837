"""The program between Metier and the untrusted one: builds the walls, then becomes it. Imports nothing of Metier.

Run as `python -I -S inside.py FD`, where FD holds a JSON object: command, files, limits, readable, namespaces, uid.
Exit code 125 means that the walls could not be built; the reason is on standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1, 2, 4, 8, 32, 4096, 16384, 1 << 18,
)  # fmt: skip
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_SECCOMP = 1, 38, 24, 22
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
# Calls that a program does without, by number: https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
# Namespaces of its own, in which it would have every capability; keyrings and interfaces by which faults of the kernel
# are often reached; and memory that belongs to no process, which no limit counts.
REFUSED = {
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
}  # fmt: skip
CLONE, CLONE3 = (56, 220), 435
# AUDIT_ARCH_* of linux/audit.h, and which of the two numbers of a call it has.
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1), "riscv64": (0xC00000F3, 1)}
CLONE_NEWANY = 0x7E020000  # every kind of namespace
DEVICES = ("null", "zero", "full", "random", "urandom")
WALLS_FAILED, COMMAND_FAILED = 125, 127
ROOT, WORK = "/tmp", "/box"

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError if a call of libc failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    encoded = [value.encode() if value is not None else None for value in (source, target, kind)]
    check(libc.mount(*encoded, ctypes.c_ulong(flags), data.encode() if data else None), f"mount {target}")


def bind(source: str, target: str, flags: int = 0) -> None:
    """Show `source` at `target`, read-only."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    mount(source, target, None, MS_BIND | MS_REC)
    # Flags of the file system below must be kept, or the kernel refuses them to a user's namespace.
    kept = os.statvfs(target).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
    mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | kept | flags)


def enter_namespaces(uid: int) -> None:
    """Leave the host's mounts, processes, network, names and, where needed, users behind."""
    wanted = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    if os.geteuid() == 0:
        check(libc.unshare(wanted), "unshare")
        return
    me, group = os.geteuid(), os.getegid()
    check(libc.unshare(wanted | CLONE_NEWUSER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {me} 1"), ("gid_map", f"{uid} {group} 1")):
        with open(f"/proc/self/{name}", "w") as out:
            out.write(text)


def build_root(readable: list[str], disk_bytes: int) -> None:
    """Make a small root out of memory and move into it; the host's is unmounted."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", ROOT, "tmpfs", MS_NOSUID | MS_NODEV, f"size={disk_bytes},nr_inodes=20000,mode=755")
    for path in (*SYSTEM, *readable):
        if os.path.islink(path):
            os.makedirs(os.path.dirname(ROOT + path), exist_ok=True)
            os.symlink(os.readlink(path), ROOT + path)
        elif os.path.exists(path):
            bind(path, ROOT + path, MS_NODEV)
    for name in DEVICES:
        bind(f"/dev/{name}", f"{ROOT}/dev/{name}")
    for folder in (WORK, "/tmp", "/proc", "/old"):
        os.makedirs(ROOT + folder, exist_ok=True)
    mount("proc", f"{ROOT}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.chdir(ROOT)
    check(libc.syscall(ctypes.c_long(PIVOT_ROOT[platform.machine()]), b".", b"old"), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/old", MNT_DETACH), "umount")
    os.rmdir("/old")


def write_files(files: dict[str, str], folder: str, uid: int) -> None:
    """Write the program's files; they are its own, and the folder too."""
    for name, text in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogatepass") as out:
            out.write(text)
    if os.geteuid() == 0:
        for place in (folder, *([f"{folder}/../tmp"] if folder == WORK else [])):
            for parent, _, names in os.walk(place):
                for name in (".", *names):
                    os.chown(os.path.join(parent, name), uid, uid)


def set_limits(limits: dict[str, int]) -> None:
    """Set what the kernel counts for each process."""
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


def give_up_privileges(uid: int) -> None:
    """Become a user who owns nothing, for good."""
    if os.geteuid() == 0:
        for capability in range(64):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    else:
        for capability in range(64):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # forgotten by the kernel with the change of user


def refuse_calls() -> None:
    """Have the kernel refuse `REFUSED`, and clones into new namespaces, to this process and all that come of it.

    The filter is a program of classic BPF over `struct seccomp_data`: the call's number at 0, the architecture at 4,
    the low half of its first argument at 16. Programs of another architecture (32 bits on 64) are ended.
    """
    load, equal, at_least, any_bit, leave = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, end, refused, unknown = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026  # EPERM; ENOSYS
    architecture, column = ARCHITECTURES[platform.machine()]
    steps = [(load, 0, 0, 4), (equal, 1, 0, architecture), (leave, 0, 0, end), (load, 0, 0, 0)]
    steps += [(at_least, 0, 1, 0x40000000), (leave, 0, 0, unknown)]  # x32, the second table of x86-64
    for numbers in REFUSED.values():
        steps += [(equal, 0, 1, numbers[column]), (leave, 0, 0, refused)]
    # The flags of clone3 lie in memory, which a filter cannot read; without it libc calls clone.
    steps += [(equal, 0, 1, CLONE3), (leave, 0, 0, unknown)]
    steps += [(equal, 0, 3, CLONE[column]), (load, 0, 0, 16), (any_bit, 0, 1, CLONE_NEWANY), (leave, 0, 0, refused)]
    steps += [(leave, 0, 0, allow)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    check(libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0), "seccomp")


def become(plan: dict[str, object]) -> None:
    """Build the walls in the first process of the new namespaces, and run the program below it."""
    uid = int(str(plan["uid"]))
    folder = WORK if plan["namespaces"] else str(plan["folder"])
    if plan["namespaces"]:
        build_root(list(plan["readable"]), int(str(plan["disk_bytes"])))  # type: ignore[call-overload]
    with open("/proc/self/oom_score_adj", "w") as out:
        out.write("1000")  # where memory runs out, this is the first to go, and the program cannot take it back
    write_files(dict(plan["files"]), folder, uid)  # type: ignore[call-overload]
    os.chdir(folder)
    os.closerange(3, 4096)
    os.setsid()
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
    environment |= dict(plan["environment"])  # type: ignore[call-overload]
    set_limits(dict(plan["limits"]))  # type: ignore[call-overload]
    if plan["namespaces"]:
        give_up_privileges(uid)
        refuse_calls()
    command = [str(part) for part in plan["command"]]  # type: ignore[attr-defined]
    # Number 1 of a namespace hears no signal that it does not handle, abort() included: the program must not be it.
    program = os.fork()
    if program == 0:
        try:
            os.execvpe(command[0], command, environment)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            os._exit(COMMAND_FAILED)
    os.closerange(0, 3)
    while True:
        ended, status = os.wait()
        if ended == program:
            os._exit(exit_code(status))


def exit_code(status: int) -> int:
    """Return the exit code of a process, or 128 + the signal that ended it, as shells do."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def main() -> int:
    """Read the plan and carry it out."""
    descriptor = int(sys.argv[1])
    with os.fdopen(descriptor, "rb") as stream:
        plan = json.load(stream)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        if plan["namespaces"]:
            enter_namespaces(plan["uid"])
    except OSError as error:
        os.write(2, f"metier-sandbox: {error}\n".encode())
        return WALLS_FAILED
    # The first process forked here is number 1 of its namespace: when it ends, the kernel ends all the others.
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            become(plan)
        except OSError as error:
            os.write(2, f"metier-sandbox: {error}\n".encode())
        os._exit(WALLS_FAILED)
    os.closerange(0, 3)
    return exit_code(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    os._exit(main())
