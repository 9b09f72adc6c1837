"""Perplexity of texts in windows: Metier's engine beside lm-eval's own Hugging Face model, on one core.

Both read the same token ids in the same windows, so the losses are equal but for the arithmetic; `note` says how equal.
"""

from __future__ import annotations

import time

from benchmarks.evaluate.likelihood_material import Precision, documents, engine, theirs
from benchmarks.peers import NotInstalled, version
from benchmarks.record import Row, save, versus

WINDOW = 1024
TEXTS, CHARACTERS = 6, 6000


def row(texts: list[str], precision: Precision) -> Row:
    """Compare speed, and losses text by text."""
    chat = engine(precision)
    ids = [chat.ids(text) for text in texts]
    start = chat.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    chat.token_losses([ids[0][:64]], start, WINDOW + 1)
    begun = time.process_time()
    losses = chat.token_losses(ids, start, WINDOW + 1)
    seconds = time.process_time() - begun
    tokens = sum(loss.tokens for loss in losses)
    name, told = f"perplexity, {precision}", f"{len(texts)} texts, {tokens:,} tokens, windows of {WINDOW}"
    found = theirs([[text] for text in texts], precision, WINDOW, start)
    if isinstance(found, NotInstalled):
        return Row(name, "lm-eval", tokens / seconds, None, None, "tokens/s", told, seconds, note=found.reason)
    apart = max(abs(loss.nats + nats) / loss.tokens for loss, nats in zip(losses, found["answers"], strict=True))
    return versus(
        name,
        "lm-eval",
        tokens / seconds,
        tokens / found["seconds"],
        "tokens/s",
        told,
        seconds,
        bar="1.5×",
        note=f"nats per token differ by {apart:.1e} at the most",
        peer_version=version("lm-eval"),
    )


def main() -> None:
    """Compare in both number formats."""
    texts = [page.text[:CHARACTERS] for page in documents() if len(page.text) >= CHARACTERS][:TEXTS]
    for precision in ("bfloat16", "float32"):
        save("evaluate", [row(texts, precision)])


if __name__ == "__main__":
    main()
