"""The loss of running text under a model that need not know how to chat."""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from metier.core import Host
from metier.core.engine.likelihood import text_losses, windows
from metier.core.engine.network import Network, Precision
from metier.core.tokens import document_end
from metier.train.network import load_tokenizer

WINDOW = 512


def bits_per_byte(folder: Path, texts: Sequence[str], host: Host, precision: Precision) -> float:
    """Return what a model loses on texts, read in windows of 512 tokens, in bits a byte of UTF-8.

    Bytes and not tokens, so that models with unlike tokenizers can be compared.
    """
    tokenizer = load_tokenizer(folder)
    network = Network.load(folder, host, precision)
    start, size = document_end(tokenizer), min(WINDOW, network.longest)
    ids = [list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) for text in texts]
    cut = [window for at, one in enumerate(ids) for window in windows(at, one, start, size, size - 1)]
    with torch.inference_mode():
        sums = text_losses(network, cut, lambda _: None)
    del network
    gc.collect()
    return math.fsum(nats for nats, _ in sums.values()) / sum(len(text.encode()) for text in texts) / math.log(2)
