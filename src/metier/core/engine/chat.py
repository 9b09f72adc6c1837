"""The in-process engine: a Chat over transformers that also says how likely a text is.

It reads a prefix that several prompts share once, keeps answers of unlike length side by side, gives the place of a
finished answer to the next, and makes logits only where they are needed. `generation` says what is guaranteed about
the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from metier.core.chat import Decoding, Message, Reply
from metier.core.engine.generation import Generated, generate
from metier.core.engine.likelihood import Likelihood, Loss, continuation_likelihoods, text_losses, windows
from metier.core.engine.network import Network, Precision
from metier.core.errors import Mistake
from metier.core.host import Host
from metier.core.pretrained import load_pretrained
from metier.core.template import Template

ROWS_AT_ONCE = 128  # measured: 800 tokens/s on two cores against 640 with 64 rows and 340 with 16
CACHE_SHARE = 4  # the cache may take this part of the memory

Seen = Callable[[int], None]
"""Called with how many more prompts, rows or tokens are done."""


def _unseen(_: int) -> None: ...


class EngineChat:
    """A model of one Hugging Face folder, in this process.

    Args:
        model_folder: config.json, *.safetensors, tokenizer files and chat template.
        host: whose threads, memory and GPU it may use.
        precision: type of weights and arithmetic. Scores made with unlike precisions are not to be compared.
        rows_at_once: most answers decoded together; less where memory is short.

    Raises:
        Mistake: the folder has no model, no tokenizer or no chat template. Failure: the architecture is not supported.
    """

    def __init__(
        self, model_folder: Path, host: Host, precision: Precision = "bfloat16", rows_at_once: int = ROWS_AT_ONCE
    ) -> None:
        self.tokenizer = load_tokenizer(model_folder)
        self.template = Template(self.tokenizer)
        self.network = Network.load(model_folder, host, precision)
        self._memory_bytes = host.gpus[0].memory_bytes if self.network.device.type == "cuda" else host.memory_bytes
        self._rows_at_once = rows_at_once
        self.stops = self._stop_tokens()

    def complete(
        self,
        conversations: Sequence[Sequence[Message]],
        decoding: Decoding,
        seen: Callable[[int, list[Reply]], None] | None = None,
        until: Callable[[int, str], bool] | None = None,
    ) -> list[list[Reply]]:
        """Return `decoding.samples` replies to each conversation.

        Args:
            seen: called with a conversation's index and replies as soon as they are there, in no fixed order.
            until: called with a conversation's index and an answer's text whenever a line of it is whole; True ends it.

        Raises:
            Mistake: a conversation leaves no room for an answer.
        """
        prompts = [self.template.render(messages, generate=True).ids for messages in conversations]
        longest = max(map(len, prompts), default=0)
        if longest >= self.network.longest:
            raise Mistake(
                "a conversation is longer than the model can read",
                found=f"{longest} tokens; the model takes {self.network.longest} with the answer",
                hint="shorten it",
            )
        replies: list[list[Reply]] = [[] for _ in prompts]

        def done(prompt: int, answers: list[Generated]) -> None:
            texts = self.tokenizer.batch_decode([answer.ids for answer in answers], skip_special_tokens=True)
            replies[prompt] = [
                Reply(text, len(answer.ids), answer.finished) for text, answer in zip(texts, answers, strict=True)
            ]
            if seen is not None:
                seen(prompt, replies[prompt])

        with torch.inference_mode():
            rows = self.rows(longest + decoding.max_tokens)
            generate(self.network, prompts, self.stops, decoding, rows, done, self._at_line_ends(until))
        return replies

    def log_likelihoods(
        self,
        contexts: Sequence[Sequence[int]],
        continuations: Sequence[Sequence[int]],
        seen: Seen = _unseen,
        greedy: bool = False,
    ) -> list[Likelihood]:
        """Return the log-likelihood of each continuation after its context, both as token ids.

        With `greedy` it is also told whether the model would say exactly the continuation.
        """
        longest = max((len(a) + len(b) for a, b in zip(contexts, continuations, strict=True)), default=0)
        with torch.inference_mode():
            return continuation_likelihoods(self.network, contexts, continuations, self.rows(longest), seen, greedy)

    def reply_likelihoods(
        self, conversations: Sequence[Sequence[Message]], replies: Sequence[str], seen: Seen = _unseen
    ) -> list[Likelihood]:
        """Return the log-likelihood of each reply's text, without its end-of-turn token, after its conversation."""
        contexts = [self.template.render(messages, generate=True).ids for messages in conversations]
        return self.log_likelihoods(contexts, [self.ids(reply) for reply in replies], seen)

    def text_losses(
        self, texts: Sequence[str], window: int = 512, stride: int | None = None, seen: Seen = _unseen
    ) -> list[Loss]:
        """Return the loss of each text, read in windows of `window` tokens.

        Windows advance by `stride` tokens; if it is None they do not overlap. Every token is scored, the first one
        after the token that begins a text; so the sum belongs to all bytes of the text, and models with unlike
        tokenizers can be compared per byte.
        """
        found = self.token_losses([self.ids(text) for text in texts], self._start_token(), window, stride, seen)
        return [loss._replace(text_bytes=len(text.encode())) for loss, text in zip(found, texts, strict=True)]

    def token_losses(
        self,
        texts: Sequence[Sequence[int]],
        start: int,
        window: int,
        stride: int | None = None,
        seen: Seen = _unseen,
    ) -> list[Loss]:
        """Return the loss of texts given as token ids, after the token `start`, in windows as `text_losses` reads them.

        A window's last token is scored and never read, so a window may be one longer than what the model takes. The
        bytes of the texts are not known here and 0.

        Raises:
            Mistake: the model cannot read so long a window.
        """
        if not 1 < window <= self.network.longest + 1:
            raise Mistake(f"a window of {window} tokens", found=f"the model takes 2 to {self.network.longest}")
        cut = [w for at, ids in enumerate(texts) for w in windows(at, ids, start, window, stride or window - 1)]
        with torch.inference_mode():
            sums = text_losses(self.network, cut, seen)
        return [Loss(*sums.get(at, (0.0, 0)), 0) for at in range(len(texts))]

    def _at_line_ends(self, until: Callable[[int, str], bool] | None) -> Callable[[int, list[int]], bool] | None:
        if until is None:
            return None
        tokens = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        breaks = frozenset(token for token, text in enumerate(tokens) if "\n" in text)
        return lambda prompt, ids: ids[-1] in breaks and until(prompt, self.tokenizer.decode(ids))

    def ids(self, text: str) -> list[int]:
        """Return the token ids of `text`, no special token added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def rows(self, longest: int) -> int:
        """Return how many rows of `longest` tokens are read together: as many as memory and `rows_at_once` allow."""
        affordable = self._memory_bytes // CACHE_SHARE // max(1, longest * self.network.cache_bytes_per_token)
        return max(1, min(self._rows_at_once, affordable))

    def _stop_tokens(self) -> frozenset[int]:
        """Return every token that ends an answer: those that the folder names, and the template's own end of turn."""
        named = [self.network.model.generation_config.eos_token_id, self.network.config.eos_token_id]
        found = {token for ids in named for token in (ids if isinstance(ids, list) else [ids]) if token is not None}
        trained = self.template.render([Message("user", "a"), Message("assistant", "b")])
        found.add([token for token, kept in zip(trained.ids, trained.mask, strict=True) if kept][-1])
        return frozenset(found)

    def _start_token(self) -> int:
        # What stood before a text in pretraining. The tokenizer's bos is no guide: ChatML models name a turn's opening.
        tokenizer = self.tokenizer
        text_end = tokenizer.get_vocab().get("<|endoftext|>")
        for token in (text_end, tokenizer.bos_token_id, tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise Mistake("the tokenizer has no token that begins or ends a text")


def load_tokenizer(folder: Path):  # type: ignore[no-untyped-def]  # transformers' classes carry no types
    """Load the tokenizer of a Hugging Face folder. Raises Mistake if there is none."""
    from transformers import AutoTokenizer

    try:
        return load_pretrained(AutoTokenizer, folder)
    except (OSError, ValueError, KeyError) as error:
        raise Mistake(
            f"{folder} has no tokenizer that can be loaded",
            found=str(error).splitlines()[0][:300] if str(error) else type(error).__name__,
            hint="put tokenizer.json and tokenizer_config.json beside config.json",
        ) from error
