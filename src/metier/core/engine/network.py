"""A causal language model as numbers: hidden states by slot, and logits only where they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from metier.core.engine.attention import NAME
from metier.core.engine.slots import Slots
from metier.core.errors import Failure, Mistake
from metier.core.host import Host
from metier.core.pretrained import load_pretrained

Precision = Literal["bfloat16", "float32"]

HEAD_ROWS = 128  # logits made at once: 128 x 49,152 in float32 is 25 MB, which stays near the cores' caches
_CACHED_KINDS = {"full_attention", "sliding_attention"}


class TokenScores(NamedTuple):
    """ln P of tokens [K], float32, and whether each was the likeliest one [K], where that was asked."""

    nats: torch.Tensor
    likeliest: torch.Tensor | None


class Network:
    """A Hugging Face causal model of one folder on this host's device.

    Args:
        model: in evaluation mode, on its device.

    Raises:
        Failure: the architecture keeps a state that slots cannot hold, or changes its logits in an unknown way.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.config = model.config.get_text_config()
        self.device: torch.device = model.device
        self._decoder, self._head = model.get_decoder(), model.get_output_embeddings()
        kinds = set(getattr(self.config, "layer_types", None) or ["full_attention"])
        if not kinds <= _CACHED_KINDS:
            raise Failure(
                f"the engine cannot run a {self.config.model_type} model",
                found=f"layers of kind {', '.join(sorted(kinds - _CACHED_KINDS))}",
                hint="serve it with another engine and give its address as an OpenAI-compatible endpoint",
            )
        self._kinds = sorted(kinds) if getattr(self.config, "layer_types", None) and len(kinds) > 1 else None
        self._window: int | None = getattr(self.config, "sliding_window", None)
        if "sliding_attention" not in kinds and getattr(self.config, "layer_types", None):
            self._window = None
        self._check_head()

    @classmethod
    def load(cls, folder: Path, host: Host, precision: Precision = "bfloat16") -> Network:
        """Load the model of a Hugging Face folder. Raises Mistake if it cannot be read."""
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        torch.set_num_threads(host.threads)
        logging.disable_progress_bar()
        try:
            model = load_pretrained(
                AutoModelForCausalLM, folder, dtype=getattr(torch, precision), attn_implementation=NAME
            )
        except (OSError, ValueError) as error:
            raise Mistake(f"{folder} cannot be loaded as a model", found=str(error).splitlines()[0]) from error
        return cls(model.to("cuda" if host.gpus and torch.cuda.is_available() else "cpu").eval())

    @property
    def longest(self) -> int:
        """The most tokens a sequence may have."""
        return int(getattr(self.config, "max_position_embeddings", None) or 1 << 20)

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes that one token of one row takes in the cache."""
        heads = getattr(self.config, "num_key_value_heads", None) or self.config.num_attention_heads
        size = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        return int(2 * self.config.num_hidden_layers * heads * size * self.model.dtype.itemsize)

    def tensor(self, values: Sequence[Any]) -> torch.Tensor:
        """Return integers as a tensor on the model's device."""
        return torch.tensor(values, dtype=torch.long, device=self.device)

    def read(self, ids_NQ: torch.Tensor) -> torch.Tensor:
        """Return hidden states [N, Q, width] of rows read from their start and kept nowhere.

        Rows are padded on the right with any token: what comes later changes nothing before it.
        """
        return self._decoder(input_ids=ids_NQ, use_cache=False).last_hidden_state  # type: ignore[no-any-return]

    def read_into(self, slots: Slots, which: torch.Tensor, ids_NQ: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Read the next Q tokens of the rows in the slots `which` [N], which hold `starts` [N] tokens already.

        Returns hidden states [N, Q, width]. Rows padded on the right leave keys behind their end, which the
        row's next tokens overwrite before they could be seen.
        """
        columns_NQ = starts[:, None] + torch.arange(ids_NQ.shape[1], device=self.device)
        columns_NQ.clamp_(max=slots.length)  # only padding goes that far
        fresh = not bool(starts.any())
        slots.aim(which, columns_NQ, fresh)
        until = ids_NQ.shape[1] if fresh else int(columns_NQ.max()) + 1
        output = self._decoder(
            input_ids=ids_NQ,
            position_ids=columns_NQ,
            attention_mask=self._mask(columns_NQ[:1] if fresh else columns_NQ, until),
            past_key_values=slots,
            use_cache=True,
        )
        return output.last_hidden_state  # type: ignore[no-any-return]

    def _mask(self, columns_NQ: torch.Tensor, until: int) -> torch.Tensor | dict[str, torch.Tensor]:
        # Additive and in the model's type: the attention kernels would convert a boolean mask in every layer.
        distance = columns_NQ[:, None, :, None] - torch.arange(until, device=self.device)
        full = self._additive(distance >= 0)
        if self._window is None:
            return full
        near = self._additive((distance >= 0) & (distance < self._window))
        if self._kinds is None:
            return near
        return {kind: near if kind == "sliding_attention" else full for kind in self._kinds}

    def _additive(self, visible: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(visible.shape, dtype=self.model.dtype, device=self.device)
        return mask.masked_fill_(~visible, torch.finfo(self.model.dtype).min)

    def logits(self, hidden_ME: torch.Tensor) -> torch.Tensor:
        """Return float32 logits [M, vocabulary] of M hidden states. Keep M to some hundreds: 200 kB each."""
        logits: torch.Tensor = self._head(hidden_ME).float()
        cap = getattr(self.config, "final_logit_softcapping", None)
        if cap:
            logits = torch.tanh(logits / cap) * cap
        scale = getattr(self.config, "logits_scaling", None)
        return logits / scale if scale else logits

    def scores(
        self, hidden_ME: torch.Tensor, which_K: torch.Tensor | None, targets_K: torch.Tensor, likeliest: bool = False
    ) -> TokenScores:
        """Return ln P(target) after the states `which_K`, a chunk of logits at a time.

        Args:
            which_K: rows of `hidden_ME`, every row at least once; None where K targets belong to K states in order.
            likeliest: whether to tell too which targets are the likeliest tokens (the first of equals).
        """
        which = torch.arange(len(targets_K), device=self.device) if which_K is None else which_K
        nats = hidden_ME.new_zeros(len(targets_K), dtype=torch.float32)
        first = torch.zeros(len(targets_K), dtype=torch.bool, device=self.device) if likeliest else None
        for at in range(0, len(hidden_ME), HEAD_ROWS):
            logits = self.logits(hidden_ME[at : at + HEAD_ROWS])
            here = ((which >= at) & (which < at + len(logits))).nonzero().squeeze(1)
            rows = which[here] - at
            picked = logits[rows, targets_K[here]]
            nats[here] = picked - torch.logsumexp(logits, dim=-1)[rows]
            if first is not None:
                first[here] = logits.argmax(dim=-1)[rows] == targets_K[here]
        return TokenScores(nats, first)

    @torch.inference_mode()
    def _check_head(self) -> None:
        # Some architectures scale or cap what their head gives. Better to find out here than in a score.
        ids = self.tensor([[0, 1, 2]])
        theirs = self.model(input_ids=ids, use_cache=False).logits[0].float()
        ours = self.logits(self.read(ids)[0])
        if not torch.allclose(ours, theirs, atol=0.05, rtol=0.02):
            raise Failure(
                f"the engine does not know how a {self.config.model_type} model makes its logits",
                found=f"a difference of up to {float((ours - theirs).abs().max()):.3g}",
            )
