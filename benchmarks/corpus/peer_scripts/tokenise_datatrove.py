"""Run in datatrove's environment: tokenise_datatrove.py PARQUET_FOLDER TOKENIZER OUT.

Tokenise and write with its defaults, documents shuffled; prints CPU seconds, imports apart, and tokens.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(source: str, tokenizer: str, out: str) -> None:
    """Run its reader and its tokenizer step by step in this process."""
    from datatrove.executor import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        LocalPipelineExecutor,
    )
    from datatrove.pipeline.readers import ParquetReader  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from datatrove.pipeline.tokens import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        DocumentTokenizer,
    )

    steps = [
        ParquetReader(source, text_key="text"),
        DocumentTokenizer(f"{out}/tokens", tokenizer_name_or_path=tokenizer, eos_token="<|endoftext|>", seed=0),
    ]
    start = time.process_time()
    LocalPipelineExecutor(steps, tasks=1, workers=1, logging_dir=f"{out}/logs").run()
    seconds = time.process_time() - start
    tokens = sum(path.stat().st_size for path in Path(out, "tokens").glob("*.ds")) // 2
    print(json.dumps({"seconds": seconds, "tokens": tokens}))


if __name__ == "__main__":
    main(*sys.argv[1:4])
