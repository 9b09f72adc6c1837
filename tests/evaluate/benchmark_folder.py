"""Benchmarks of three kinds in a folder, as lm-eval's YAML with their rows beside it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

TEXT = "the table holds one row for each order and an index makes a lookup fast but every write slow"
WORDS = TEXT.split()

CHOICES = """
task: own_choices
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl, train: shots.jsonl}}
test_split: test
fewshot_split: train
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: options
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
  - {metric: mcc}
metadata: {version: 3}
"""
LETTERS = """
task: own_letters
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl, train: shots.jsonl}}
test_split: test
fewshot_split: train
num_fewshot: 2
output_type: multiple_choice
doc_to_text: "{{question}}\\nA. {{options[0]}}\\nB. {{options[1]}}\\nC. {{options[2]}}\\nAnswer:"
doc_to_choice: [A, B, C]
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1}
"""
ANSWERS = """
task: own_answers
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{options[answer]}}"
generation_kwargs: {until: ["e", "\\n\\n"], max_gen_toks: 12, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 1}
"""
TEXTS = """
task: own_texts
dataset_path: json
dataset_kwargs: {data_files: {test: texts.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
metric_list:
  - {metric: word_perplexity}
  - {metric: byte_perplexity}
  - {metric: bits_per_byte}
metadata: {version: 1}
"""
GROUP = """
group: own_panel
task: [own_choices, own_letters]
"""


def sentence(rng: random.Random, least: int, most: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))


def benchmark_folder(folder: Path, questions: int = 12) -> Path:
    """Write the benchmarks into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"choices": CHOICES, "letters": LETTERS, "answers": ANSWERS, "texts": TEXTS}.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "panel.yaml").write_text(GROUP)
    rng = random.Random(0)
    rows = [
        {
            "question": sentence(rng, 4, 30) + "?",
            "options": [sentence(rng, 1, 6) for _ in range(3)],
            "answer": rng.randrange(3),
        }
        for _ in range(questions + 4)
    ]
    write_rows(folder / "choices.jsonl", rows[:questions])
    write_rows(folder / "shots.jsonl", rows[questions:])
    write_rows(folder / "texts.jsonl", [{"text": sentence(rng, 1, 400)} for _ in range(5)])
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
