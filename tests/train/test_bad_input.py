"""What is wrong with files, rows and base models stops a training before its first step, by name and with the fix."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from metier.cli import group
from metier.core import LocalPath, Mistake, Step, Workshop
from metier.core.types import Documents
from metier.instruct.chat_data import ChatData, PreferenceData
from metier.train import Cpt, Dpo, Sft
from tests.train.bench import HOST, Given, Pairs, Talks, Texts

ALPACA = {"instruction": "How many rows?", "output": "Three."}
SHAREGPT = {"conversations": [{"from": "human", "value": "How many rows?"}, {"from": "gpt", "value": "Three."}]}
OPENAI = {"messages": [{"role": "user", "content": "How many rows?"}, {"role": "assistant", "content": "Three."}]}
CALLED = {
    "tools": [{"name": "count", "parameters": {}}],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How many rows?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "count", "arguments": "{}"}}]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "Three.", "reasoning_content": "count said 3"},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes.", "weight": 0},
    ],
}
PAIR = {"prompt": "How many rows?", "chosen": "Three.", "rejected": "Four."}


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def sft(base: Path, data: Path, **options: Any) -> Sft:
    return Sft(base=Given(at=str(base)), data=(ChatData(files=(LocalPath(data),)),), **options)


def refused(step: Step[Any], folder: Path) -> Mistake:
    shop = Workshop(folder / "workshop", HOST)
    with pytest.raises(Mistake) as caught:
        shop.make(step)
    assert caught.value.hint
    assert shop.find(step) is None
    return caught.value


# --- rows


@pytest.mark.parametrize("row", [ALPACA, SHAREGPT, OPENAI], ids=["alpaca", "ShareGPT", "OpenAI"])
def test_of_every_format_the_answer_and_its_end_are_trained(
    tiny_model_folder: Path, tmp_path: Path, row: dict[str, Any]
) -> None:
    made = Workshop(tmp_path, HOST).make(sft(tiny_model_folder, lines(tmp_path / "rows.jsonl", row)))
    assert (made.folder / "masks.txt").read_text().split("⟦")[1].split("⟧")[0] == "Three.<|im_end|>"
    assert made.record.figures["answers_seen_to_end"] == 1


def test_of_a_talk_with_tools_and_thought_the_answers_of_weight_one_are_trained(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    made = Workshop(tmp_path, HOST).make(sft(tiny_model_folder, lines(tmp_path / "rows.jsonl", CALLED)))
    trained = [part.split("⟧")[0] for part in (made.folder / "masks.txt").read_text().split("⟦")[1:]]
    assert trained == [
        '<tool_call>\n{"name": "count", "arguments": {}}\n</tool_call><|im_end|>',
        "<think>\ncount said 3\n</think>\n\nThree.<|im_end|>",
    ]


def test_show_mask_prints_what_the_trainers_collator_trains(tiny_model_folder: Path, tmp_path: Path) -> None:
    lines(tmp_path / "rows.jsonl", CALLED)
    (tmp_path / "metier.yaml").write_text(
        f"base: {{step: local-model, folder: {tiny_model_folder}}}\n"
        "rows: {step: chat-data, files: [rows.jsonl]}\n"
        "tuned: {step: sft, base: $base, data: [$rows]}\n"
    )
    assert CliRunner().invoke(group, ["run", "base", "rows", "-r", str(tmp_path)]).exit_code == 0
    shown = CliRunner().invoke(group, ["show", "rows", "--mask", "-r", str(tmp_path)]).output
    assert "[<think>\ncount said 3\n</think>\n\nThree.<|im_end|>]" in shown
    assert "Yes." in shown and "[Yes." not in shown  # its weight is 0


@pytest.mark.parametrize(
    ("bad", "place", "said", "fix"),
    [
        ({"instruction": "a", "answer": "b"}, "rows.jsonl:2", "'output'", "columns: {output: answer}"),
        ({"question": "a", "reply": "b"}, "rows.jsonl:2", "no format", "columns"),
        ({"messages": [{"role": "user", "content": "a"}]}, "rows.jsonl:2", "no answer", "assistant"),
        ({"messages": [{"role": "sage", "content": "a"}]}, "rows.jsonl:2", "unknown role", "roles:"),
        ({"instruction": "a", "output": ""}, "rows.jsonl:2", "answer is empty", "remove"),
        ({"conversations": "a"}, "rows.jsonl:2", "'conversations'", "JSON"),
        ({**OPENAI, "messages": [*OPENAI["messages"], {"role": "user"}]}, "rows.jsonl:2", "without content", "content"),
        ("{not json", "rows.jsonl:2", "not valid JSON", "one JSON object"),
        ('["a", "b"]', "rows.jsonl:2", "named fields", "field"),
    ],
)
def test_a_row_of_the_wrong_format_is_told_by_file_row_field_and_fix(
    tiny_model_folder: Path, tmp_path: Path, bad: Any, place: str, said: str, fix: str
) -> None:
    problem = refused(sft(tiny_model_folder, lines(tmp_path / "rows.jsonl", ALPACA, bad)), tmp_path)
    assert place in problem.what and said in problem.what and fix in (problem.hint or "")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"])
def test_an_empty_file_is_told(tiny_model_folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    problem = refused(sft(tiny_model_folder, tmp_path / name), tmp_path)
    assert "no conversation" in problem.what or name in problem.what


def test_rows_without_anything_in_them_are_counted_and_nothing_else_is_told(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    data = lines(tmp_path / "rows.jsonl", {}, ALPACA, {"instruction": "", "output": None}, "")
    made = Workshop(tmp_path, HOST).make(sft(tiny_model_folder, data))
    assert made.record.figures["rows"] == 1
    only = lines(tmp_path / "empty.jsonl", {}, {"instruction": ""})
    assert "2: empty row" in (refused(sft(tiny_model_folder, only), tmp_path).found or "")


def test_an_answer_longer_than_the_window_is_named_and_never_cut_unasked(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    long = {"instruction": "Say it.", "output": "one row for each order. " * 40, "id": "long"}
    data = lines(tmp_path / "rows.jsonl", ALPACA, long)
    problem = refused(sft(tiny_model_folder, data, sequence_length=64), tmp_path)
    assert "long (" in (problem.found or "") and "too_long" in (problem.hint or "")
    assert (
        "too long already" in refused(sft(tiny_model_folder, data, sequence_length=64, too_long="split"), tmp_path).what
    )
    for choice, left_out in (("drop", 1), ("truncate", 0)):
        made = Workshop(tmp_path / choice, HOST).make(sft(tiny_model_folder, data, sequence_length=64, too_long=choice))
        table = json.loads((made.folder / "rows.json").read_text())
        assert (table["left_out"], table["answers_without_their_end"]) == (left_out, 1)
        assert "long" in made.record.warnings[0]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{**PAIR, "rejected": "Three."}], "both answers equal"),
        ([{**PAIR, "rejected": ""}, {**PAIR, "chosen": " "}], "an answer is empty"),
        ([PAIR, {**PAIR, "chosen": "Four.", "rejected": "Three."}], "another pair says the opposite"),
    ],
)
def test_pairs_of_which_none_teaches_anything_are_refused_with_the_reason(
    tiny_model_folder: Path, tmp_path: Path, rows: list[Any], said: str
) -> None:
    pairs = PreferenceData(files=(LocalPath(lines(tmp_path / "pairs.jsonl", *rows)),))
    assert said in (refused(Dpo(base=Given(at=str(tiny_model_folder)), pairs=pairs), tmp_path).found or "")


def test_a_share_that_leaves_nothing_to_look_at_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    data = lines(tmp_path / "rows.jsonl", ALPACA)
    problem = refused(sft(tiny_model_folder, data, validation_share=0.1, patience=1), tmp_path)
    assert "validation_share 0.1" in problem.what and "rows.jsonl:1" in (problem.found or "")
    one = Texts(documents=2)  # one to train on, one held out
    base = Given(at=str(tiny_model_folder))
    assert "validation_share" in refused(Cpt(base=base, corpus=one, validation_share=0.1), tmp_path).what


# --- base models


def template(text: str) -> Callable[[Path], None]:
    return lambda folder: _text(folder / "chat_template.jinja", text)


def _text(path: Path, text: str) -> None:
    path.write_text(text)


def weight(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = dict(load_file(folder / "model.safetensors"))
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return act


UP = "model.layers.1.mlp.up_proj.weight"


def not_finite(tensors: dict[str, torch.Tensor]) -> None:
    tensors[UP][0, 0] = float("nan")
    tensors["model.norm.weight"][1] = float("inf")


def shorter(tensors: dict[str, torch.Tensor]) -> None:
    tensors[UP] = tensors[UP][:-1].clone()


def without_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[UP]


def whole_numbers(tensors: dict[str, torch.Tensor]) -> None:
    tensors.update({name: value.to(torch.int8) for name, value in tensors.items()})


def halved(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def shard_lost(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")
    sorted(folder.glob("*.safetensors"))[1].unlink()


def fewer_embeddings(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    kept = 270
    config["vocab_size"] = kept
    (folder / "config.json").write_text(json.dumps(config))

    def cut(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({n: v[:kept].clone() for n, v in tensors.items() if "embed_tokens" in n or "lm_head" in n})

    weight(cut)(folder)


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


NO_END = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "NaN in a weight": (weight(not_finite), f"NaN or infinity in {UP}, model.norm.weight"),
    "a weight in no file": (weight(without_one), UP),
    "a weight of another shape": (weight(shorter), f"{UP} is [127, 64], and [128, 64] is wanted"),
    "whole numbers": (weight(whole_numbers), "I8 in model.safetensors"),
    "a file cut in half": (halved, "incomplete"),
    "a missing shard": (shard_lost, "model-00002-of-"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    "an unreadable config": (lambda folder: _text(folder / "config.json", "{"), "config"),
    "more tokens than embeddings": (fewer_embeddings, "the model has 270 embeddings and the tokenizer 600 tokens"),
    "no tokenizer": (no_tokenizer, "okenizer"),
    "no chat template": (lambda folder: (folder / "chat_template.jinja").unlink(), "chat template"),
    "a template without the end token": (template(NO_END), "never learn to stop"),
    "a template that refuses": (template("{{ raise_exception('roles must alternate') }}"), "roles must alternate"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_base_that_is_not_whole_is_told_before_the_first_step(
    tiny_model_folder: Path, tmp_path: Path, name: str
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model_folder, base)
    breaks, said = BROKEN[name]
    breaks(base)
    problem = refused(Sft(base=Given(at=str(base)), data=(Talks(rows=8),)), tmp_path)
    assert said in str(problem)


def test_a_base_in_sixteen_bits_is_trained_in_thirty_two(tiny_model_folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model_folder, base)
    weight(lambda tensors: tensors.update({n: v.half() for n, v in tensors.items()}))(base)
    made = Workshop(tmp_path, HOST).make(Sft(base=Given(at=str(base)), data=(Talks(rows=8),)))
    from tests.train.bench import weights

    assert {value.dtype for value in weights(made.model_folder).values()} == {torch.float32}


def test_a_token_beyond_the_embeddings_matters_only_where_a_row_holds_it(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model_folder, base)
    told = json.loads((base / "tokenizer.json").read_text())
    told["added_tokens"].append({**told["added_tokens"][0], "id": 600, "content": "<|pad|>"})
    (base / "tokenizer.json").write_text(json.dumps(told))
    step = Sft(base=Given(at=str(base)), data=(ChatData(files=(LocalPath(lines(tmp_path / "a.jsonl", ALPACA)),)),))
    assert Workshop(tmp_path, HOST).make(step).exists
    data = lines(tmp_path / "b.jsonl", {"instruction": "a <|pad|>", "output": "b"})
    problem = refused(sft(base, data), tmp_path / "other")
    assert "row b.jsonl:1 holds '<|pad|>', number 600" in (problem.found or "")


# --- the place

IN_A_CHILD = """
import os, sys
os.umask(0)
from tests.train.bench import HOST, Talks
from metier.core import Problem, Workshop
Workshop(sys.argv[1] + "-before", HOST).make(Talks(rows=4))  # so that all modules are loaded
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    Workshop(sys.argv[1], HOST).make(Talks(rows=4))
except Problem as problem:
    print(problem); sys.exit(problem.exit_code)
"""


@pytest.mark.parametrize("locked", ["workshop", "run folder"])
def test_a_folder_that_may_not_be_written_is_told_and_nothing_in_it_is_lost(locked: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        shop = Path(name) / "shop"
        folder = Workshop(shop, HOST).folder_of(Talks(rows=4))
        left = folder if locked == "run folder" else shop / "sft-0123"
        left.mkdir()
        (left / "kept").write_text("an hour of work")
        for path in (shop, *shop.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        (shop if locked == "workshop" else folder).chmod(0o555)
        command = [sys.executable, "-c", IN_A_CHILD, str(shop)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.returncode == 2, done.stderr
        assert "permission denied" in done.stdout.lower() or "cannot be written" in done.stdout
        assert "hint:" in done.stdout and "Traceback" not in done.stderr
        assert (left / "kept").read_text() == "an hour of work"
        (shop if locked == "workshop" else folder).chmod(0o777)


def test_documents_of_which_none_is_for_training_are_told(tiny_model_folder: Path, tmp_path: Path) -> None:
    empty: Step[Documents] = Texts(documents=1)  # held out
    problem = refused(Cpt(base=Given(at=str(tiny_model_folder)), corpus=empty), tmp_path)
    assert "'corpus' has no text" in problem.what


def test_a_file_of_pairs_trains_as_pairs_made_here(tiny_model_folder: Path, tmp_path: Path) -> None:
    data = lines(tmp_path / "pairs.jsonl", PAIR, {**PAIR, "prompt": "How many columns?"})
    pairs = PreferenceData(files=(LocalPath(data),))
    made = Workshop(tmp_path, HOST).make(Dpo(base=Given(at=str(tiny_model_folder)), pairs=pairs))
    assert made.record.figures["pairs"] == 2 and Pairs().pairs == 12
