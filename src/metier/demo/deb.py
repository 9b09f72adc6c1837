"""Unpack a Debian package without dpkg: an `ar` archive with a compressed tar in it (deb(5))."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

_MAGIC = b"!<arch>\n"
_HEADER = 60


class NotADeb(Exception):  # noqa: N818 - it is a finding about a file, not a fault
    """The file is no Debian package, or one in a form that cannot be read here."""


def unpack_deb(package: Path, folder: Path) -> None:
    """Unpack the files of a Debian package below `folder`. Links and names that lead outside are refused by tarfile.

    Raises:
        NotADeb: it is damaged, or compressed with zstd where neither Python 3.14 nor the program `zstd` is there.
    """
    name, data = _data_member(package.read_bytes())
    if name.endswith(".zst"):
        data = _zstd(data)
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise NotADeb(f"{name} is damaged: {error}") from error


def _data_member(raw: bytes) -> tuple[str, bytes]:
    if not raw.startswith(_MAGIC):
        raise NotADeb("it does not begin as a Debian package does")
    at = len(_MAGIC)
    while at + _HEADER <= len(raw):
        header = raw[at : at + _HEADER]
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        try:
            size = int(header[48:58])
        except ValueError:
            raise NotADeb("a member's header is damaged") from None
        at += _HEADER
        if name.startswith("data.tar"):
            if at + size > len(raw):
                raise NotADeb("it ends too early")
            return name, raw[at : at + size]
        at += size + size % 2  # members begin at even offsets
    raise NotADeb("it has no data member")


def _zstd(data: bytes) -> bytes:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14

        return bytes(zstd.decompress(data))
    except ImportError:
        pass
    try:
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NotADeb("it is compressed with zstd, and no program `zstd` is there") from error
