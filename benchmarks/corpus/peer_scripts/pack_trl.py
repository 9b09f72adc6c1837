"""Run in TRL's environment: pack_trl.py LENGTHS.npy SEQUENCE_LENGTH packs documents of these lengths in its three ways.

Prints for each: windows, tokens that stayed, documents cut though they fit a window, CPU seconds of the packing.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pyarrow as pa
from datasets import Dataset, disable_progress_bars  # type: ignore[import-not-found,import-untyped,unused-ignore]
from trl import pack_dataset  # type: ignore[import-not-found,import-untyped,unused-ignore]


def main(path: str, capacity: int) -> None:
    """Pack ids that say which document they are of."""
    disable_progress_bars()
    lengths = np.load(path)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    ids = np.repeat(np.arange(lengths.size, dtype=np.int32), lengths)
    table = pa.table({"input_ids": pa.ListArray.from_arrays(ends, pa.array(ids))})
    told = {}
    for strategy in ("bfd", "bfd_split", "wrapped"):
        start = time.process_time()
        packed = pack_dataset(Dataset(table), capacity, strategy)
        seconds = time.process_time() - start
        windows = packed.with_format("arrow")[:].column("input_ids").combine_chunks()
        sizes = np.diff(windows.offsets.to_numpy())
        documents = windows.flatten().to_numpy()
        pairs = np.unique(np.stack([np.repeat(np.arange(sizes.size), sizes), documents]), axis=1)
        seen = np.bincount(pairs[1], minlength=lengths.size)
        told[strategy] = {
            "windows": int(sizes.size),
            "tokens": int(sizes.sum()),
            "cut": int(((seen > 1) & (lengths <= capacity)).sum()),
            "seconds": seconds,
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
