"""The watch at work: it looks after every step, says what it found, and stops or goes back where that is set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metier.core import Failure, Work
from metier.train.attempt import events_of
from metier.train.watch.detectors import Detector, Finding, detectors_for
from metier.train.watch.looks import Looks
from metier.train.watch.rollback import Anchors, anchor_steps, discard_after, restore, set_rates
from metier.train.watch.trace import UNDONE, Told, Trace

if TYPE_CHECKING:
    from metier.train.watched import Watched

FINDING, ROLLBACK = "finding", "rollback"
_GRAVITY = {"warn": 0, "rollback": 1, "stop": 2}
_TROUBLED = 10  # a checkpoint so many steps after a finding does not count as good


class Guard:
    """Watches one training.

    All it decides by is in the trainers' history, which every checkpoint keeps, so that a resumed training does what an
    uninterrupted one does.
    """

    def __init__(self, trainer: Watched) -> None:
        self._trainer, self.watch = trainer, trainer.settings.watch
        self._detectors: list[Detector] = []
        self.looks: Looks | None = None
        self.trace = Trace()
        self._troubled = -_TROUBLED
        self._warned: set[str] = set()
        self._anchors: Anchors | None = None

    @property
    def rate(self) -> float:
        """The factor of the learning rate that rollbacks have left."""
        return float(self.watch.rate_after_rollback**self.trace.rollbacks)

    def begin(self) -> None:
        """Take up the history of the checkpoint that the trainer has just loaded, if it has."""
        trainer, state = self._trainer, self._trainer.state
        self._detectors = detectors_for(self.watch, trainer.supervised, trainer.most_lost, trainer.doubles)
        if self.watch.rolls_back:
            self._anchors = Anchors(trainer.checkpoints, anchor_steps(state.max_steps, self.watch.checkpoint_steps))
        self.trace = Trace(state.log_history)
        troubled = [entry["step"] for entry in state.log_history if "found" in entry]
        self._troubled = max(troubled, default=-_TROUBLED)
        if self.looks is not None:
            self.looks.trusted = max((entry["step"] for entry in state.log_history if "trusted" in entry), default=0)
        if self._anchors is not None and trainer.is_world_process_zero():
            self._anchors.discard_after(state.global_step)  # of an attempt whose later checkpoints are damaged or gone
        self.saved(state.global_step)  # a kill may have come between the checkpoint and its link

    def due(self, step: int) -> bool:
        """Whether a checkpoint has to be taken after `step`, for a rollback to return to."""
        return self._anchors is not None and self._anchors.due(step)

    def saved(self, step: int) -> None:
        """Keep the checkpoint that was taken after `step`, if it is good and one to return to."""
        if self._anchors is None or not self._anchors.due(step) or step - self._troubled < _TROUBLED:
            return
        self._trainer.accelerator.wait_for_everyone()
        if self._trainer.is_world_process_zero():
            self._anchors.keep(step, self.looks.trusted if self.looks is not None else step)
        self._trainer.accelerator.wait_for_everyone()

    def after_step(self, entry: Mapping[str, Any]) -> None:
        """Judge a step that is done. `entry` is its place in the trainers' history.

        Raises:
            Failure: a check found what stops the training, or too much has been rolled back.
        """
        self.trace.add(Told.of(entry))
        step = self._trainer.state.global_step
        found = [finding for detector in self._detectors if (finding := detector.look(self.trace)) is not None]
        looked = [] if any(self._action(finding) != "warn" for finding in found) else self._look(step)
        # A look that the clock chose decides nothing, not even which checkpoint is good.
        if found or (looked and self.watch.looks_decide):
            self._troubled = step
            checks = [finding.check for finding in [*found, *looked]]
            self._trainer.state.log_history.append({"step": step, "found": checks})
        found += looked
        if not found:
            return
        for finding in found:
            self._tell(finding)
        gravest = max(found, key=lambda finding: _GRAVITY[self._action(finding)])
        if self._action(gravest) == "rollback":
            self._roll_back(gravest)
        elif self._action(gravest) == "stop":
            self._stop(gravest)

    def _look(self, step: int) -> list[Finding]:
        looks, steps = self.looks, self._trainer.state.max_steps
        if looks is None or not looks.planned(step, steps):
            return []
        found = looks.take(step, steps)
        if found is None:
            return []
        if not found:
            looks.trusted = step
            self._trainer.state.log_history.append({"step": step, "trusted": True})
        return found

    def _action(self, finding: Finding) -> str:
        return "warn" if finding.warns_only else self.watch.action(finding.check)

    def _tell(self, finding: Finding) -> None:
        action = self._action(finding)
        if not self._trainer.is_world_process_zero():
            return
        self._trainer.work.event(
            FINDING,
            step=finding.step,
            check=finding.check,
            action=action,
            what=finding.what,
            found=finding.found,
            value=_number(finding.value),
            bound=_number(finding.bound),
        )
        told = f"{finding.what}: {finding.found}"
        if action != "warn":
            return
        if finding.check in self._warned and not finding.warns_only:
            self._trainer.work.say(told)  # the record keeps one warning of a kind; the events have them all
        else:
            self._warned.add(finding.check)
            self._trainer.work.warn(f"{told}; {finding.hint}")

    def _roll_back(self, finding: Finding) -> None:
        assert self._anchors is not None  # there are some where any check rolls back
        anchor = self._anchors.newest(finding.since)
        if anchor is None:
            self._stop(finding, "there is no good checkpoint yet to go back to")
        if self.trace.rollbacks >= self.watch.rollbacks:
            self._stop(finding, f"it was rolled back {self.trace.rollbacks} times before")
        assert anchor is not None
        trainer = self._trainer
        to, step = int(anchor.name.rpartition("-")[2]), trainer.state.global_step
        restore(trainer, anchor)
        trainer.state.log_history.append({"step": step, UNDONE: to})
        self.trace.undo(to)
        set_rates(trainer)
        trainer.accelerator.wait_for_everyone()
        if trainer.is_world_process_zero():
            self._anchors.discard_after(to)
            trainer.work.event(ROLLBACK, step=step, to=to, check=finding.check, rate=self.rate)
            rate = f", with {self.rate:.3g} of the learning rate" if self.rate < 1 else ""
            trainer.work.warn(
                f"{finding.what}: {finding.found}; the weights of step {to} were put back, and the training goes on "
                f"after the rows of step {step}{rate}"
            )

    def _stop(self, finding: Finding, why: str | None = None) -> None:
        trainer = self._trainer
        trainer.accelerator.wait_for_everyone()
        if trainer.is_world_process_zero():
            left = discard_after(trainer.checkpoints, finding.since)
            kept = [f"the checkpoint of step {left} is good" if left else "no checkpoint is older"]
            best = trainer.checkpoints.folder / "best"
            if best.is_dir() and (at := trainer.state.best_metric) is not None:
                kept.append(f"the weights with the lowest validation loss, {at:.4f}, are in {best}")
            found = "; ".join(filter(None, [f"{finding.found}, of {trainer.state.max_steps} steps", why]))
            raise Failure(finding.what, found=found, hint=f"{finding.hint}; {', and '.join(kept)}")
        raise Failure(finding.what, found=finding.found, hint=finding.hint)


def figures(work: Work, guard: Guard) -> dict[str, Any]:
    """Return what the record keeps of the watch: what was looked at, how often, the worst of it, what was done."""
    # A killed attempt told steps that were done again.
    steps = {event["step"]: event for event in events_of(work.folder, "log")}
    looks = {event["step"]: event for event in events_of(work.folder, "look")}
    findings = {(event["step"], event["check"]): event for event in events_of(work.folder, FINDING)}
    rollbacks = {event["step"]: event for event in events_of(work.folder, ROLLBACK)}
    told: dict[str, Any] = {
        "steps": len(steps),
        "looks": len(looks),
        "highest_loss": _highest(steps.values(), "loss"),
        "highest_grad_norm": _highest(steps.values(), "grad_norm"),
    }
    if skipped := sum("skipped" in event for event in steps.values()):
        told["skipped_by_loss_scaler"] = skipped
    if guard.looks is not None and guard.looks.left_out is not None:
        told["looks_left_out"] = guard.looks.left_out
    if before := looks.get(0):
        last = looks[max(looks)]
        for name in ("text", "replies", "repeated", "unended"):
            if name in before:
                worst = _highest(looks.values(), name)
                told[name] = {"before": before[name], "worst": worst, "last": last[name]}
        told["look_seconds"] = round(sum(event["seconds"] for event in looks.values()), 1)
    told["findings"] = _counts([check for _, check in findings])
    told["rollbacks"] = [{name: event[name] for name in ("step", "to", "check")} for event in rollbacks.values()]
    return told


def _counts(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


def _highest(events: Any, name: str) -> float | None:
    return max((event[name] for event in events if event.get(name) is not None), default=None)


def _number(value: float) -> float | None:
    """Return a number that JSON has, rounded, or None."""
    return round(value, 5) if math.isfinite(value) else None
