"""The trainer of preference pairs: DPO and its relatives on packed windows, the reference worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import trl

from metier.train.collate import collate
from metier.train.distributed import added_up
from metier.train.options import PairLoss
from metier.train.packing import Window
from metier.train.pair_loss import Pairs, pair_loss
from metier.train.reference import Nats, reference_of
from metier.train.trainer import Packed


class Objective(NamedTuple):
    """A loss of pairs and its numbers, see `pair_loss`."""

    loss: PairLoss = "sigmoid"
    beta: float = 0.1
    gamma: float = 0.0
    label_smoothing: float = 0.0


class PreferenceTrainer(Packed, trl.DPOTrainer):
    """TRL's DPO trainer on windows of pairs: its rows are chosen, rejected, chosen, rejected, ..., named by pair.

    Args:
        objective: which loss, and its numbers.
        most_lost: stop when chosen answers lost more nats a token than this, over the last steps.
    """

    config_class = trl.DPOConfig
    # Without precomputing TRL would load a second model.
    config_options: ClassVar[Mapping[str, Any]] = {"precompute_ref_log_probs": True, "max_length": None}

    def __init__(self, network: Any, *args: Any, objective: Objective, most_lost: float) -> None:
        super().__init__(network, *args)
        if hasattr(network, "peft_config") and "ref" in network.peft_config:
            network.delete_adapter("ref")  # TRL's copy of the adapter: the reference here is the base without one
        self.objective, self.most_lost, self.doubles = objective, most_lost, objective.loss == "apo_zero"
        self.reference: dict[str, list[float]] = {}
        self._seen: list[torch.Tensor] = []

    def _prepare_dataset(self, dataset: Any, *_args: Any) -> Any:
        return dataset  # pairs were rendered and cut before

    def _precompute_ref_logps(self, dataset: Any, *_args: Any) -> Any:
        return dataset  # `prepare` does it, window by window, and keeps it for a training that is resumed

    def prepare(self) -> None:
        """Work out the reference's log-probabilities of all pairs, or read those of a killed attempt.

        Losses without a reference need them too: to see whether chosen answers become unlikely.
        """
        self.reference = reference_of(self, self._nats_of)

    def _nats_of(self, window: Window) -> Nats:
        inputs = self._prepare_inputs(collate([window]))
        with self.compute_loss_context_manager():
            sums_R = self.row_sums(self.model, inputs).tolist()
        return {window.names[index]: sums_R[index : index + 2] for index in range(0, len(sums_R), 2)}

    def weight_of(self, inputs: dict[str, Any]) -> int:
        """How much a window counts in the mean of its optimizer step: its pairs."""
        return len(inputs["names"]) // 2

    def row_sums(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the log-probability of each row's answer, summed over its tokens, [R]."""
        log_p_N = self.log_probabilities(model, inputs)
        row_N = inputs["rows"][inputs["targets"] >= 0]
        return log_p_N.new_zeros(len(inputs["names"])).index_add(0, row_N, log_p_N)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return this window's share of the step's mean loss, and keep what `step_figures` tells."""
        sums_R = self.row_sums(model, inputs)
        chosen_P, rejected_P = sums_R[0::2], sums_R[1::2]
        reference_PR = sums_R.new_tensor([self.reference[name] for name in inputs["names"][0::2]]).reshape(-1, 2)
        base_chosen_P, base_rejected_P = reference_PR.unbind(1)
        tokens_R = torch.bincount(inputs["rows"][inputs["targets"] >= 0], minlength=len(inputs["names"]))
        tokens = tokens_R[0::2], tokens_R[1::2]
        pairs = Pairs(chosen_P, rejected_P, base_chosen_P, base_rejected_P, *tokens)
        losses_P = pair_loss(self.objective.loss, pairs, *self.objective[1:])
        margin_P = (chosen_P - base_chosen_P) - (rejected_P - base_rejected_P)
        told = [chosen_P, rejected_P, margin_P, (margin_P > 0).float(), chosen_P - base_chosen_P, tokens_R[0::2]]
        if self.recording:
            self._seen.append(torch.stack([value.detach().float() for value in told]))
        return losses_P.sum() / num_items_in_batch * self.accelerator.num_processes

    def step_figures(self) -> dict[str, float]:
        """Return means over the pairs of the last step, in nats.

        lost: nats a token that chosen answers lost against the reference. The watch bounds it: the loss can fall while
        both answers become unlikely.
        """
        seen_FP = torch.cat(self._seen, dim=1)
        self._seen.clear()
        # Of all processes together: of a small step one may have had no pairs.
        own = [*seen_FP.sum(1).tolist(), float(seen_FP.shape[1])]
        *sums, lost, tokens, pairs = added_up({"pairs": own})["pairs"]
        chosen, rejected, margin, right = (value / pairs for value in sums)
        return {"chosen": chosen, "rejected": rejected, "margin": margin, "accuracy": right, "lost": -lost / tokens}
