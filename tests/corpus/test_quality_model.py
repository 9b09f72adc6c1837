from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from metier.core import LocalPath, Mistake, Workshop
from metier.core.types import Documents
from metier.corpus.comply import Comply
from metier.corpus.documents import new_document
from metier.corpus.quality import ModelQuality
from metier.corpus.quality.model_filter import crew_for
from metier.corpus.quality.sequence import Settings, load, score, windows
from metier.corpus.saved import Saved
from metier.models import LocalModel

pytestmark = pytest.mark.slow  # loads torch, and a tiny model for each test

WORDS = ["good", "bad", "the", "a", "cat", "sat", "on", "mat", "and", "then"]
POSITIONS = 32


def make_classifier(folder: Path, labels: list[str], words: dict[str, float], **config: Any) -> Path:
    """Write a tiny BERT whose logits follow from `words` in the text: made by hand, with no layer between."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
            max_position_embeddings=POSITIONS,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            **config,
        )
    )
    with torch.no_grad():
        layer = model.bert.encoder.layer[0]
        for part in (layer.attention.output.dense, layer.output.dense):
            part.weight.zero_()
            part.bias.zero_()
        # All attention looks alike at every token, and hands on the word's first number.
        for part in (layer.attention.self.query, layer.attention.self.key):
            part.weight.zero_()
            part.bias.zero_()
        layer.attention.self.value.weight.copy_(torch.eye(8))
        layer.attention.self.value.bias.zero_()
        layer.attention.output.dense.weight.copy_(8 * torch.eye(8))
        model.bert.embeddings.position_embeddings.weight.zero_()
        model.bert.embeddings.token_type_embeddings.weight.zero_()
        embedding = torch.zeros(len(vocabulary), 8)
        embedding[:, 1], embedding[:, 2] = 1.0, -1.0
        for word, value in words.items():
            embedding[vocabulary[word], 0] = 4 * value
            embedding[vocabulary[word], 3] = -4 * value
        model.bert.embeddings.word_embeddings.weight.copy_(embedding)
        model.bert.pooler.dense.weight.copy_(torch.eye(8))
        model.bert.pooler.dense.bias.zero_()
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()
        model.classifier.weight[0, 0] = 4.0
        if len(labels) > 1:
            model.classifier.weight[1, 0] = -4.0
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that calls texts with "good" fine, and those with "bad" toxic."""
    folder = tmp_path_factory.mktemp("judge") / "model"
    return make_classifier(folder, ["fine", "toxic"], {"good": 1.0, "bad": -1.0})


def settings(*labels: str, windows: int = 4, window_tokens: int | None = None, of_windows: str = "mean") -> Settings:
    return Settings(labels, windows, window_tokens, of_windows, "cpu", 1)


def test_a_score_is_the_probability_of_the_label(judge: Path) -> None:
    texts = ["the good cat", "the bad cat", "the cat"]
    fine = [told.score for told in score(judge, settings("fine"), texts)]
    toxic = [told.score for told in score(judge, settings("toxic"), texts)]
    assert fine[0] > 0.6 > fine[2] > 0.4 > fine[1]
    assert [one + other for one, other in zip(fine, toxic, strict=True)] == pytest.approx([1, 1, 1], abs=1e-5)
    both = [told.score for told in score(judge, settings("fine", "toxic"), texts)]
    assert both == pytest.approx([1, 1, 1], abs=1e-5)


def test_scores_do_not_depend_on_what_else_is_in_the_batch(judge: Path) -> None:
    texts = ["good", "the cat sat on the mat " * 4, "", "bad " * 20, "漢字"]
    together = [told.score for told in score(judge, settings("fine"), texts)]
    alone = [score(judge, settings("fine"), [text])[0].score for text in texts]
    assert together == pytest.approx(alone, abs=1e-5)


def test_windows_cover_a_text_that_they_suffice_for(judge: Path) -> None:
    tokenizer = load(judge, settings("fine")).tokenizer
    words = [WORDS[n % 10] for n in range(70)]
    found = [part.split() for part in windows(" ".join(words), tokenizer, POSITIONS, 4)]
    assert [len(part) for part in found] == [30, 30, 30]  # two of 32 tokens are the model's own
    assert found[0] == words[:30] and found[-1] == words[-30:] and found[1] == words[20:50]


def test_a_text_too_long_for_its_windows_is_read_at_both_ends_and_between(judge: Path) -> None:
    tokenizer = load(judge, settings("fine")).tokenizer
    text = "good " + "the cat sat on the mat " * 100_000 + "bad"
    found = list(windows(text, tokenizer, POSITIONS, 3))
    assert len(found) == 3 and found[0].startswith("good") and all(len(part.split()) <= 30 for part in found)


def test_the_highest_window_is_told(judge: Path) -> None:
    text = "good " * 30 + "bad " * 30 + "good " * 30
    told = score(judge, settings("toxic", of_windows="highest"), [text])[0]
    mean = score(judge, settings("toxic"), [text])[0]
    assert "bad" in told.window and told.score == told.highest > mean.score


def test_one_output_is_a_number_and_several_labels_may_hold_at_once(tmp_path: Path) -> None:
    regression = make_classifier(tmp_path / "regression", ["education"], {"good": 1.0, "bad": -1.0})
    high, low = score(regression, settings(), ["good good", "bad bad"])
    assert high.score > 1 > 0 > low.score
    labels = ["fine", "toxic"]
    multiple = make_classifier(
        tmp_path / "multiple", labels, {"good": 1.0, "bad": -1.0}, problem_type="multi_label_classification"
    )
    found = score(multiple, settings("fine", "toxic"), ["good", "bad"])
    assert all(told.score > 0.6 for told in found)  # of several labels the highest counts


def documents(folder: Path, texts: list[str]) -> Saved:
    Documents.write(folder, (new_document(f"{n}.txt", text) for n, text in enumerate(texts)))
    return Saved(folder=LocalPath(folder))


def test_the_step_leaves_out_what_scores_too_low_or_too_high(judge: Path, tmp_path: Path) -> None:
    given = documents(tmp_path / "given", ["the good cat", "the bad cat", "good good mat"])
    model = LocalModel(folder=LocalPath(judge))
    workshop = Workshop(tmp_path / "runs")
    high = workshop.make(ModelQuality(corpus=given, model=model, label="fine"))
    low = workshop.make(ModelQuality(corpus=given, model=model, label="toxic", good_is="low"))
    for made in (high, low):
        assert [row.text for row in Documents(made.folder).rows()] == ["the good cat", "good good mat"]
    assert not workshop.make(model).record.warnings  # that a classifier cannot hold a conversation is no news
    assert high.record.ledger.lines[0].dropped == {"score below 0.5": 1}
    assert low.record.ledger.lines[0].dropped == {"score above 0.5": 1}
    best = workshop.make(ModelQuality(corpus=given, model=model, label="toxic", good_is="low", keep_share=0.3))
    assert [row.text for row in Documents(best.folder).rows()] == ["good good mat"]


def test_comply_has_the_model_look_too(judge: Path, tmp_path: Path) -> None:
    given = documents(tmp_path / "given", ["the good cat", "the cat " * 40 + "bad " * 40])
    step = Comply(corpus=given, model=LocalModel(folder=LocalPath(judge)), labels=("toxic",), model_threshold=0.6)
    made = Workshop(tmp_path / "runs").make(step)
    assert made.record.ledger.lines[0].dropped == {"held for review: model": 1}
    row = json.loads((made.folder / "review.jsonl").read_text())
    assert "bad" in row["objections"][0]["text"]


def test_a_model_that_cannot_do_it_is_told_before_anything_starts(
    judge: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    given = documents(tmp_path / "given", ["the good cat"])
    workshop = Workshop(tmp_path / "runs")
    with pytest.raises(Mistake, match="no label 'nice'") as raised:
        workshop.make(ModelQuality(corpus=given, model=LocalModel(folder=LocalPath(judge)), label="nice"))
    assert raised.value.found == "fine, toxic"
    with pytest.raises(Mistake, match="several labels"):
        workshop.make(ModelQuality(corpus=given, model=LocalModel(folder=LocalPath(judge))))
    with pytest.raises(Mistake, match="no sequence classifier"):
        workshop.make(ModelQuality(corpus=given, model=LocalModel(folder=LocalPath(tiny_model_folder)), label="fine"))
    with pytest.raises(Mistake, match="no labels"):
        Comply(corpus=given, model=LocalModel(folder=LocalPath(judge)))


def test_a_model_without_its_head_is_refused_not_guessed(judge: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(judge, tmp_path / "headless")
    weights = {
        name: value for name, value in load_file(folder / "model.safetensors").items() if "classifier" not in name
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Mistake, match="cannot be loaded") as raised:
        score(folder, settings("fine"), ["good"])
    assert "classifier" in (raised.value.found or "")


def test_processes_are_as_many_as_memory_and_threads_allow(judge: Path) -> None:
    from metier.core import Host

    crew = crew_for(Host(cores=8, threads=8, memory_bytes=4 << 30), judge)
    assert (crew.device, crew.workers, crew.threads) == ("cpu", 3, 2)  # a GiB and three times the weights each
