"""Does the served file say what the trained model says? Token ids must be equal, probabilities within a bound.

The trained model is the reference, in float32 arithmetic. Every file is read by llama.cpp, which will serve it. Both
read the same probes, and along the reference's greedy answer their next-token distributions are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Failure
from metier.core.chat import Message
from metier.core.llamacpp import Llama
from metier.core.pretrained import load_pretrained

TOP = 64
"""Likeliest tokens of the file that are compared one by one; all others together are one more."""

BOUNDS: dict[str, float] = {
    "F16": 0.002,
    "Q8_0": 0.02,
    "Q6_K": 0.05,
    "Q5_K_M": 0.3,
    "Q4_K_M": 0.3,
    "Q4_0": 0.8,
}
"""Most nats that the mean divergence may reach, by kind of file.

Three times and more what SmolLM2-135M-Instruct shows (4e-6, 0.004, 0.010, 0.073, 0.060, 0.26): small models lose most
by rounding. A wrong cut, template or tensor shows as several nats. Q5 is no better than Q4 there as its weights, which
were 4-bit once, lie on a 4-bit lattice.
"""


class Reference(NamedTuple):
    """What the trained model does with one probe: the prompt's text and ids, its greedy answer, its log-probabilities.

    `log_probs`: float32 [T, V], one row for each token of the answer.
    """

    messages: list[Message]
    text: str
    ids: list[int]
    answer: list[int]
    log_probs: Any


class Parity(NamedTuple):
    """How one file compares with the trained model.

    divergence: mean KL(reference, file) in nats over the answer tokens, from below (see `divergence`).
    agreement: share of answer tokens at which both would go on alike. bound: what `divergence` may be at most.
    """

    file: str
    quantisation: str
    divergence: float
    worst: float
    bound: float
    agreement: float
    tokens: int
    prompts: int

    @property
    def within(self) -> bool:
        """Whether the file may leave; never if the divergence is not a number."""
        return self.divergence <= self.bound


def references(model_folder: Path, probes: Sequence[Sequence[Message]], tokens: int, threads: int) -> list[Reference]:
    """Return what the model of a Hugging Face folder does with `probes`, greedily, for `tokens` tokens each."""
    import torch
    from transformers import AutoModelForCausalLM

    from metier.core.engine import load_tokenizer
    from metier.core.template import Template

    torch.set_num_threads(threads)
    template = Template(load_tokenizer(model_folder))
    model = load_pretrained(AutoModelForCausalLM, model_folder, dtype=torch.float32).eval()
    found = []
    with torch.inference_mode():
        for probe in probes:
            prompt = template.render(probe, generate=True)
            ids = torch.tensor([prompt.ids])
            # Never stopped: what follows an end-of-turn token must agree as well.
            answer = _greedy(model, ids, tokens)
            logits = model(torch.cat([ids, answer], dim=1)).logits[0, len(prompt.ids) - 1 : -1]
            log_probs = torch.log_softmax(logits.float(), dim=-1).numpy()
            found.append(Reference(list(probe), prompt.text, prompt.ids, answer[0].tolist(), log_probs))
    return found


def _greedy(model: Any, ids: Any, tokens: int) -> Any:
    import torch

    cache, answer, step = None, [], ids
    for _ in range(tokens):
        out = model(step, past_key_values=cache, use_cache=True)
        cache, step = out.past_key_values, out.logits[:, -1:].argmax(dim=-1)
        answer.append(step)
    return torch.cat(answer, dim=1)


def check_tokens(llama: Llama, expected: Sequence[Reference]) -> None:
    """Raise Failure unless the file renders and tokenizes every probe exactly as the trained model does."""
    for reference in expected:
        text = llama.render([message._asdict() for message in reference.messages])
        ids = llama.tokenize(text)
        if ids == reference.ids:
            continue
        at = next((i for i, pair in enumerate(zip(ids, reference.ids, strict=False)) if pair[0] != pair[1]), None)
        at = min(len(ids), len(reference.ids)) if at is None else at
        cause = "its chat template renders other text" if text != reference.text else "its tokenizer cuts otherwise"
        raise Failure(
            f"{llama.gguf.name} reads a prompt differently from the trained model: {cause}",
            found=f"token {at}: {ids[at : at + 4]} for {reference.ids[at : at + 4]}, in {reference.text[-60:]!r}",
            hint="the tokenizer or the chat template did not survive the conversion: do not serve this file",
        )


def compare(llama: Llama, expected: Sequence[Reference], quantisation: str) -> Parity:
    """Return how the loaded file compares with the trained model over all answer tokens of the probes."""
    divergences, alike = [], 0
    forced = llama.tokenize("a")[-1]
    for reference in expected:
        for at, token in enumerate(reference.answer):
            likeliest = likeliest_tokens(llama, reference.ids + reference.answer[:at], forced)
            divergences.append(divergence(reference.log_probs[at], likeliest))
            alike += max(likeliest, key=lambda choice: likeliest[choice]) == token
    return Parity(
        file=llama.gguf.name,
        quantisation=quantisation,
        divergence=sum(divergences) / len(divergences),
        worst=max(divergences),
        bound=BOUNDS[quantisation],
        agreement=alike / len(divergences),
        tokens=len(divergences),
        prompts=len(expected),
    )


def likeliest_tokens(llama: Llama, ids: Sequence[int], forced: int) -> dict[int, float]:
    """Return the log-probabilities of the TOP likeliest tokens after `ids`, by token.

    Args:
        forced: a token of whole characters that ends no answer, to be drawn: llama.cpp tells no probabilities while a
            character is incomplete. They are those before any sampling, so what is drawn does not touch them.
    """
    body = {
        "prompt": list(ids),
        "n_predict": 1,
        "n_probs": TOP,
        "temperature": 0.0,
        "logit_bias": [[forced, 1e6]],
        "cache_prompt": True,
    }
    (step,) = llama.post("/completion", body)["completion_probabilities"]
    return {choice["id"]: choice["logprob"] for choice in step["top_logprobs"]}


def divergence(reference_V: Any, likeliest: Mapping[int, float]) -> float:
    """Return KL(reference, file) in nats, with all tokens outside `likeliest` taken as one.

    Merging outcomes never raises a KL divergence, so this is a lower bound; with the 64 likeliest apart, a close one.

    Args:
        reference_V: the reference's log-probabilities, [V].
        likeliest: the file's log-probabilities by token; numbers that are none make the result none.
    """
    pairs = [(math.exp(reference_V[token]), math.exp(log_prob)) for token, log_prob in likeliest.items()]
    # Not below the smallest share that float32 sums can tell from nothing.
    rest = [max(1.0 - sum(side), 1e-7) for side in zip(*pairs, strict=True)]
    return math.fsum(p * math.log(p / max(q, 1e-30)) for p, q in [*pairs, (rest[0], rest[1])] if p > 0)


def require(parity: Parity) -> None:
    """Raise Failure if a file is too far from the trained model."""
    if parity.within:
        return
    raise Failure(
        f"{parity.file} is not the model that was trained: {parity.quantisation} is too far from it",
        found=f"mean divergence {parity.divergence:.4f} nats over {parity.tokens} tokens, bound {parity.bound}; "
        f"next token alike at {parity.agreement:.0%}",
        hint="leave it out of `quantise` or take a finer one (Q8_0), and examine the model again"
        if parity.quantisation != "F16"
        else "the conversion lost something: do not serve it",
    )
