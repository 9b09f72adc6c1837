"""Archives and compressed files, as streams: nothing is ever written to disk under a name that an archive chose."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from tarfile import HeaderError
from typing import BinaryIO

from metier.corpus.charset import Undecodable, decode
from metier.corpus.read.found import CUT_SHORT, DAMAGED, LOCKED, Unread, Unreadable
from metier.corpus.read.kinds import Kind, suffix_of
from metier.corpus.read.licences import MAX_BYTES, identify, is_license_file, together
from metier.corpus.read.sources import Options, Source

_INNER = {"tgz": ".tar", "tbz": ".tar", "tbz2": ".tar", "txz": ".tar", "tzst": ".tar"}
_ESCAPES = "path leaves the archive"
_LINK = "link in an archive"
_SPECIAL = "not a regular file"
_UTF8_NAME = 0x800
_BUFFER = 1 << 18


def read_zip(source: Source, options: Options, kind: Kind) -> Iterator[Unread | Source]:
    """Yield the members of a zip file, each with the licence of its folder."""
    try:
        archive = zipfile.ZipFile(source.seekable())
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise Unreadable(DAMAGED, str(error)) from None
    entries = archive.infolist()
    if len(entries) > options.max_members:
        raise Unreadable("archive with too many entries", f"{len(entries):,}")
    names = _unlike([_zip_name(info) for info in entries])
    licenses = _zip_licenses(archive, dict(zip(names, entries, strict=True)))
    for name, info in zip(names, entries, strict=True):
        if info.is_dir() or is_hidden(name):
            continue
        objection = _objection(name, stat.S_IFMT(info.external_attr >> 16))
        if objection is not None:
            yield objection
        elif info.flag_bits & 1:
            yield Unread(LOCKED, name)
        else:
            yield from _zip_member(source, archive, info, name, nearest(licenses, name))


def _zip_member(
    source: Source, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, license: str | None
) -> Iterator[Unread | Source]:
    try:
        stream = archive.open(info)
    except (zipfile.BadZipFile, RuntimeError) as error:  # NotImplementedError, of methods not known, is one of these
        yield Unread("compressed in a way not known" if "ompression" in str(error) else DAMAGED, name, str(error))
        return
    with stream:
        yield source.member(name, stream, size=info.file_size, license=license)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; without the UTF-8 mark it is in the charset of the machine that wrote it."""
    name = info.filename
    if not name.isascii() and not info.flag_bits & _UTF8_NAME:
        with suppress(UnicodeEncodeError, Undecodable):
            name = decode(name.encode("cp437"))
    return name.replace("\\", "/")


def _zip_licenses(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> dict[str, str]:
    """Return the licence by folder, from the licence files in it."""
    found: dict[str, list[str]] = {}
    for name, info in entries.items():
        folder, _, file = name.rpartition("/")
        if is_license_file(file) and info.file_size <= MAX_BYTES and not info.flag_bits & 1:
            with suppress(Exception):  # what is wrong with it is told when its turn comes
                known = identify(decode(archive.read(info)))
                if known is not None:
                    found.setdefault(folder, []).append(known)
    return {folder: license for folder, known in found.items() if (license := together(known)) is not None}


def nearest(licenses: dict[str, str], name: str) -> str | None:
    """Return the licence of the nearest folder above `name` that has one."""
    folder = name.rpartition("/")[0]
    while folder and folder not in licenses:
        folder = folder.rpartition("/")[0]
    return licenses.get(folder)


def read_tar(source: Source, options: Options, kind: Kind) -> Iterator[Unread | Source]:
    """Yield the members of a tar file. A licence file holds for what comes after it: a stream cannot look ahead."""
    licenses: dict[str, str] = {}
    seen: set[str] = set()
    count = 0
    try:
        with tarfile.open(fileobj=source.stream, mode="r|", tarinfo=_Header, bufsize=_BUFFER) as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # or it would remember every entry
                count += 1
                if count > options.max_members:
                    raise Unreadable("archive with too many entries", f"over {options.max_members:,}")
                name = info.name[2:] if info.name.startswith("./") else info.name
                if info.isdir() or is_hidden(name):
                    continue
                name = _numbered(name, seen)
                objection = _tar_objection(name, info)
                stream = None if objection is not None else archive.extractfile(info)
                if stream is None:
                    yield objection or Unread(_SPECIAL, name)
                    continue
                with stream:
                    yield _tar_member(source, name, info, stream, licenses)
    except tarfile.TarError as error:
        raise Unreadable(CUT_SHORT if "unexpected end" in str(error) else DAMAGED, str(error)) from None


class _Header(tarfile.TarInfo):
    """A header that says when it is damaged: the library takes a damaged one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Header:
        """Return the next header. Raises Unreadable if there is one and it is damaged or cut short."""
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            kind = type(error).__name__
            if tarfile.offset and kind in ("InvalidHeaderError", "TruncatedHeaderError"):
                raise Unreadable(CUT_SHORT if kind[0] == "T" else DAMAGED, str(error)) from None
            raise


def _tar_member(
    source: Source, name: str, info: tarfile.TarInfo, stream: BinaryIO | object, licenses: dict[str, str]
) -> Source:
    member = source.member(name, stream, size=info.size, license=nearest(licenses, name))  # type: ignore[arg-type]
    folder, _, file = name.rpartition("/")
    if is_license_file(file) and info.size <= MAX_BYTES:
        with suppress(Undecodable):
            known = identify(decode(member.head(MAX_BYTES)))
            if known is not None:
                licenses[folder] = together([known, *filter(None, [licenses.get(folder)])]) or known
    return member


def _tar_objection(name: str, info: tarfile.TarInfo) -> Unread | None:
    if info.issym() or info.islnk():
        return _objection(name, 0) or Unread(_LINK, name, info.linkname[:200])
    return _objection(name, 0) if info.isfile() else Unread(_SPECIAL, name)


def _objection(name: str, mode: int) -> Unread | None:
    """Return why a member is not read by its name and type, or None."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":":
        return Unread(_ESCAPES, name)
    if stat.S_ISLNK(mode):
        return Unread(_LINK, name)
    return Unread(_SPECIAL, name) if mode and not stat.S_ISREG(mode) else None


def is_hidden(name: str) -> bool:
    """Say whether a member is hidden, or a Mac's note about another: as in folders, those are not looked at."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))


def _unlike(names: list[str]) -> list[str]:
    """Return the names, those that an archive has twice numbered."""
    seen: set[str] = set()
    return [_numbered(name, seen) for name in names]


def _numbered(name: str, seen: set[str]) -> str:
    numbered, count = name, 1
    while numbered in seen:
        count += 1
        numbered = f"{name} ({count})"
    seen.add(numbered)
    return numbered


def read_compressed(source: Source, options: Options, kind: Kind) -> Iterator[Source]:
    """Yield what a gzip, bzip2, xz or Zstandard file holds: a source of the same name."""
    name = source.file_name
    suffix = suffix_of(name)
    known = suffix == kind.reader or suffix in ("zstd", *_INNER)
    inner = name[: -len(suffix) - 1] + _INNER.get(suffix, "") if known else name
    with _decompressed(source.stream, kind.reader) as stream:
        yield source.unpacked(inner or name, stream)


def _decompressed(stream: BinaryIO, method: str) -> BinaryIO:
    if method == "zst":
        from metier.corpus.read.zstandard import ZstdReader

        return ZstdReader(stream)  # type: ignore[return-value]
    opened = {"gz": gzip.GzipFile, "bz2": bz2.BZ2File, "xz": lzma.LZMAFile}[method]
    return opened(stream) if method != "gz" else gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]
