"""Keys and vectors that a model gives: its loss on each document, or an embedding of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metier.core import Host, Mistake, Work
from metier.core.extras import missing_packages
from metier.core.pretrained import load_pretrained
from metier.core.tokens import document_end
from metier.corpus.engine.shards import read_batches, spans
from metier.corpus.order.curriculum import KeyTask, save_array
from metier.corpus.order.neighbours import VectorTask, of_length

_TOGETHER = 16  # texts of one call


def need_torch(why: str) -> None:
    """Raise Mistake if the packages that run models are not installed."""
    missing = missing_packages("train")
    if missing:
        raise Mistake(
            f"{why} needs metier[train]",
            found=f"not installed: {', '.join(missing)}",
            hint="pip install 'metier[train]'",
        )


def loss_keys(work: Work, model: Path, tasks: Sequence[KeyTask], tokens: int) -> None:
    """Put the model's loss per byte on the first `tokens` tokens of each document into the keys of every shard.

    In this process, on the GPU where there is one. A shard that an earlier attempt finished is not read again.
    """
    import numpy as np

    todo = [task for task in tasks if not _losses(task).is_file()]
    if todo:
        need_torch("ordering by a model's loss")
        losses = _reader(model, work.host, tokens)
        with work.progress("reading", sum(_rows(task.shard) for task in todo), "documents") as bar:
            for task in todo:
                found: list[float] = []
                for batch in read_batches(task.shard, spans(task.shard)):
                    texts = batch.column("text").to_pylist()
                    for start in range(0, len(texts), _TOGETHER):
                        found += losses(texts[start : start + _TOGETHER])
                        bar.advance(min(_TOGETHER, len(texts) - start))
                save_array(_losses(task), np.array(found))
    for task in tasks:
        keys = np.load(task.out)
        keys["key"] = np.load(_losses(task))
        save_array(task.out, keys)


def _losses(task: KeyTask) -> Path:
    return task.out.with_suffix(".losses.npy")


def _rows(shard: Path) -> int:
    return sum(span.rows for span in spans(shard))


def _reader(folder: Path, host: Host, tokens: int) -> Callable[[Sequence[str]], list[float]]:
    """Return a function from texts to the nats a byte that a model loses on their first tokens; 0 for an empty text."""
    import torch

    from metier.core.engine import load_tokenizer
    from metier.core.engine.likelihood import text_losses, windows
    from metier.core.engine.network import Network

    network, tokenizer = Network.load(folder, host), load_tokenizer(folder)
    start, size = document_end(tokenizer), min(tokens + 1, network.longest)

    @torch.inference_mode()
    def losses(texts: Sequence[str]) -> list[float]:
        # What lies beyond is not tokenised in vain: few tokens are longer than 16 characters.
        beginnings = [text[: 16 * tokens] for text in texts]
        ids = [
            list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])[:tokens] for text in beginnings
        ]
        cut = [window for at, one in enumerate(ids) for window in windows(at, one, start, size, size - 1)]
        sums = text_losses(network, cut, lambda _: None)
        bytes_read = [len(tokenizer.decode(one).encode()) for one in ids]
        return [sums[at][0] / bytes_read[at] if bytes_read[at] else 0.0 for at in range(len(texts))]

    return losses


def embeddings(work: Work, folder: Path, tasks: Sequence[VectorTask], tokens: int) -> None:
    """Write an embedding of each document: the mean of an encoder's last hidden states over its first `tokens` tokens.

    Args:
        folder: Hugging Face files of a text encoder.

    Raises:
        Mistake: it cannot be loaded.
    """
    import numpy as np

    todo = [task for task in tasks if not task.stem.with_suffix(".dense.npy").is_file()]
    if not todo:
        return
    need_torch("ordering by an embedding model")
    encode = _encoder(folder, work.host, tokens)
    with work.progress(
        "embedding", sum(sum(span.rows for span in spans(task.shard)) for task in todo), "documents"
    ) as bar:
        for task in todo:
            found = []
            for batch in read_batches(task.shard, spans(task.shard)):
                texts = batch.column("text").to_pylist()
                for start in range(0, len(texts), _TOGETHER):
                    found.append(encode([text[: 16 * tokens] or " " for text in texts[start : start + _TOGETHER]]))
                    bar.advance(len(found[-1]))
            save_array(task.stem.with_suffix(".dense.npy"), of_length(np.concatenate(found)))


def _encoder(folder: Path, host: Host, tokens: int) -> Any:
    """Return a function from texts to the means of their hidden states, [texts, width]."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(host.threads)
    try:
        tokenizer = load_pretrained(AutoTokenizer, folder)
        model = load_pretrained(AutoModel, folder)
    except (OSError, ValueError, KeyError) as error:
        raise Mistake(
            f"{folder} cannot be loaded as an encoder",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            hint="give a folder with config.json, weights and tokenizer files",
        ) from error
    model = model.to("cuda" if host.gpus and torch.cuda.is_available() else "cpu").eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    longest = min(tokens, getattr(model.config, "max_position_embeddings", tokens))

    @torch.inference_mode()
    def encode(texts: list[str]) -> Any:
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt").to(
            model.device
        )
        states_NTE = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        mask_NT1 = inputs["attention_mask"][:, :, None]
        return ((states_NTE * mask_NT1).sum(1) / mask_NT1.sum(1)).float().cpu().numpy()

    return encode
