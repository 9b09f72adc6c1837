"""Compiled kernels of the corpus room, and what they share with their Python twins.

Each kernel is one C file and one extension module, built where there is a compiler; beside it is a Python twin that
gives identical output. `METIER_KERNEL=python` runs the twins even where the compiled ones are there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts as kernels take it: text `i` is `data[offsets[i] : offsets[i + 1]]`, UTF-8 or nearly so."""

    offsets: NDArray[np.int64]
    data: Any

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def decoded(self, number: int) -> str:
        """Return one text; what is not UTF-8 becomes U+FFFD, one for each sequence that breaks off, as in text.h."""
        return bytes(self.data[self.offsets[number] : self.offsets[number + 1]]).decode("utf-8", "replace")


def compiled(name: str) -> ModuleType | None:
    """Return an extension module of this package, or None where it was not built or METIER_KERNEL is "python"."""
    if os.environ.get("METIER_KERNEL") == "python":
        return None
    try:
        return import_module(f"metier.corpus.kernel.{name}")
    except ImportError:
        return None


def texts(column: pa.Array | pa.ChunkedArray | Sequence[str]) -> Texts:
    """Return the buffers of an Arrow string column, without copying the text; a null is an empty text.

    Args:
        column: of type string or large_string, or Python strings, whose lone surrogates become "?".
    """
    import numpy as np
    import pyarrow as pa

    if not isinstance(column, pa.Array | pa.ChunkedArray):
        column = pa.array([text.encode("utf-8", "replace") for text in column], pa.large_binary())
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(column, pa.ChunkedArray):  # more than one chunk can hold: 2 GB of text in `string`
        column = column.cast(pa.large_string()).combine_chunks()
    if column.null_count:
        column = column.fill_null("")
    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    _, places, data = column.buffers()
    kind = np.int64 if wide else np.int32
    if places is None or len(column) == 0:
        return Texts(np.zeros(1, np.int64), memoryview(b""))
    offsets = np.frombuffer(places, kind)[column.offset : column.offset + len(column) + 1]
    return Texts(offsets.astype(np.int64), memoryview(data) if data is not None else memoryview(b""))
