"""The in-process engine as lm-eval's language model. Imports lm_eval, so only `run()` imports it.

Requests are answered as lm-eval's own Hugging Face model answers them (the same token ids, the same windows, the same
cuts of what is too long), so that answers are equal as far as the device's arithmetic allows. What is shared is read
once, only the tokens that are scored get logits, and rows of like length are read together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from metier.core.chat import Decoding
from metier.core.engine.generation import Generated, generate
from metier.core.errors import Mistake

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from metier.core.engine import EngineChat

MAX_TOKENS = 256  # of an answer, where a task does not say; lm-eval's own default
_KNOWN = {"do_sample", "temperature", "top_p", "top_k", "repetition_penalty", "use_cache"}
"""Settings of a task's generation that are followed here, or that change no answer."""


class Asked(NamedTuple):
    """How an answer is generated."""

    decoding: Decoding
    until: tuple[str, ...]


class EngineLM(TemplateLM):
    """A model that lm-eval can ask, over the engine.

    Args:
        engine: the model.
        seen: called with how many more requests are answered.

    `cut` counts prompts that were longer than the model can read and lost their beginning, as lm-eval cuts them.
    """

    def __init__(self, engine: EngineChat, seen: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        self.engine, self.tokenizer, self.seen = engine, engine.tokenizer, seen
        self._device = engine.network.device
        self.cut = 0

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text that has no context: the tokenizer's bos, where it has one."""
        bos = self.tokenizer.bos_token_id
        return int(bos if bos is not None else self.tokenizer.eos_token_id)

    @property
    def max_length(self) -> int:
        """The most tokens the model can read."""
        return self.engine.network.longest

    @property
    def tokenizer_name(self) -> str:
        """What the tokenizer is called."""
        return str(self.tokenizer.name_or_path)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return messages as the model's own chat template writes them."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return token ids. Special tokens are added as the tokenizer does unless the text begins with its bos."""
        if add_special_tokens is None:
            begins = string.startswith(self.tokenizer.decode(self.prefix_token_id))
            return list(self.tokenizer.encode(string, **({"add_special_tokens": False} if begins else {})))
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation, and whether it is what greedy decoding would say."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm)
        return found

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        contexts, continuations = [], []
        for _names, context, continuation in requests:
            self.cut += len(context) + len(continuation) > self.max_length + 1
            read = (context + continuation)[-(self.max_length + 1) :]
            contexts.append(read[: max(0, len(read) - len(continuation))])  # a continuation may be empty
            continuations.append(continuation)
        found = self.engine.log_likelihoods(contexts, continuations, self.seen, greedy=True)
        return [(one.nats, bool(one.greedy)) for one in found]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of each whole text, in windows as long as the model can read."""
        texts = [self.tok_encode(request.args[0]) for request in requests]
        window = self.max_length + 1  # a window's last token is scored and never read
        losses = self.engine.token_losses(texts, self.prefix_token_id, window, window - 1)
        self.seen(len(requests))
        return [-loss.nats for loss in losses]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return an answer to each prompt, up to the first of its stop texts."""
        groups: dict[Asked, list[int]] = {}
        for at, request in enumerate(requests):
            groups.setdefault(self._asked(request.args[1]), []).append(at)
        found = [""] * len(requests)
        for asked, rows in groups.items():
            texts = self._answers([self.tok_encode(requests[at].args[0]) for at in rows], asked)
            for at, text in zip(rows, texts, strict=True):
                found[at] = text
        return found

    def _asked(self, given: Mapping[str, Any]) -> Asked:
        settings: dict[str, Any] = dict(normalize_gen_kwargs(dict(given), MAX_TOKENS))
        until = handle_stop_sequences(settings.pop("until"), self.tokenizer.decode(self.eot_token_id))
        most = settings.pop("max_gen_toks")
        sampled = bool(settings.get("do_sample"))
        if settings.get("num_beams") == 1:
            del settings["num_beams"]  # one beam is no search
        if unknown := set(settings) - _KNOWN:
            raise Mistake(
                f"the engine does not know the task's generation setting '{min(unknown)}'",
                found=", ".join(f"{name}: {settings[name]}" for name in sorted(unknown)),
                hint="change `generation_kwargs` in a copy of the task's YAML",
            )
        drawn = {name: settings[name] for name in ("temperature", "top_p", "top_k") if settings.get(name) is not None}
        decoding = Decoding(
            max_tokens=most,
            repetition_penalty=settings.get("repetition_penalty", 1.0),
            **({"temperature": 1.0, **drawn} if sampled else {}),
        )
        return Asked(decoding, tuple(text for text in until if text))

    def _answers(self, prompts: list[list[int]], asked: Asked) -> list[str]:
        room = self.max_length - asked.decoding.max_tokens
        if room <= 0:
            raise Mistake(
                "a task asks for longer answers than the model can read",
                found=f"max_gen_toks {asked.decoding.max_tokens}; the model takes {self.max_length} with the prompt",
                hint="lower max_gen_toks in a copy of the task's YAML",
            )
        self.cut += sum(len(prompt) > room for prompt in prompts)
        prompts = [prompt[-room:] for prompt in prompts]
        found: dict[int, str] = {}

        def done(at: int, answers: list[Generated]) -> None:
            text = self.tokenizer.decode(answers[0].ids, skip_special_tokens=True)
            found[at] = postprocess_generated_text(text, list(asked.until), None)
            self.seen(1)

        # A stop text may begin inside a token and end inside another: so many of the last tokens hold it whole.
        reach = max((len(text.encode()) for text in asked.until), default=0) + 1

        def ended(_: int, ids: Sequence[int]) -> bool:
            tail = self.tokenizer.decode(ids[-reach:])
            return any(text in tail for text in asked.until)

        rows = self.engine.rows(max(map(len, prompts), default=0) + asked.decoding.max_tokens)
        with torch.inference_mode():
            generate(self.engine.network, prompts, self.engine.stops, asked.decoding, rows, done, ended)
        return [found[at] for at in range(len(prompts))]
