"""The keys of pseudonyms and of the re-identification map: from an environment variable or a file, never kept.

A key is in no record, log or pickle. What is written down is its check: 8 bytes of scrypt, which tell two keys apart
and cost an attacker 32 MB of memory and a tenth of a second a guess.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from metier.core import Mistake

SHORTEST = 16
_SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 2**26}


def read_key(variable: str, file: str | None = None) -> bytes:
    """Return the key in an environment variable, or in a file if one is named.

    Raises:
        Mistake: there is none, or it is shorter than 16 bytes.
    """
    if file is not None:
        try:
            key = Path(file).expanduser().read_bytes().strip()
        except OSError as error:
            raise Mistake(
                f"the key file {file} cannot be read", found=error.strerror or "", hint="name a file with the key"
            ) from None
        place = f"the file {file}"
    else:
        key = os.environ.get(variable, "").encode()
        place = f"the environment variable {variable}"
    if len(key) < SHORTEST:
        found = f"{len(key)} bytes" if key else "nothing"
        raise Mistake(
            f"{place} holds no key of at least {SHORTEST} bytes",
            found=found,
            hint="python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one; give every machine the same",
        )
    return key


def key_check(key: bytes) -> str:
    """Return what tells this key from another without giving it away."""
    return derived(key, b"metier key check").hex()[:16]


@lru_cache(maxsize=16)
def derived(key: bytes, salt: bytes) -> bytes:
    """Return 32 bytes made from a key by scrypt (RFC 7914)."""
    return hashlib.scrypt(
        key, salt=salt, dklen=32, n=_SCRYPT["n"], r=_SCRYPT["r"], p=_SCRYPT["p"], maxmem=_SCRYPT["maxmem"]
    )
