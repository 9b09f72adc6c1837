"""What a local worker does: it answers tasks on a connection until that is closed.

It dies with the process that started it, at once and even inside C code that never returns: the lifeline is a pipe
whose other end only that process holds, and the kernel sends SIGIO, which nothing here catches, when it closes. POSIX.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import sys
from multiprocessing.connection import Connection

from metier.corpus.engine.answers import Answer, imported, what_happened

READY = b"ready"


def main(connection_number: int, lifeline: int, memory_bytes: int) -> None:
    """Serve the connection until it is closed.

    Each message is a pickled pair of pickles: the function, or None if it is the one sent last, and the task.
    """
    _die_with(lifeline)
    _bound_memory(memory_bytes)
    connection: Connection[bytes, bytes] = Connection(connection_number)
    connection.send_bytes(READY)
    source, function = b"", None
    while True:
        try:
            told, task = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        if told is not None:
            source, function = told, None
        try:
            if function is None:
                function = imported(source)
            message = pickle.dumps(Answer("done", function(imported(task))), pickle.HIGHEST_PROTOCOL)
        except BaseException as error:
            message = pickle.dumps(what_happened(error), pickle.HIGHEST_PROTOCOL)
        try:
            connection.send_bytes(message)
        except BrokenPipeError:
            return


def _die_with(lifeline: int) -> None:
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    # The other end may have closed before the kernel knew that we wanted to hear of it.
    if select.select([lifeline], [], [], 0)[0]:
        sys.exit()


def _bound_memory(limit_bytes: int) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
