"""datatrove's nearest pipeline: `pipeline_datatrove.py INPUT OUT TOKENIZER CORES`, its defaults unless said otherwise.

Read Parquet, the two Gopher filters, MinHash deduplication in its four stages, tokenise with shuffling of documents.
Prints the documents and tokens that came out as JSON. It has no step that composes Unicode or removes boilerplate.
"""

import json
import sys
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter

_BUCKETS = 14  # its default


def main(source: str, out: str, tokenizer: str, cores: int) -> None:
    """Run the stages one after the other."""

    def run(name: str, steps: list[Any], tasks: int) -> None:
        executor = LocalPipelineExecutor(steps, tasks=tasks, workers=cores, logging_dir=f"{out}/logs/{name}")
        executor.run()

    files = len(list(Path(source).glob("*.parquet")))
    kept = f"{out}/kept"
    loose = GopherQualityFilter(min_doc_words=20, max_non_alpha_words_ratio=0.4, min_stop_words=None)
    filters = [GopherRepetitionFilter(), loose]
    run("filter", [ParquetReader(source, glob_pattern="*.parquet"), *filters, JsonlWriter(kept)], files)
    run("signatures", [JsonlReader(kept), MinhashDedupSignature(f"{out}/signatures")], files)
    run("buckets", [MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets")], _BUCKETS)
    run("clusters", [MinhashDedupCluster(f"{out}/buckets", f"{out}/remove")], 1)
    tokens = DocumentTokenizer(f"{out}/tokens", tokenizer, eos_token="<|im_end|>")
    run("tokens", [JsonlReader(kept), MinhashDedupFilter(f"{out}/remove"), tokens], files)
    indices = sum(path.stat().st_size // 8 for path in Path(out, "tokens").glob("*.ds.index"))
    ids = sum(path.stat().st_size // 2 for path in Path(out, "tokens").glob("*.ds"))
    print(json.dumps({"documents": indices, "tokens": ids}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
