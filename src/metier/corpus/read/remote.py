"""Files of a store that fsspec knows: s3://, gs://, az://, memory://, file:// and others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from metier.core import Failure, Mistake
from metier.corpus.charset import Undecodable, decode
from metier.corpus.read.licences import MAX_BYTES, identify, is_license_file, together
from metier.corpus.read.listing import Listed, objection
from metier.corpus.read.wire import File

_TRIES, _PAUSE_SECONDS = 4, 2.0
_BLOCK = 4 << 20
_VERSIONS = ("ETag", "etag", "md5", "sha", "generation", "mtime", "LastModified", "last_modified", "created")


class Remote:
    """A folder or file at a URL.

    Args:
        url: as in s3://bucket/folder.
        options: of the file system, as in {"anon": True}; secrets belong into its own configuration or environment.

    Raises:
        Mistake: no driver for such URLs is installed.
    """

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        import fsspec

        self.url = url
        try:
            # Without its memory of listings, which would hold every name of a large store.
            self.system, root = fsspec.url_to_fs(url, use_listings_cache=False, **(options or {}))
        except (ImportError, ValueError) as error:
            raise Mistake(
                f"{url} cannot be opened",
                found=str(error).splitlines()[0],
                hint="install fsspec's driver for it: s3fs for s3://, gcsfs for gs://, adlfs for az://",
            ) from error
        self.root = str(root).rstrip("/")
        self._single = False

    def files(self, include: tuple[str, ...], exclude: tuple[str, ...]) -> Iterator[Listed]:
        """Yield the files below the URL, or the one file that it names, in one fixed order.

        Raises:
            Mistake: nothing is there, or it may not be read. Failure: the store does not answer.
        """
        if self._tried("looking at", lambda: bool(self.system.isfile(self.root))):
            self._single = True
            info = self._tried("looking at", lambda: self.system.info(self.root))
            yield self._listed(self.root.rpartition("/")[2], info, None, ("*",), ())
            return
        if not self._tried("looking at", lambda: bool(self.system.isdir(self.root) or self.system.exists(self.root))):
            raise Mistake(f"{self.url} does not exist", hint="check the URL, and who may read it")
        yield from self._below(self.root, "", None, include, exclude)

    def _below(
        self, folder: str, prefix: str, license: str | None, include: tuple[str, ...], exclude: tuple[str, ...]
    ) -> Iterator[Listed]:
        found = self._tried("listing", lambda: self.system.ls(folder, detail=True))
        here = folder.strip("/")
        named = sorted(
            (str(info["name"]).rstrip("/").rpartition("/")[2], info)
            for info in found
            if str(info["name"]).strip("/") != here  # some stores list the folder itself
        )
        named = [(name, info) for name, info in named if not name.startswith(".")]
        files = [(name, info) for name, info in named if info.get("type") != "directory"]
        license = self._license([info for name, info in files if is_license_file(name)]) or license
        for name, info in files:
            yield self._listed(prefix + name, info, license, include, exclude)
        for name, info in named:
            if info.get("type") == "directory":
                yield from self._below(str(info["name"]), f"{prefix}{name}/", license, include, exclude)

    def _listed(
        self, name: str, info: dict[str, Any], license: str | None, include: tuple[str, ...], exclude: tuple[str, ...]
    ) -> Listed:
        version = next((str(info[key]) for key in _VERSIONS if info.get(key) is not None), "")
        size = info.get("size")
        if info.get("type") not in ("file", None):
            return Listed(name, 0, version, reason="not a regular file")
        return Listed(name, int(size or 0), version, license, objection(name, include, exclude))

    def _license(self, infos: list[dict[str, Any]]) -> str | None:
        found = []
        for info in infos:
            if (info.get("size") or 0) <= MAX_BYTES:
                try:
                    known = identify(decode(bytes(self.system.cat_file(info["name"]))))
                except (OSError, Undecodable):
                    continue  # what is wrong with it is told when its turn comes
                found += [known] if known is not None else []
        return together(found)

    def open(self, name: str) -> BinaryIO:
        """Open a file of `files` for reading at any place.

        Raises:
            FileNotFoundError, PermissionError: it is gone, or may not be read.
            Failure: the store does not answer.
        """
        return _Steady(self, self.root if self._single else f"{self.root}/{name}")  # type: ignore[return-value]

    def opener(self, file: File) -> BinaryIO:
        """Open a file that a reading process asks for, as `open` does."""
        return self.open(file.name)

    def _tried(self, doing: str, call: Any) -> Any:
        """Return what a call to the store gives, tried again after a while where it does not answer."""
        for attempt in range(_TRIES):
            try:
                return call()
            except (FileNotFoundError, PermissionError) as error:
                raise Mistake(
                    f"{self.url} may not be read" if isinstance(error, PermissionError) else f"{self.url} is not there",
                    found=str(error)[:200],
                    hint="check the URL, and the credentials in the environment",
                ) from error
            except Exception as error:  # each store's library has errors of its own
                last = error
                time.sleep(_PAUSE_SECONDS * 2**attempt if attempt + 1 < _TRIES else 0)
        raise Failure(
            f"{self.url} does not answer, while {doing} it",
            found=f"{type(last).__name__}: {last}"[:200],
            hint="run the same command again: what is read is kept",
        ) from last


class _Steady:
    """A file of a store, opened anew where the connection broke."""

    def __init__(self, remote: Remote, place: str) -> None:
        self._remote, self._place, self._at = remote, place, 0
        self._file: Any = None

    def seek(self, offset: int) -> int:
        self._at = offset
        return offset

    def read(self, size: int) -> bytes:
        for attempt in range(_TRIES):
            try:
                if self._file is None:
                    self._file = self._remote.system.open(self._place, "rb", block_size=_BLOCK)
                self._file.seek(self._at)
                data = bytes(self._file.read(size))
                self._at += len(data)
                return data
            except (FileNotFoundError, PermissionError):
                raise
            except Exception as error:
                last = error
                self.close()
                time.sleep(_PAUSE_SECONDS * 2**attempt if attempt + 1 < _TRIES else 0)
        raise Failure(
            f"{self._remote.url} does not answer, while reading {self._place}",
            found=f"{type(last).__name__}: {last}"[:200],
            hint="run the same command again: what is read is kept",
        ) from last

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
