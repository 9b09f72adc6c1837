"""A tiny Llama with random weights and a tokenizer of its own, to try a whole chain in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from metier.core import Step, Work
from metier.core.types import Model

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

SENTENCES = (
    "The table holds one row for each order, and each order belongs to one customer.",
    "A statement that begins with SELECT reads rows; INSERT, UPDATE and DELETE change them.",
    "When the database is opened for the first time, the file is created empty.",
    "An index makes a lookup fast, but every write has to keep the index up to date.",
    "Which customers have not placed an order in the last thirty days?",
    "How many books were sold in each city, and what was the average price?",
    "The function returns NULL if the argument is NULL or cannot be converted to a number.",
    "Use a transaction when several changes must either all happen or not happen at all.",
    "If the value is not found, an error is raised with a message that says what was expected.",
    "The default is zero. The maximum is 65535. The minimum depends on the page size.",
    "SELECT name, COUNT(*) AS total FROM orders WHERE price > 10 GROUP BY name ORDER BY total DESC;",
    "SELECT c.name, o.price FROM customers AS c JOIN orders AS o ON o.customer_id = c.id LIMIT 5;",
    "CREATE TABLE books(id INTEGER PRIMARY KEY, title TEXT NOT NULL, price REAL DEFAULT 0.0);",
    "INSERT INTO books(title, price) VALUES ('The sea', 12.50), ('The hill', 8.00);",
    "UPDATE books SET price = price * 1.1 WHERE title LIKE 'The %' AND price IS NOT NULL;",
    "DELETE FROM orders WHERE placed_on < '2020-01-01';",
    "PRAGMA journal_mode = WAL;",
    "def total(rows: list[int]) -> int:\n    return sum(row for row in rows if row > 0)\n",
    "for name in names:\n    print(f'{name}: {len(name)} characters')\n",
    "import sqlite3\n\nconnection = sqlite3.connect(':memory:')\nconnection.execute('SELECT 1')\n",
    "# Settings\n\n- one\n- two\n\n| column | meaning |\n|---|---|\n| id | the key |\n",
    "What is this? It is a short answer. Why? Because the question was short. Thank you, and good day!",
    "You are a helpful assistant. Answer the question of the user with one statement.",
    "Die Straße führt über den Fluss. Où est la gare ? El niño comió mañana.",
    "数据库保存每一行。请问这个函数返回什么？",
)


class TinyModel(Step[Model]):
    """Make a tiny model with random weights: it knows nothing, but goes through every step in seconds."""

    name: ClassVar[str] = "tiny-model"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    vocab_size: int = Field(600, ge=259, description="most tokens of the tokenizer: 256 bytes, 3 special ones, merges")
    hidden: int = Field(64, ge=32, multiple_of=32, description="width")
    layers: int = Field(2, ge=1, description="transformer blocks")
    seed: int = Field(0, description="seed of the random weights")

    def run(self, work: Work) -> None:
        """Write the model's folder."""
        make_tiny_model(work.folder / "model", self.vocab_size, self.hidden, self.layers, self.seed)
        work.figure("origin", {"model": "random weights", "licence": "apache-2.0"})


def tiny_tokenizer(vocab_size: int = 600) -> Any:
    """Return a byte-level BPE tokenizer with a ChatML template, trained on `SENTENCES`.

    Any text survives encoding and decoding: the alphabet is the 256 bytes. Digits stand alone
    as in SmolLM2, so that its converters recognise how it splits text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=1,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    end_of_text, turn_starts, turn_ends = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=turn_starts,
        eos_token=turn_ends,
        pad_token=turn_ends,
        unk_token=end_of_text,
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def make_tiny_model(folder: Path, vocab_size: int = 600, hidden: int = 64, layers: int = 2, seed: int = 0) -> Path:
    """Write a random-weights Llama and its tokenizer to `folder` as a Hugging Face folder; return `folder`.

    The vocabulary can come out smaller than `vocab_size` when `SENTENCES` has no more pairs to merge;
    it is never smaller than the 256 bytes and three special tokens. `hidden` is a multiple of 32.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()

    tokenizer = tiny_tokenizer(vocab_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 16,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
