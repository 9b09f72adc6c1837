"""The chat vector: its arithmetic, unlike vocabularies, the search and its rule."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from metier.core import Mistake, Workshop
from metier.core.types import Model
from metier.train import ChatVector
from metier.train.weights.search import Measured, choose, pareto
from metier.train.weights.vector import rows_by_token
from tests.train.bench import HOST, Given, Talks, Texts
from tests.train.test_weights import family, tensors

__all__ = ["family"]


def vector(folders: list[Path], workshop: Path, **fields: Any) -> Model:
    base, model, chat = (Given(at=str(folder)) for folder in folders)
    return Workshop(workshop, HOST).make(ChatVector(model=model, base=base, chat=chat, **fields))


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0, 1.5])
def test_the_result_is_the_model_plus_alpha_times_chat_minus_base(
    family: list[Path], tmp_path: Path, alpha: float
) -> None:
    found = tensors(vector(family, tmp_path, alpha=alpha).model_folder)
    base, model, chat = map(tensors, family)
    for name, value in found.items():
        wanted = model[name].double() + alpha * (chat[name].double() - base[name].double())
        assert torch.allclose(value.double(), wanted, atol=1e-6)


def test_alpha_1_on_the_base_itself_is_the_chat_model(family: list[Path], tmp_path: Path) -> None:
    found = tensors(vector([family[0], family[0], family[2]], tmp_path).model_folder)
    assert all(torch.allclose(value, found[name], atol=1e-6) for name, value in tensors(family[2]).items())


def grown(folder: Path, target: Path, tokens: dict[str, int], seed: int = 5) -> Path:
    """Copy a model with new tokens at given ids; rows that it did not have are random."""
    shutil.copytree(folder, target)
    told = json.loads((target / "tokenizer.json").read_text())
    told["model"]["vocab"] |= tokens
    (target / "tokenizer.json").write_text(json.dumps(told))
    weights = load_file(target / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    more = 1 + max(tokens.values()) - len(rows)
    generator = torch.Generator().manual_seed(seed)
    weights["model.embed_tokens.weight"] = torch.cat([rows, torch.randn(more, rows.shape[1], generator=generator)])
    save_file(weights, target / "model.safetensors")
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "vocab_size": len(rows) + more}))
    return target


def test_new_rows_of_the_model_are_untouched_and_rows_are_matched_by_token(family: list[Path], tmp_path: Path) -> None:
    base, model, chat = family
    count = len(tensors(base)["model.embed_tokens.weight"])
    # The model learnt a piece under the very id that the chat model gave to another token.
    longer = grown(model, tmp_path / "model", {"ĠPRAGMAĠnew": count, "<tool>": count + 1})
    talker = grown(chat, tmp_path / "chat", {"<tool>": count})
    made = vector([base, longer, talker], tmp_path / "w", alpha=0.5)
    rows = tensors(made.model_folder)["model.embed_tokens.weight"]
    b, m, c = (tensors(folder)["model.embed_tokens.weight"] for folder in (base, longer, talker))
    assert torch.allclose(rows[:count], m[:count] + 0.5 * (c[:count] - b), atol=1e-6)
    assert torch.equal(rows[count], m[count])  # the model's own piece
    assert torch.allclose(rows[count + 1], m[count + 1] + 0.5 * (c[count] - m[count + 1]), atol=1e-6)
    assert any("untouched" in warning for warning in made.record.warnings)
    config = json.loads((made.model_folder / "config.json").read_text())
    assert config["vocab_size"] == count + 2


def test_rows_that_only_pad_go_by_their_number() -> None:
    one = {"a": 0, "b": 1}
    rows = rows_by_token([{**one, "new": 2}, one, one], [4, 4, 3])
    assert rows.odd == {2: (None, None), 3: (None, None)} and rows.untouched == [2, 3] and rows.learnt == []
    assert rows_by_token([one, one, one], [4, 4, 4]).odd == {}


def named_only(folder: Path, target: Path, token: str) -> Path:
    """Copy a model whose tokenizer has one token more than the model has rows."""
    shutil.copytree(folder, target)
    told = json.loads((target / "tokenizer.json").read_text())
    told["added_tokens"].append({**told["added_tokens"][-1], "content": token, "id": rows_of(folder)})
    (target / "tokenizer.json").write_text(json.dumps(told))
    return target


def rows_of(folder: Path) -> int:
    return len(tensors(folder)["model.embed_tokens.weight"])


@pytest.mark.parametrize("lacking", ["base", "chat", "model"])
def test_a_token_without_a_row_is_one_that_its_model_has_not(family: list[Path], tmp_path: Path, lacking: str) -> None:
    folders = dict(zip(("base", "model", "chat"), family, strict=True))
    count = rows_of(family[0])
    with_row = {
        name: named_only(folder, tmp_path / name, "<pad2>")
        if name == lacking
        else grown(folder, tmp_path / name, {"<pad2>": count})
        for name, folder in folders.items()
    }
    made = vector(list(with_row.values()), tmp_path / "w", alpha=0.5)
    read = (made.model_folder, with_row["model"], with_row["chat"])
    found, m, c = (tensors(folder)["model.embed_tokens.weight"] for folder in read)
    if lacking == "model":
        assert len(found) == count
    elif lacking == "chat":
        assert torch.equal(found[count], m[count])
    else:  # the base's row is taken for the model's
        assert torch.allclose(found[count], m[count] + 0.5 * (c[count] - m[count]), atol=1e-6)


def test_template_and_turn_end_come_from_the_chat_model(family: list[Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    plain = tmp_path / "plain"
    shutil.copytree(family[1], plain)
    (plain / "chat_template.jinja").unlink()
    config = json.loads((plain / "tokenizer_config.json").read_text())
    config |= {"eos_token": "<|endoftext|>"}
    (plain / "tokenizer_config.json").write_text(json.dumps(config))
    piece = grown(plain, tmp_path / "piece", {"ĠPRAGMAĠnew": len(tensors(plain)["model.embed_tokens.weight"])})
    for model in (plain, piece):
        made = vector([family[0], model, family[2]], tmp_path / f"w-{model.name}").model_folder
        tokenizer = AutoTokenizer.from_pretrained(made)
        assert tokenizer.eos_token == "<|im_end|>" and "im_start" in tokenizer.chat_template
        assert ("ĠPRAGMAĠnew" in tokenizer.get_vocab()) == (model is piece)
        assert GenerationConfig.from_pretrained(made).eos_token_id == tokenizer.eos_token_id


def test_a_model_without_the_templates_tokens_is_refused(family: list[Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(family[1], bare)
    text = (bare / "tokenizer.json").read_text()
    (bare / "tokenizer.json").write_text(text.replace("<|im_start|>", "<|other|>"))
    with pytest.raises(Mistake, match="lacks a token that the chat template is made of") as caught:
        vector([family[0], bare, family[2]], tmp_path / "w")
    assert caught.value.found == "<|im_start|>"


def test_the_search_writes_a_table_and_the_chosen_model(family: list[Path], tmp_path: Path) -> None:
    made = vector(
        family,
        tmp_path,
        alpha=(0.5, 1.0),
        documents=Texts(),
        conversations=(Talks(),),
        talks=4,
        answer_tokens=4,
        precision="float32",
    )
    told = json.loads((made.folder / "vector.json").read_text())
    assert [one["alpha"] for one in told["candidates"]] == [0.5, 1.0] and "lowest loss on documents" in told["rule"]
    assert sum(one["chosen"] for one in told["candidates"]) == 1 and any(one["pareto"] for one in told["candidates"])
    assert told["without"]["alpha"] == 0 and {"domain", "replies", "ended"} <= told["chat"].keys()
    base, model, chat = (load["model.norm.weight"] for load in map(tensors, family))
    found = tensors(made.model_folder)["model.norm.weight"]
    assert torch.allclose(found, model + told["chosen"] * (chat - base))
    assert made.record.figures["alpha"] == told["chosen"] and not (made.folder / ".candidate").exists()


def test_a_killed_search_measures_no_candidate_twice(
    family: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metier.train.weights import search

    measure, seen = search.measure, []

    def dying(chat: Any, alpha: float, *rest: Any) -> Measured:
        seen.append(alpha)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return measure(chat, alpha, *rest)

    monkeypatch.setattr(search, "measure", dying)
    fields: dict[str, Any] = {"alpha": (0.5, 1.0), "documents": Texts(), "conversations": (Talks(),)}
    fields |= {"talks": 2, "answer_tokens": 2, "precision": "float32"}
    with pytest.raises(KeyboardInterrupt):
        vector(family, tmp_path, **fields)
    vector(family, tmp_path, **fields)
    assert seen == [0.0, 0.0, 0.5, 0.5, 1.0]  # chat (told as 0), without; 0.5 was cut and done again


CHAT = Measured(0.0, domain=1.2, replies=1.0, ended=0.9)


def test_the_rule_takes_the_best_on_documents_among_those_that_keep_their_manners() -> None:
    tried = [
        Measured(0.2, 0.90, 1.30, 0.2),
        Measured(0.6, 0.95, 1.04, 0.9),
        Measured(0.8, 0.94, 1.03, 0.7),  # answers do not end
        Measured(1.0, 1.00, 1.01, 0.9),
    ]
    assert choose(tried, CHAT, 0.05) == (0.6, True)
    assert choose(tried, CHAT, 0.02) == (1.0, True)
    assert choose(tried[:1], CHAT, 0.05) == (0.2, False)


def test_pareto_drops_what_another_beats() -> None:
    tried = [Measured(1, 1.0, 2.0, 1), Measured(2, 2.0, 1.0, 1), Measured(3, 2.0, 2.0, 1), Measured(4, 1.0, 2.0, 1)]
    assert [one.alpha for one in pareto(tried)] == [1, 2, 4]


def test_a_search_without_something_to_measure_on_is_refused(family: list[Path]) -> None:
    given = Given(at=str(family[0]))
    with pytest.raises(ValueError, match="needs `documents` and `conversations`"):
        ChatVector(model=given, base=given, chat=given, alpha=(0.5, 1.0))
