"""Why a download failed, as a key of the ledger."""

from __future__ import annotations

import errno
from urllib.parse import urlsplit

from scrapy import exceptions
from twisted.internet import error as network

from metier.corpus.crawl.addresses import PRIVATE, Guard

TOO_LARGE = "larger than the limit"
TIMED_OUT = "timed out"
NO_CONNECTION = "connection failed"
TRANSIENT = frozenset({TIMED_OUT, NO_CONNECTION, "connection refused", "host name not found", "answer cut short"})
"""Reasons that may pass: what failed for one of them is tried again."""
_DECODERS = frozenset({"zlib", "gzip", "brotli", "_brotli", "backports", "compression"})


class Refused(exceptions.IgnoreRequest):
    """This crawler decided not to fetch a page; the message is the reason, as it stands in the ledger."""


def reason_of(error: BaseException, guard: Guard, url: str) -> str:
    """Return why a download ended in an exception."""
    host = (urlsplit(url).hostname or "").lower()
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, exceptions.CannotResolveHostError):
        return PRIVATE if host in guard.refused_hosts or guard.host_reason(host) else "host name not found"
    if isinstance(error, exceptions.DownloadConnectionRefusedError):
        return "connection refused"
    if isinstance(error, exceptions.DownloadTimeoutError | network.TimeoutError):
        return TIMED_OUT
    # Scrapy cancels a body that grows past the limit, and ignores one that unpacks beyond it.
    if isinstance(error, exceptions.DownloadCancelledError | exceptions.IgnoreRequest):
        return TOO_LARGE
    if isinstance(error, exceptions.ResponseDataLossError):
        return "answer cut short"
    if isinstance(error, exceptions.DownloadFailedError):
        return _connection(error.__cause__)
    if isinstance(error, OSError) and error.errno is not None:
        return PRIVATE if error.errno == errno.EACCES else NO_CONNECTION
    if isinstance(error, EOFError | OSError) or type(error).__module__.partition(".")[0] in _DECODERS:
        return "damaged content encoding"
    return NO_CONNECTION if isinstance(error, network.ConnectError) else f"download failed ({type(error).__name__})"


def _connection(cause: BaseException | None) -> str:
    # Twisted's ResponseFailed and ResponseNeverReceived hold what went wrong below them.
    for failure in getattr(cause, "reasons", []):
        if type(failure.value).__module__.startswith("OpenSSL") or "VerificationError" in type(failure.value).__name__:
            return "certificate not trusted"
    return NO_CONNECTION
