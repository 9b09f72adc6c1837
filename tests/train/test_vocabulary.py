"""Pieces of vocabulary: what is learnt is what saves most, old text stays, new rows are means, embeddings stay tied."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from metier.core import Mistake, Step, Work, Workshop
from metier.core.chat import Message
from metier.core.template import Template
from metier.core.types import Document, Documents, Model
from metier.train import ExpandVocabulary
from metier.train.network import load_tokenizer
from metier.train.weights.pieces import Piece, bpe_of, extended, learn, words_of, write_tokenizer
from tests.train.bench import HOST, Given
from tests.train.test_weights import family, tensors

__all__ = ["family"]

TRADE = "The mortgagee registers the encumbrance; an encumbrance that nobody registers binds no mortgagee. "
PLAIN = "When the database is opened for the first time, the file is created empty. Thank you, and good day! "


class Trade(Step[Documents]):
    """Documents of a trade, the last one held out; or plain ones."""

    name: ClassVar[str] = "test-trade"
    text: str = TRADE

    def run(self, work: Work) -> None:
        made = [Document(f"d{at}", self.text * 10, "test", split="train" if at < 4 else "held_out") for at in range(5)]
        work.count("document", len(made), Documents.write(work.folder, made), made={"document": len(made)})


def expand(folder: Path, workshop: Path, **fields: Any) -> Model:
    fields = {"pieces": 20, "least": 5, "precision": "float32", "general": Trade(text=PLAIN), **fields}
    return Workshop(workshop, HOST).make(ExpandVocabulary(model=Given(at=str(folder)), corpus=Trade(), **fields))


@pytest.fixture(scope="module")
def expanded(family: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The first of the family with 20 pieces more."""
    return expand(family[0], tmp_path_factory.mktemp("expanded"))


def learnt_of(model: Model) -> list[Piece]:
    return [Piece(*row) for row in json.loads((model.folder / "pieces.json").read_text())]


def naive(tokenizer: Any, words: Counter[str], pieces: int, least: int) -> list[tuple[str, str]]:
    """Continued byte-pair encoding, written as in the paper: count all pairs, join the most frequent, again."""
    cut = {word: [token.value for token in tokenizer.model.tokenize(word)] for word in words}
    known = set(tokenizer.get_vocab())
    found: list[tuple[str, str]] = []
    while len(found) < pieces:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in zip(cut[word], cut[word][1:], strict=False):
                if "".join(pair) not in known and len("".join(pair)) <= 32:
                    pairs[pair] += count
        if not pairs or max(pairs.values()) < least:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        known.add("".join(best))
        for word, parts in cut.items():
            whole: list[str] = []
            while parts:
                take = 2 if len(parts) > 1 and (parts[0], parts[1]) == best else 1
                whole.append("".join(parts[:take]))
                parts = parts[take:]
            cut[word] = whole
    return found


@pytest.mark.parametrize("seed", range(3))
def test_what_is_learnt_is_continued_byte_pair_encoding(family: list[Path], seed: int) -> None:
    tokenizer, rng = bpe_of(family[0]), random.Random(seed)
    letters = [TRADE, PLAIN, "aaaaaaa banana bananas abababab " * 3, "".join(rng.choices("abc ", k=400))]
    words = words_of(tokenizer, letters)
    found = learn(tokenizer, words, 60, 2)
    assert [(piece.left, piece.right) for piece in found] == naive(tokenizer, words, 60, 2)
    assert len(found) > 40


def test_the_counts_are_the_tokens_that_are_saved(family: list[Path], tmp_path: Path) -> None:
    tokenizer = bpe_of(family[0])
    texts = [TRADE * 5, PLAIN * 3]
    pieces = learn(tokenizer, words_of(tokenizer, texts), 25, 2)
    told = extended(json.loads((family[0] / "tokenizer.json").read_text()), pieces)
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    after = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    before = sum(len(tokenizer.encode(text).ids) for text in texts)
    # "aaa" may join once where it was counted twice, so at most.
    saved = before - sum(len(after.encode(text).ids) for text in texts)
    assert 0 < saved <= sum(piece.met for piece in pieces) and saved > 0.95 * sum(piece.met for piece in pieces)


def test_old_ids_and_old_text_stay(family: list[Path], expanded: Model) -> None:
    before, after = bpe_of(family[0]), bpe_of(expanded.model_folder)
    assert before.get_vocab().items() <= after.get_vocab().items()
    for text in (
        PLAIN,
        "SELECT name FROM orders WHERE price > 10;",
        "数据库 Straße 👩‍💻",
        "<|im_start|>user\nHi<|im_end|>",
    ):
        assert before.encode(text).ids == after.encode(text).ids
    assert after.decode(after.encode(TRADE + PLAIN).ids) == TRADE + PLAIN


def test_added_tokens_that_stand_beside_the_vocabulary_keep_their_ids(tmp_path: Path) -> None:
    """As in Llama 3 and Qwen; the library numbers them anew after a vocabulary that has grown."""
    old = Tokenizer(models.BPE())
    old.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    old.train_from_iterator(
        ["the fox and the dog " * 9], trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet)
    )
    old.add_special_tokens([AddedToken("<|eot|>", special=True), AddedToken("<pad>", special=True)])
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old.save(str(tmp_path / "old/tokenizer.json"))
    assert "<pad>" not in json.loads((tmp_path / "old/tokenizer.json").read_text())["model"]["vocab"]
    write_tokenizer(tmp_path / "old", tmp_path / "new", [Piece("q", "x", 3)])
    new = Tokenizer.from_file(str(tmp_path / "new/tokenizer.json"))
    text = "the fox<|eot|>and<pad> the <|eot|> dog"
    assert new.encode(text).ids == old.encode(text).ids and new.encode("qx").ids == [old.get_vocab_size()]


def test_template_and_special_tokens_are_unharmed(family: list[Path], expanded: Model) -> None:
    before, after = load_tokenizer(family[0]), load_tokenizer(expanded.model_folder)
    talk = [Message("user", "Which orders?"), Message("assistant", "All of them.")]
    assert Template(before).render(talk) == Template(after).render(talk)
    assert before.special_tokens_map == after.special_tokens_map
    assert after("the encumbrance")["input_ids"] == bpe_of(expanded.model_folder).encode("the encumbrance").ids


def test_the_figures_say_what_changed_where(expanded: Model) -> None:
    told = expanded.record.figures["text"]
    assert told["domain"]["tokens"]["after"] < 0.6 * told["domain"]["tokens"]["before"]
    assert told["domain"]["words_cut_otherwise"] > 0.3
    assert told["general"]["tokens"]["after"] == told["general"]["tokens"]["before"]
    assert told["general"]["words_cut_otherwise"] == 0
    assert told["domain"]["tokens_per_word"]["after"] == pytest.approx(
        told["domain"]["tokens"]["after"] / len((TRADE * 10).split()), abs=1e-3
    )
    assert told["general"]["bits_per_byte"]["before"] == pytest.approx(
        told["general"]["bits_per_byte"]["after"], rel=0.02
    )


def test_new_rows_are_the_mean_of_the_rows_of_the_old_pieces(family: list[Path], expanded: Model) -> None:
    tokenizer = bpe_of(family[0])
    old = tensors(family[0])["model.embed_tokens.weight"]
    new = tensors(expanded.model_folder)["model.embed_tokens.weight"]
    assert torch.equal(new[: len(old)], old) and len(new) == len(old) + 20
    ids = bpe_of(expanded.model_folder).get_vocab()
    for piece in learnt_of(expanded):
        parts = [token.id for token in tokenizer.model.tokenize(piece.text)]
        assert torch.allclose(new[ids[piece.text]], old[parts].mean(dim=0), atol=1e-7)
    whole = next(piece for piece in learnt_of(expanded) if piece.text == "Ġencumbrance")
    assert len(tokenizer.model.tokenize(whole.text)) > 2


def test_tied_embeddings_are_saved_once_and_load_tied(expanded: Model) -> None:
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(expanded.model_folder)
    saved = tensors(expanded.model_folder)
    assert "lm_head.weight" not in saved and network.config.vocab_size == len(saved["model.embed_tokens.weight"])
    assert network.lm_head.weight.data_ptr() == network.model.embed_tokens.weight.data_ptr()
    assert torch.equal(network.lm_head.weight, saved["model.embed_tokens.weight"])


def test_a_head_of_its_own_gets_rows_of_its_own_and_padding_is_its_mean(family: list[Path], tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    shutil.copytree(family[0], loose)
    weights = load_file(loose / "model.safetensors")
    head = torch.randn(weights["model.embed_tokens.weight"].shape, generator=torch.Generator().manual_seed(1))
    save_file({**weights, "lm_head.weight": head}, loose / "model.safetensors")
    config = json.loads((loose / "config.json").read_text())
    (loose / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    made = expand(loose, tmp_path / "w", multiple=64, measured_characters=0)
    found = tensors(made.model_folder)
    rows, old = found["lm_head.weight"], len(head)
    assert len(rows) % 64 == 0 and len(rows) == len(found["model.embed_tokens.weight"]) >= old + 20
    piece = learnt_of(made)[0]
    parts = [token.id for token in bpe_of(loose).model.tokenize(piece.text)]
    assert torch.allclose(rows[old], head[parts].mean(dim=0), atol=1e-6)
    assert torch.allclose(rows[old + 20 :], head.mean(dim=0).expand(len(rows) - old - 20, -1), atol=1e-5)


def test_rows_that_padded_the_old_embeddings_are_used_first(family: list[Path], tmp_path: Path) -> None:
    padded = tmp_path / "padded"
    shutil.copytree(family[0], padded)
    weights = load_file(padded / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = torch.cat([rows, torch.full((50, rows.shape[1]), 9.0)])
    save_file(weights, padded / "model.safetensors")
    config = json.loads((padded / "config.json").read_text())
    (padded / "config.json").write_text(json.dumps({**config, "vocab_size": len(rows) + 50}))
    made = expand(padded, tmp_path / "w", measured_characters=0)
    found = tensors(made.model_folder)["model.embed_tokens.weight"]
    assert len(found) == len(rows) + 50 and float(found[len(rows) : len(rows) + 20].max()) < 1
    assert bool((found[len(rows) + 20 :] == 9.0).all())


def test_old_tokens_for_which_the_model_has_no_row_get_the_mean_of_all(family: list[Path], tmp_path: Path) -> None:
    # As a fine-tune to which <pad> was added, and whose embeddings were not resized.
    short = tmp_path / "short"
    shutil.copytree(family[0], short)
    rows = tensors(short)["model.embed_tokens.weight"]
    told = json.loads((short / "tokenizer.json").read_text())
    told["model"]["vocab"] |= {f"<pad{at}>": len(rows) + at for at in range(3)}
    (short / "tokenizer.json").write_text(json.dumps(told))
    made = expand(short, tmp_path / "w", multiple=64, measured_characters=0)
    found, mean = tensors(made.model_folder)["model.embed_tokens.weight"], rows.mean(dim=0)
    assert torch.equal(found[: len(rows)], rows)
    assert torch.allclose(found[len(rows) : len(rows) + 3], mean.expand(3, -1), atol=1e-6)
    piece = learnt_of(made)[0]
    assert bpe_of(made.model_folder).get_vocab()[piece.text] == len(rows) + 3
    parts = [token.id for token in bpe_of(short).model.tokenize(piece.text)]
    assert torch.allclose(found[len(rows) + 3], rows[parts].mean(dim=0), atol=1e-6)
    padding = len(found) - len(rows) - 23
    assert padding and torch.allclose(found[-padding:], mean.expand(padding, -1), atol=1e-6)


def test_a_base_model_without_a_chat_template_is_measured_too(family: list[Path], tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(family[0], base, ignore=shutil.ignore_patterns("chat_template.jinja"))
    made = expand(base, tmp_path / "w", general=None)
    loss = made.record.figures["text"]["domain"]["bits_per_byte"]
    # Weights that are random give every token nearly the same share: fewer tokens a byte, fewer bits.
    assert loss["after"] < 0.7 * loss["before"]


def test_a_tokenizer_of_another_kind_is_refused(family: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "unigram"
    shutil.copytree(family[0], other)
    told = json.loads((other / "tokenizer.json").read_text())
    told["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}
    (other / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(Mistake, match="not a byte-level BPE") as caught:
        expand(other, tmp_path / "w")
    assert caught.value.found == "Unigram"


def test_text_that_asks_for_nothing_is_told(family: list[Path], tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="ask for no new piece") as caught:
        expand(family[0], tmp_path / "w", least=10_000)
    assert "lower `least`" in str(caught.value.hint)


@pytest.mark.slow
def test_the_expanded_model_can_be_exported_and_reads_as_before(expanded: Model, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    from metier.core.llamacpp import Llama
    from metier.deploy.convert import hf_to_gguf
    from metier.deploy.parity import check_tokens, compare, references
    from metier.deploy.probes import PROBES

    gguf = tmp_path / "model.gguf"
    hf_to_gguf(expanded.model_folder, gguf, {"general.license": "apache-2.0", "general.name": "tiny"}, threads=1)
    probes = [*PROBES, [Message("user", TRADE)]]
    expected = references(expanded.model_folder, probes, 4, threads=1)
    pieces = {bpe_of(expanded.model_folder).token_to_id(piece.text) for piece in learnt_of(expanded)}
    assert pieces & set(expected[-1].ids)  # the last probe is made of new pieces
    with Llama(gguf, threads=1) as llama:
        check_tokens(llama, expected)
        assert compare(llama, expected, "F16").within
