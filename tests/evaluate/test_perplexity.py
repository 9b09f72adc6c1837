"""Perplexity of texts: against a plain loop and lm-eval's, per byte across tokenizers, unlike conditions refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from metier.core import LocalPath, Mistake, Step, Workshop
from metier.core.types import Documents, Model, Scores
from metier.evaluate import Perplexity
from metier.evaluate.compare import compare
from metier.evaluate.gate import check
from metier.evaluate.perplexity import perplexities
from metier.evaluate.perplexity_step import _texts_of
from metier.models.tiny import TinyModel
from tests.evaluate.exam_steps import SomeDocuments

WINDOW, STRIDE = 64, 24


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("runs"))


def step(texts: Step[Documents] | Path, model: Step[Model] | None = None, **more: Any) -> Perplexity:
    given = {"window": WINDOW, "stride": STRIDE, "precision": "float32", **more}
    source = LocalPath(texts) if isinstance(texts, Path) else texts
    return Perplexity(model=model or TinyModel(vocab_size=400), texts=source, **given)


@pytest.fixture(scope="module")
def scores(workshop: Workshop) -> Scores:
    return workshop.make(step(SomeDocuments()))


def rows(scores: Scores) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (scores.folder / "answers.jsonl").read_text().splitlines()]


def figures(scores: Scores) -> dict[str, float]:
    return {figure.name: figure.value for figure in scores.figures()}


def plain_loss(folder: Path, text: str, window: int, stride: int) -> tuple[float, int]:
    """Return nats and tokens of a text by a plain loop over transformers' own model, a window at a time.

    It is the loop of transformers' page on perplexity, with the last window moved back so that it is full.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    ids = torch.tensor([[start, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
    nats, scored, before, end = 0.0, 0, 1, min(window, ids.shape[1])
    while before < ids.shape[1]:
        begin = max(0, end - window)
        target = ids[:, begin:end].clone()
        target[:, : before - begin] = -100
        with torch.inference_mode():
            loss = model(ids[:, begin:end], labels=target).loss
        nats, scored = nats + float(loss) * (end - before), scored + end - before
        before, end = end, min(end + stride, ids.shape[1])
    return nats, scored


def test_perplexity_is_that_of_a_plain_loop(workshop: Workshop, scores: Scores) -> None:
    folder = workshop.make(TinyModel(vocab_size=400)).model_folder
    texts = {row.id: row.text for row in workshop.make(SomeDocuments()).rows("held_out")}
    expected = {id: plain_loss(folder, text, WINDOW, STRIDE) for id, text in texts.items()}
    for row in rows(scores):
        nats, tokens = expected[row["id"]]
        assert row["tokens"] == tokens > WINDOW + STRIDE and row["bytes"] == len(texts[row["id"]].encode())
        assert row["nats"] / tokens == pytest.approx(nats / tokens, abs=1e-4)
    mean = sum(nats for nats, _ in expected.values()) / sum(tokens for _, tokens in expected.values())
    assert figures(scores)["perplexity"] == pytest.approx(math.exp(mean), rel=1e-4)


def test_perplexity_is_lm_evals_on_the_same_text(workshop: Workshop, scores: Scores) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    folder = workshop.make(TinyModel(vocab_size=400)).model_folder
    texts = {row.id: row.text for row in workshop.make(SomeDocuments()).rows("held_out")}
    theirs = HFLM(pretrained=str(folder), dtype="float32", device="cpu", max_length=WINDOW - 1, prefix_token_id=0)
    assert theirs.tokenizer.convert_ids_to_tokens(0) == "<|endoftext|>"
    asked = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts.values()]
    expected = dict(zip(texts, theirs.loglikelihood_rolling(asked, disable_tqdm=True), strict=True))
    # their windows share one token, which is a stride of the window less one
    for row in rows(workshop.make(step(SomeDocuments(), stride=WINDOW - 1))):
        assert row["nats"] == pytest.approx(-expected[row["id"]], rel=1e-5)


def test_cross_entropy_is_the_logarithm_of_perplexity(scores: Scores) -> None:
    found = figures(scores)
    assert found["cross_entropy"] == pytest.approx(math.log(found["perplexity"]))
    assert found["bits_per_byte"] == pytest.approx(math.log2(found["perplexity_per_byte"]))
    lost, read = (sum(row[name] for row in rows(scores)) for name in ("nats", "bytes"))
    assert found["bits_per_byte"] == pytest.approx(lost / math.log(2) / read)


def test_models_with_unlike_tokenizers_are_compared_per_byte(workshop: Workshop, scores: Scores) -> None:
    other = workshop.make(step(SomeDocuments(), TinyModel(vocab_size=300)))
    assert [row["tokens"] for row in rows(other)] != [row["tokens"] for row in rows(scores)]
    assert [one.name for one in compare(scores, other)] == ["perplexity_per_byte"]
    assert [one.difference.name for one in check(scores, other)] == ["perplexity_per_byte"]


@pytest.mark.parametrize("other", [{"window": 65}, {"stride": 23}, {"limit": 2}, {"precision": "bfloat16"}])
def test_unlike_windows_strides_texts_or_arithmetic_are_not_compared(
    workshop: Workshop, scores: Scores, other: dict[str, Any]
) -> None:
    with pytest.raises(Mistake, match="unlike exams"):
        compare(scores, workshop.make(step(SomeDocuments(), **other)))


def test_a_killed_reading_goes_on_with_the_next_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.core.engine import EngineChat
    from metier.evaluate import perplexity

    runs, losses = Workshop(tmp_path), EngineChat.text_losses
    read: list[str] = []

    def counted(chat: EngineChat, texts: list[str], *more: Any) -> Any:
        if len(read) == 2:
            read.append("killed")
            raise KeyboardInterrupt
        read.extend(texts)
        return losses(chat, texts, *more)

    monkeypatch.setattr(perplexity, "_CHARACTERS", 1)
    monkeypatch.setattr(EngineChat, "text_losses", counted)
    asked = step(SomeDocuments())
    with pytest.raises(KeyboardInterrupt):
        runs.make(asked)
    found = runs.make(asked)
    assert len(read) - 1 == len(set(read)) - 1 == len(rows(found)) == 4


def test_a_file_is_read_by_line_or_whole(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text('{"text": "one table"}\n\n{"id": "b", "text": "two tables"}\n{"text": " "}\n')
    made = workshop.make(step(tmp_path / "set.jsonl", called="general"))
    assert [(row["id"], row["split"]) for row in rows(made)] == [("1", "general"), ("b", "general")]
    assert made.record.ledger.lines[0].dropped == {"empty": 1}
    (tmp_path / "set.jsonl").write_text('\ufeff{"id": null, "text": "one"}\n{"id": null, "text": "two"}\n')
    assert list(_texts_of(tmp_path / "set.jsonl")) == [("1", "one"), ("2", "two")]
    (tmp_path / "set.txt").write_text("one table\ntwo tables\n")
    whole = workshop.make(step(tmp_path / "set.txt"))
    assert [row["bytes"] for row in rows(whole)] == [21]
    assert all(figure.low is None and figure.high is None for figure in whole.figures())  # one text has no interval


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"body": "x"}\n', "set.jsonl:1 has no 'text'"),
        ("{\n", "set.jsonl:1 is not JSON"),
        ('{"id": 1, "text": "x"}\n{"id": 1, "text": "y"}\n', "an id that was there before"),
        ('{"text": "x"}\n{"text": "a \\ud83d"}\n', "set.jsonl:2 holds half a character"),
        ('{"id": "\\ude00", "text": "x"}\n', "set.jsonl:1 holds half a character"),
        ("", "no text to read"),
        ('{"text": " "}\n', "every text is empty"),
    ],
)
def test_a_file_with_nothing_to_read_says_where(workshop: Workshop, tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "set.jsonl").write_text(text)
    with pytest.raises(Mistake, match=match):
        workshop.make(step(tmp_path / "set.jsonl"))


def test_a_corpus_without_held_out_documents_is_not_read_in_silence(workshop: Workshop) -> None:
    with pytest.raises(Mistake, match="no text to read"):
        workshop.make(step(SomeDocuments(), split="validation"))


def test_a_window_longer_than_the_model_is_a_mistake(workshop: Workshop) -> None:
    with pytest.raises(Mistake, match="longer than the model can read"):
        workshop.make(step(SomeDocuments(), window=5000, stride=100))


def test_a_stride_is_shorter_than_its_window() -> None:
    with pytest.raises(ValueError, match="share a token"):
        step(SomeDocuments(), window=64, stride=64)


def test_one_text_has_no_interval_and_its_scores_are_json(workshop: Workshop) -> None:
    made = workshop.make(step(SomeDocuments(), limit=1))

    def refused(name: str) -> None:
        raise ValueError(name)

    told = json.loads((made.folder / "scores.json").read_text(), parse_constant=refused)
    assert told and all(one["low"] is None and one["high"] is None for one in told)
    assert not any(math.isinf(end) for one in perplexities(rows(made), "m") for end in one[4:6] if end is not None)
    (line,) = made.record.ledger.lines
    assert line.kept == 1 and line.dropped == {"over the limit": line.came - 1}
