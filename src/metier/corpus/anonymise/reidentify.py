"""The re-identification map: which stand-in is whose, encrypted, written only where it is asked for.

Every batch of documents writes one file into `reidentification/`: a header with the salt, and the pairs, encrypted with
AES-256-GCM under a key that scrypt makes from the passphrase. A file that was changed does not open. Whoever has the
passphrase and a file can read it: keep them apart, and neither with the corpus.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from metier.core import Failure, Mistake
from metier.core.files import write_bytes_atomic
from metier.corpus.anonymise.keys import derived

FOLDER = "reidentification"
_MAGIC = b"metier re-identification map 1\n"
_SALT_BYTES, _NONCE_BYTES = 16, 12


class Entry(NamedTuple):
    """One pair. `label` is the finest name of the kind ("id de steuer-id")."""

    label: str
    pseudonym: str
    value: str

    def __repr__(self) -> str:
        return f"Entry({self.label!r})"  # a value never gets into a log by way of a traceback


def new_salt() -> bytes:
    """Return a salt for a new map."""
    return os.urandom(_SALT_BYTES)


def seal(folder: Path, name: str, entries: Iterable[Entry], passphrase: bytes, salt: bytes) -> None:
    """Write pairs, encrypted, as `reidentification/NAME.map` below an artifact's folder, whole or not at all."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    rows = sorted({tuple(entry) for entry in entries})
    plain = json.dumps(rows, ensure_ascii=False).encode("utf-8", "replace")
    nonce = os.urandom(_NONCE_BYTES)
    head = _MAGIC + salt
    body = AESGCM(derived(passphrase, salt)).encrypt(nonce, plain, head)
    path = folder / FOLDER / f"{sha256(name.encode()).hexdigest()[:24]}.map"
    path.parent.mkdir(exist_ok=True)
    write_bytes_atomic(path, head + nonce + body)


def entries(folder: Path, passphrase: bytes) -> Iterator[Entry]:
    """Yield the pairs of an artifact's map.

    Raises:
        Mistake: the artifact has no map, or the passphrase is not the map's.
        Failure: a file of the map is damaged.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    paths = sorted((folder / FOLDER).glob("*.map"))
    if not paths:
        raise Mistake(
            f"{folder.name} has no re-identification map", hint="the step writes one if asked: `reidentification: true`"
        )
    for path in paths:
        data = path.read_bytes()
        head, rest = data[: len(_MAGIC) + _SALT_BYTES], data[len(_MAGIC) + _SALT_BYTES :]
        if not head.startswith(_MAGIC) or len(rest) <= _NONCE_BYTES:
            raise Failure(f"{path.name} is no re-identification map", hint="the file is damaged, or another program's")
        key = derived(passphrase, head[len(_MAGIC) :])
        try:
            plain = AESGCM(key).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head)
        except InvalidTag:
            raise Mistake(
                f"{path.name} does not open",
                found="another passphrase than the map was made with, or a file that was changed",
                hint="set the passphrase that the step was run with",
            ) from None
        yield from (Entry(*row) for row in json.loads(plain))


def restore(text: str, pairs: Iterable[Entry]) -> str:
    """Return a text with its stand-ins replaced by the values they stand for.

    A stand-in that several values share is left as it is: which of them was meant cannot be told.
    """
    values: dict[str, set[str]] = {}
    for entry in pairs:
        values.setdefault(entry.pseudonym, set()).add(entry.value)
    known = {pseudonym: next(iter(found)) for pseudonym, found in values.items() if len(found) == 1}
    if not known:
        return text
    longest_first = sorted(known, key=lambda pseudonym: (-len(pseudonym), pseudonym))
    pattern = re.compile("|".join(map(_alone, longest_first)))
    return pattern.sub(lambda match: known[match[0]], text)


def _alone(pseudonym: str) -> str:
    """Return a pattern for a stand-in that is no part of a longer word; Chinese beside it makes none of it."""
    before = r"(?<![0-9A-Za-z_])" if pseudonym[0].isascii() and pseudonym[0].isalnum() else ""
    after = r"(?![0-9A-Za-z_])" if pseudonym[-1].isascii() and pseudonym[-1].isalnum() else ""
    return f"{before}{re.escape(pseudonym)}{after}"
