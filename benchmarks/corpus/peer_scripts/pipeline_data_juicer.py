"""data-juicer's nearest pipeline: `pipeline_data_juicer.py INPUT OUT TOKENIZER CORES`, defaults unless said otherwise.

Read Parquet, white space, its filters of words, lines and repetitions, MinHash deduplication, write JSON lines. It does
not tokenise, so the tokenizer is not used. Prints the documents that came out as JSON.
"""

import json
import sys
from pathlib import Path


def main(source: str, out: str, cores: int) -> None:
    """Write the recipe and run it."""
    from data_juicer.config import init_configs
    from data_juicer.core import DefaultExecutor

    recipe = {
        "project_name": "pipeline",
        "dataset_path": source,
        "export_path": f"{out}/documents.jsonl",
        "work_dir": f"{out}/work",
        "ds_cache_dir": f"{out}/cache",
        "temp_dir": f"{out}/tmp",
        "np": cores,
        "open_tracer": False,
        "text_keys": "text",
        "process": [
            {"whitespace_normalization_mapper": {}},
            {"words_num_filter": {"min_num": 20, "max_num": 100_000}},
            {"average_line_length_filter": {}},
            {"alphanumeric_filter": {}},
            {"special_characters_filter": {"max_ratio": 0.6}},
            {"character_repetition_filter": {}},
            {"word_repetition_filter": {"rep_len": 5}},
            {"document_minhash_deduplicator": {"tokenization": "space", "jaccard_threshold": 0.8}},
        ],
    }
    Path(out, "tmp").mkdir(parents=True)
    path = Path(out, "recipe.yaml")
    path.write_text(json.dumps(recipe))  # JSON is YAML
    DefaultExecutor(init_configs(["--config", str(path)])).run()
    with Path(out, "documents.jsonl").open() as written:
        print(json.dumps({"documents": sum(1 for _ in written)}), file=sys.__stdout__)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[4]))
