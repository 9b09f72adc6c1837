"""Files written whole or not at all, digests of files and folders, and which kinds hold no text."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20

_UNREADABLE = """
png jpg jpeg gif bmp tif tiff webp ico icns svg svgz psd ai eps heic avif cr2 nef dng mp3 mp4 m4a m4v wav flac ogg oga
ogv opus mkv avi mov wmv webm mpg mpeg aac mid midi exe dll so dylib a lib o obj pyc pyo pyd class jar war ear apk aab
dex ipa img iso dmg vmdk qcow2 vhd vdi deb rpm msi cab 7z rar lz lz4 br arj ace woff woff2 ttf otf eot db sqlite
sqlite3 mdb accdb dbf myd ibd rdb npy npz pt pth ckpt safetensors gguf onnx h5 hdf5 tflite pkl pickle joblib feather
arrow orc avro rtf odt odp odg doc dot ppt pps msg pst ost one vsd vsdx pub xps swf fla dwg dxf stl blend fbx glb gltf
ply wasm nupkg egg swp pem crt cer der p12 pfx jks gpg sig map ps
"""
UNREADABLE_SUFFIXES = frozenset(_UNREADABLE.split())
"""Known kinds that hold no text, or text in a form that is not read: passed over by name, without being opened."""


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file, synced and renamed: a reader sees the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes_atomic(path, text.encode())


def write_json_atomic(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every regular file below `folder` in one fixed order; hidden files and folders are passed over."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent) / name
            if not name.startswith(".") and path.is_file():
                yield path


def size_below(folder: Path) -> int:
    """Return the bytes of all files below `folder`, hidden ones too."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
