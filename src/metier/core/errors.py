"""Errors that say what went wrong, what was found, and what to do."""

from __future__ import annotations

import errno


class Problem(Exception):  # noqa: N818 - "Problem" is what the user reads; Mistake and Failure are its two kinds
    """Something the user is told in three lines and never as a traceback.

    Args:
        what: the problem in one sentence, with the place (`rows.jsonl:812 has no 'output'`).
        found: what was there instead.
        hint: the next thing to do.
    """

    exit_code = 1

    def __init__(self, what: str, found: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.found, self.hint = what, found, hint

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        if self.found is not None:
            lines.append(f"  found: {self.found}")
        if self.hint is not None:
            lines.append(f"  hint:  {self.hint}")
        return "\n".join(lines)


class Mistake(Problem):
    """The input, the recipe or the machine is not as needed, and the user can mend it. Exit code 2."""

    exit_code = 2


class Failure(Problem):
    """The work itself failed. Exit code 1."""

    exit_code = 1


_DISK = {
    errno.ENOSPC: (
        "the disk is full",
        "free some space and run the same command again: finished work is kept",
    ),
    errno.EDQUOT: (
        "the disk quota is used up",
        "free some space and run the same command again: finished work is kept",
    ),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written with --workshop"),
    errno.ENOTDIR: ("a part of the path is not a folder", "choose another folder, or move the file that is in the way"),
    errno.EEXIST: ("a file is in the way, not a folder", "choose another folder, or move the file that is in the way"),
    errno.EACCES: ("permission denied", "check the owner and the mode of that path"),
    errno.EPERM: ("permission denied", "check the owner and the mode of that path"),
    errno.EFBIG: ("a file would be larger than this file system or its limits allow", "raise `ulimit -f`"),
}


def from_os_error(error: OSError, doing: str) -> Problem | None:
    """Return the Mistake behind an operating-system error met while `doing` something, or None if it is not one.

    Libraries wrap such errors, so the chain of causes is searched too.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _DISK:
            what, hint = _DISK[cause.errno]
            where = f": {cause.filename}" if cause.filename else ""
            return Mistake(f"{what}, while {doing}", found=f"{cause.strerror}{where}", hint=hint)
        cause = cause.__cause__ or cause.__context__
    return None
