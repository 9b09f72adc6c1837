"""What `benchmarks.train.speed` trains: SmolLM2-135M, alpaca rows and preference pairs, all from packages.

The rows come with the source distribution of LLaMA-Factory (999 alpaca rows written by GPT-4, 300 pairs); they are
read, never passed on. A few are drawn that are like the whole: in mean length, share of answers, padding, mean square.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.corpus.material import FOLDER as _MATERIAL

FOLDER = _MATERIAL / "speed"
LENGTH = 512
ROWS, MICRO, PAIRS = 8, 4, 4
_SOURCE = "llamafactory-0.9.5"
_DRAWS = 4000


class Material(NamedTuple):
    """Folder of the model in float32, files of rows and of pairs, and their tokens, every row's prompt counted."""

    model: Path
    rows: Path
    pairs: Path
    row_tokens: int
    pair_tokens: int
    told: str


def material() -> Material:
    """Return what is trained; make what is not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = FOLDER / "model"
    if not (model / "done").is_file():
        _make_model(model)
    rows, pairs, told = FOLDER / "rows.json", FOLDER / "pairs.json", FOLDER / "told.json"
    if not told.is_file():
        told.write_text(json.dumps(_make_rows(model, rows, pairs)))
    facts = json.loads(told.read_text())
    return Material(model, rows, pairs, facts["row_tokens"], facts["pair_tokens"], facts["told"])


def _make_model(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from metier.core import Workshop
    from metier.models.packaged import PackagedGguf

    made = Workshop(FOLDER / "runs").make(PackagedGguf()).model_folder
    AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(made).save_pretrained(folder)
    (folder / "done").touch()


def _make_rows(model: Path, rows: Path, pairs: Path) -> dict[str, Any]:
    from metier.core.chat import Message
    from metier.core.types import Conversation, Preference
    from metier.train.dpo import pair_group
    from metier.train.network import load_tokenizer
    from metier.train.sft import rendered

    tokenizer = load_tokenizer(model)
    came = alpaca()
    texts = [row["instruction"] + ("\n" + row["input"] if row.get("input") else "") for row in came]
    talks = [
        Conversation(f"a{at}", [Message("user", text), Message("assistant", row["output"])], "alpaca", split="train")
        for at, (text, row) in enumerate(zip(texts, came, strict=True))
    ]
    found = rendered(talks, tokenizer)
    made = [
        {"ids": row.ids, "mask": row.mask, "prompt": text, "answer": one["output"]}
        for row, text, one in zip(found, texts, came, strict=True)
        if one["output"].strip()
    ]
    chosen = _alike(made)
    rows.write_text(json.dumps(chosen))
    two = []
    for at, one in enumerate(_read("dpo_en_demo.json")):
        if len(one["conversations"]) != 1:
            continue
        prompt = [Message("user", one["conversations"][0]["value"])]
        pair = Preference(f"p{at}", prompt, one["chosen"]["value"], one["rejected"]["value"], 1.0, 0.0, "pairs")
        group = pair_group(pair, tokenizer)
        if max(len(row.ids) for row in group.rows) <= LENGTH:
            two.append((pair, group))
    drawn = _alike_pairs([[len(row.ids) for row in group.rows] + [group.prefix] for _, group in two])
    pairs.write_text(json.dumps([_plain(two[at][0]) for at in drawn]))
    told = f"{ROWS} alpaca rows, {sum(len(row['ids']) for row in chosen)} tokens, as in the mean of {len(made)}"
    return {
        "row_tokens": sum(len(row["ids"]) for row in chosen),
        "pair_tokens": sum(len(row.ids) for at in drawn for row in two[at][1].rows),
        "told": told + f"; padded {_figures(chosen)[2]:.2f} times",
    }


def _plain(pair: Any) -> dict[str, Any]:
    def answer(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    prompt = [{"role": message.role, "content": message.content} for message in pair.prompt]
    return {"prompt": prompt, "chosen": answer(pair.chosen), "rejected": answer(pair.rejected)}


def alpaca() -> list[dict[str, Any]]:
    """Return all alpaca rows: instruction, input and output of each."""
    return _read("alpaca_en_demo.json")


def _read(name: str) -> list[dict[str, Any]]:
    archive = FOLDER / f"{_SOURCE}.tar.gz"
    if not archive.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "llamafactory==0.9.5", "-d", str(FOLDER)], check=True)
    with tarfile.open(archive) as opened:
        member = opened.extractfile(f"{_SOURCE}/data/{name}")
        assert member is not None
        return list(json.load(member))


def _figures(rows: Sequence[dict[str, Any]]) -> tuple[float, float, float, float]:
    """Return mean length, share of answers, padding factor in batches of `MICRO`, and root mean square length."""
    lengths = [len(row["ids"]) for row in rows]
    groups = [lengths[at : at + MICRO] for at in range(0, len(lengths) - MICRO + 1, MICRO)]
    padded = sum(max(group) * len(group) for group in groups) / sum(map(sum, groups))
    answers = sum(sum(row["mask"]) for row in rows) / sum(lengths)
    return sum(lengths) / len(lengths), answers, padded, (sum(n * n for n in lengths) / len(lengths)) ** 0.5


def bins(lengths: Sequence[int], size: int) -> int:
    """Return how many bins of `size` a best-fit-decreasing packing takes."""
    filled: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [at for at, used in enumerate(filled) if used + length <= size]
        if fitting:
            filled[max(fitting, key=lambda at: filled[at])] += length
        else:
            filled.append(length)
    return len(filled)


def _alike(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the draw of `ROWS` rows whose figures are nearest to those of all, in relative terms."""
    rng = random.Random(0)
    shuffled = rng.sample(list(rows), len(rows))
    target = _figures(shuffled)
    short = [row for row in rows if len(row["ids"]) < LENGTH]
    best: tuple[float, list[dict[str, Any]]] = (float("inf"), [])
    for _ in range(_DRAWS):
        draw = rng.sample(short, ROWS)
        if bins([len(row["ids"]) for row in draw], LENGTH - 1) != 4:
            continue
        off = sum(abs(got / want - 1) for got, want in zip(_figures(draw), target, strict=True))
        best = min(best, (off, draw), key=lambda one: one[0])
    return best[1]


def _alike_pairs(sizes: Sequence[Sequence[int]]) -> list[int]:
    """Return the draw of `PAIRS` pairs nearest to all in mean lengths of the chosen, the rejected and the prompt."""
    rng = random.Random(0)

    def means(of: Sequence[int]) -> list[float]:
        return [sum(sizes[at][part] for at in of) / len(of) for part in range(3)]

    target = means(range(len(sizes)))
    draws = [rng.sample(range(len(sizes)), PAIRS) for _ in range(_DRAWS)]
    return min(draws, key=lambda of: sum(abs(a / b - 1) for a, b in zip(means(of), target, strict=True)))
