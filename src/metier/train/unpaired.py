"""The trainer of answers that were judged one by one: KTO on packed windows, the reference worked out once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metier.train.collate import EMPTY, collate
from metier.train.distributed import added_up
from metier.train.packing import Group, Row, Window, window_of
from metier.train.reference import Nats, reference_of
from metier.train.trainer import PackedTrainer


class Judged(NamedTuple):
    """What KTO knows of its rows, by their names: whether each is good, and its prompt with another row's answer."""

    good: Mapping[str, bool]
    mismatched: Mapping[str, Row]
    beta: float = 0.1
    good_weight: float = 1.0
    bad_weight: float = 1.0


def kto_loss(
    gained_R: torch.Tensor, good_R: torch.Tensor, divergence: float, beta: float, good_weight: float, bad_weight: float
) -> torch.Tensor:
    """Return KTO's loss of each answer, [R]: lambda - v of Ethayarajh et al. 2024, "KTO", eq. 8 (at first 7).

    Args:
        gained_R: how much likelier the policy finds each answer than the reference does, in nats.
        good_R: whether each was found good.
        divergence: the reference point z0, see `divergence_of`.
    """
    above_R = beta * (gained_R - divergence)
    loss_R = 1 - torch.sigmoid(torch.where(good_R, above_R, -above_R))
    return loss_R * torch.where(good_R, good_weight, bad_weight)


class UnpairedTrainer(PackedTrainer):
    """TRL's loop with KTO's loss. It counts an optimizer step by its answers.

    TRL's own KTO trainer takes the reference point from each forward pass; here it is that of the optimizer step, so
    that the loss is the same however the step is cut into passes and shared among processes.

    Args:
        judged: what is known of the rows.
        most_lost: nats a token that good answers may lose against the reference, for the watch.
    """

    doubles = True

    def __init__(self, network: Any, *args: Any, judged: Judged, most_lost: float | None = None) -> None:
        self.judged, self.most_lost = judged, most_lost
        self.reference: dict[str, list[float]] = {}
        self._seen: list[torch.Tensor] = []
        self._divergence = 0.0
        super().__init__(network, *args)
        windows = [*self.schedule.windows, *self.validation.windows]
        self._room = max(len(window.ids) for window in windows)  # tokens that a forward pass is known to have room for

    def more_data(self) -> dict[str, str]:
        """Return a digest of the judgements."""
        told = repr(sorted(self.judged.good.items()))
        return {"judgements": hashlib.sha256(told.encode()).hexdigest()}

    def prepare(self) -> None:
        """Work out the reference's log-probabilities of all answers, or read those of a killed attempt."""
        self.reference = reference_of(self, self._nats_of)

    def _nats_of(self, window: Window) -> Nats:
        others = [nats for some in self._passes(window.names) for nats in self._sums(self._mismatch(some))]
        sums = zip(self._sums(collate([window])), others, strict=True)
        return {name: list(both) for name, both in zip(window.names, sums, strict=True)}

    def weight_of(self, inputs: dict[str, Any]) -> int:
        """How much a window counts in the mean of its optimizer step: its answers."""
        return len(inputs["names"])

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """Return the windows of the next optimizer step and its answers, and work out the step's reference point."""
        batches, total = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._divergence = self.divergence_of([name for inputs in batches for name in inputs["names"]])
        return batches, total

    def divergence_of(self, names: Sequence[str], of_all: bool = True) -> float:
        """Return the reference point z0 of rows: how far the policy is from the reference, in nats, never below 0.

        The mean of log p - log p of the reference, of other rows' answers to the prompts of these.
        No gradient, no dropout. The paper and TRL take the answers of the same batch, in another order; here they are
        those of any other rows, see `mismatched`: the same expectation, and the reference is worked out once.

        Args:
            of_all: whether the rows of all processes count, and not only these. All have to call it in either case.
        """
        training = self.model.training
        self.model.eval()
        gained, passes = 0.0, self._passes(names)
        most = len(passes)
        if self.args.world_size > 1:
            most = int(self.accelerator.gather(torch.tensor([most], device=self.args.device)).max())
        with torch.no_grad():
            for some in passes:
                sums = self._sums(self._mismatch(some))
                gained += sum(now - self.reference[name][1] for name, now in zip(some, sums, strict=True))
            for _ in range(most - len(passes)):  # weights that are cut are put together in every pass, by all processes
                self._sums(collate([EMPTY]))
        self.model.train(training)
        both = torch.tensor([gained, float(len(names))], device=self.args.device)
        if of_all and self.args.world_size > 1:
            both = self.accelerator.gather(both[None]).sum(0)
        return max(0.0, float(both[0] / both[1].clamp(min=1)))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return this window's share of the step's mean loss, and keep what `step_figures` tells."""
        names = inputs["names"]
        divergence = self._divergence if self.recording else self.divergence_of(names, of_all=False)
        sums_R = self._row_sums(model, inputs)
        gained_R = sums_R - sums_R.new_tensor([self.reference[name][0] for name in names])
        # Told that they are bools: of several processes one may have a pass without rows.
        good_R = torch.tensor([self.judged.good[name] for name in names], dtype=torch.bool, device=sums_R.device)
        losses_R = kto_loss(gained_R, good_R, divergence, *self.judged[2:])
        if self.recording:
            tokens_R = torch.bincount(inputs["rows"][inputs["targets"] >= 0], minlength=len(names))
            self._seen.append(torch.stack([gained_R.detach().float(), good_R.float(), tokens_R.float()]))
        return losses_R.sum() / num_items_in_batch * self.accelerator.num_processes

    def step_figures(self) -> dict[str, float]:
        """Return means over the answers of the last step, in nats.

        good, bad: how much likelier than the reference. lost: nats a token that good answers lost against it.
        """
        gained_R, good_R, tokens_R = torch.cat(self._seen, dim=1)
        self._seen.clear()
        sums = added_up(
            {
                kind: [float(gained_R[own].sum()), float(tokens_R[own].sum()), float(own.sum())]
                for kind, own in (("good", good_R > 0), ("bad", good_R <= 0))
            }
        )
        gained, tokens, _ = sums["good"]
        figures = {"divergence": self._divergence}
        if tokens:  # else nothing is known of good answers
            figures["lost"] = 0.0 - gained / tokens  # no "-0"
        return figures | {kind: gained / answers for kind, (gained, _, answers) in sums.items() if answers}

    def _sums(self, inputs: dict[str, Any]) -> list[float]:
        with self.compute_loss_context_manager():
            found: list[float] = self._row_sums(self.model, self._prepare_inputs(inputs)).tolist()
        return found

    def _row_sums(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the log-probability of each row's answer, summed over its tokens, [R]."""
        log_p_N = self.log_probabilities(model, inputs)
        row_N = inputs["rows"][inputs["targets"] >= 0]
        return log_p_N.new_zeros(len(inputs["names"])).index_add(0, row_N, log_p_N)

    def _mismatch(self, names: Sequence[str]) -> dict[str, Any]:
        return collate([window_of([Group((self.judged.mismatched[name],), 0) for name in names])])

    def _passes(self, names: Sequence[str]) -> list[list[str]]:
        """Return the names in their order, cut where their mismatched rows would be more than a pass has room for."""
        passes: list[list[str]] = []
        tokens = 0
        for name in names:
            own = len(self.judged.mismatched[name].ids)
            if not passes or tokens + own > self._room:
                passes.append([])
                tokens = 0
            passes[-1].append(name)
            tokens += own
        return passes
