"""The trainer of preference pairs: DPO over packed windows, the reference's log-probabilities worked out once."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import torch

from metier.core import Failure, Work
from metier.core.files import write_json_atomic
from metier.core.progress import Bar
from metier.train.collate import collate
from metier.train.loss import dpo_loss
from metier.train.schedule import Schedule
from metier.train.trainer import PackedTrainer, Settings

_STEPS_WATCHED = 10


class PreferenceTrainer(PackedTrainer):
    """Train on windows of pairs: a window's rows are chosen, rejected, chosen, rejected, ... and named by pair.

    Args:
        beta: of the DPO loss.
        most_lost: stop when chosen answers lost more nats a token than this, over the last steps.
    """

    def __init__(
        self,
        network: Any,
        schedule: Schedule,
        settings: Settings,
        folder: Path,
        work: Work,
        bar: Bar,
        beta: float,
        most_lost: float,
    ) -> None:
        super().__init__(network, schedule, settings, folder, work, bar)
        self.beta, self.most_lost = beta, most_lost
        self.reference: dict[str, list[float]] = {}
        self._seen: list[torch.Tensor] = []
        self._lost: deque[float] = deque(maxlen=_STEPS_WATCHED)
        self._warned = False

    def prepare(self) -> None:
        """Work out the reference's log-probabilities of all pairs, or read those of a killed attempt."""
        path = self.checkpoints.folder / "reference.json"
        if path.is_file():
            kept = json.loads(path.read_text())
            if kept["fingerprint"] == self.checkpoints.fingerprint:
                self.reference = kept["nats"]
                return
        self.model.eval()
        with self.work.progress("reference", total=self.schedule.tokens, unit="tokens") as bar, torch.no_grad():
            for window in self.schedule.windows:
                if any(name not in self.reference for name in window.names):
                    inputs = self._prepare_inputs(collate([window]))
                    with self.compute_loss_context_manager():
                        sums_R = self.row_sums(self.model, inputs).tolist()
                    for index in range(0, len(sums_R), 2):
                        self.reference[window.names[index]] = sums_R[index : index + 2]
                bar.advance(len(window.ids))
        write_json_atomic(path, {"fingerprint": self.checkpoints.fingerprint, "nats": self.reference})

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
        """Return this window's share of the step's mean DPO loss, and keep what `step_figures` tells."""
        sums_R = self.row_sums(model, inputs)
        chosen_P, rejected_P = sums_R[0::2], sums_R[1::2]
        reference_PR = sums_R.new_tensor([self.reference[name] for name in inputs["names"][0::2]])
        base_chosen_P, base_rejected_P = reference_PR.unbind(1)
        losses_P = dpo_loss(chosen_P, rejected_P, base_chosen_P, base_rejected_P, self.beta)
        tokens_R = torch.bincount(inputs["rows"][inputs["targets"] >= 0], minlength=len(inputs["names"]))
        margin_P = (chosen_P - base_chosen_P) - (rejected_P - base_rejected_P)
        told = [chosen_P, rejected_P, margin_P, (margin_P > 0).float(), chosen_P - base_chosen_P, tokens_R[0::2]]
        if self.model.training:  # not in the rehearsal
            self._seen.append(torch.stack([value.detach().float() for value in told]))
        return losses_P.sum() / num_items_in_batch * self.accelerator.num_processes

    def step_figures(self) -> dict[str, float]:
        """Return means over the pairs of the last step, in nats; watch that chosen answers do not collapse.

        Raises:
            Failure: they did: the loss can fall while both answers become unlikely.
        """
        seen_FP = torch.cat(self._seen, dim=1)
        self._seen.clear()
        chosen, rejected, margin, right, _, _ = seen_FP.mean(1).tolist()
        self._lost.append(-float(seen_FP[4].sum() / seen_FP[5].sum()))
        lost = sum(self._lost) / len(self._lost)
        if lost > self.most_lost:
            raise Failure(
                "the training makes even the chosen answers unlikely",
                found=f"they lost {lost:.2f} nats a token against the reference, over {len(self._lost)} steps",
                hint="lower the learning rate, or raise beta",
            )
        if lost > self.most_lost / 2 and not self._warned:
            self._warned = True
            self.work.warn(f"chosen answers lost {lost:.2f} nats a token; the training stops at {self.most_lost:g}")
        return {"chosen": chosen, "rejected": rejected, "margin": margin, "accuracy": right}
