"""Checks of what each optimizer step tells. Arithmetic on numbers: nothing here knows a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple, Protocol

from metier.train.watch.options import Watch
from metier.train.watch.rollback import MARGIN
from metier.train.watch.trace import Told, Trace

WINDOW = 50
"""Steps whose median is the running level."""

WARM_UP = 20
"""Steps before which no level is known: nothing alarms."""

_LEAST_RISE = 0.3  # share of the level: where losses hardly vary, a few deviations are nothing
_TO_SIGMA = 1.4826  # median absolute deviation to standard deviation, for a normal distribution
_STRETCH = 10
_OVERFLOWS, _GROWS_AFTER = 20, 2000  # a loss scaler halves from 65,536: it reaches 1 in 16 steps


class Finding(NamedTuple):
    """What a check found.

    check: by the name of its field. value, bound: what was measured, and the most it may be. since: the last step that
    can still be trusted; a checkpoint taken later is not good. warns_only: whatever action is set.
    """

    check: str
    step: int
    what: str
    found: str
    hint: str
    value: float
    bound: float
    since: int
    warns_only: bool = False


class Detector(Protocol):
    """A check that looks at the trace after every step."""

    def look(self, trace: Trace) -> Finding | None:
        """Return what is wrong with the last step, or None."""
        ...


class NotFinite:
    """The loss or the gradient is NaN or infinite.

    In fp16 a loss scaler begins too high on purpose, and leaves the steps out whose gradients overflow. Each halves it,
    and it doubles after 2,000 steps (torch's GradScaler): after twenty more than that the gradients themselves are bad.
    """

    def look(self, trace: Trace) -> Finding | None:
        """Return what is wrong with the last step, or None."""
        last = trace.steps[-1]
        if math.isfinite(last.loss) and math.isfinite(last.gradient):
            return None
        if math.isfinite(last.loss) and last.skipped:
            skipped = sum(told.skipped for told in trace.steps)
            if skipped < _OVERFLOWS + len(trace.steps) // _GROWS_AFTER:
                return None
        return Finding(
            "not_finite",
            last.step,
            f"the training diverged at step {last.step}",
            f"loss {last.loss}, gradient norm {last.gradient}",
            "lower the learning rate, and look for broken rows",
            math.inf,
            math.inf,
            last.step - 1,
        )


class Spike:
    """One step's loss leaps above the running level, the median of the last 50.

    As in the trainings of OPT (Zhang et al. 2022, section 2.5) and PaLM (Chowdhery et al. 2022, section 5.1). Median
    and median absolute deviation are not moved by the spike itself, as mean and deviation are (Leys et al. 2013).
    """

    def __init__(self, deviations: float) -> None:
        self._deviations = deviations

    def look(self, trace: Trace) -> Finding | None:
        """Return what is wrong with the last step, or None; of steps above the bound in a row only the first."""
        last = trace.steps[-1]
        bound = self._bound(trace.before(WINDOW))
        if bound is None or not last.loss > bound:
            return None
        before = self._bound(trace.before(WINDOW, 1))
        if before is not None and trace.steps[-2].loss > before:
            return None
        level = median(told.loss for told in trace.before(WINDOW))
        return Finding(
            "spike",
            last.step,
            f"the loss leapt at step {last.step}",
            f"loss {last.loss:.3f}, where {level:.3f} was usual and {bound:.3f} is the bound",
            "look at the rows of this step; if it happens often, lower the learning rate or raise batch_rows",
            last.loss,
            bound,
            last.step - MARGIN,
        )

    def _bound(self, before: Sequence[Told]) -> float | None:
        losses = [told.loss for told in before if math.isfinite(told.loss)]
        if len(losses) < WARM_UP:
            return None
        level = median(losses)
        deviation = _TO_SIGMA * median(abs(loss - level) for loss in losses)
        return level + max(self._deviations * deviation, _LEAST_RISE * abs(level))


class Divergence:
    """The loss stays far above where it began.

    The median of the last ten steps is above that of the first ten by `nats`; or, where the first ten are spoilt
    already, each of the last ten is above the very first by twice that. The first step's loss is that of the base.

    Args:
        pairs: losses of pairs, which are no nats a token (that of IPO begins at 25): one above 1 may rise by so many
            times itself.
        doubles: the loss cannot get above twice what it begins with: it may rise by a third of that.
    """

    def __init__(self, nats: float, pairs: bool = False, doubles: bool = False) -> None:
        self._nats, self._pairs, self._doubles = nats, pairs, doubles

    def look(self, trace: Trace) -> Finding | None:
        """Return what is wrong with the last steps, or None; once a stretch."""
        bound = self._exceeded(trace.steps)
        if bound is None or self._exceeded(trace.steps[:-1]) is not None:
            return None
        last, now = trace.steps[-1], _median(trace.steps[-_STRETCH:])
        return Finding(
            "divergence",
            last.step,
            f"the training diverged: the loss is above where it began, over {_STRETCH} steps",
            f"median loss {now:.3f} at step {last.step}; it began with {trace.steps[0].loss:.3f}, bound {bound:.3f}",
            "lower the learning rate",
            now,
            bound,
            trace.steps[-_STRETCH].step - 1,
        )

    def _exceeded(self, steps: Sequence[Told]) -> float | None:
        """Return the bound that the last ten losses are above, or None."""
        last = steps[-_STRETCH:]
        if len(steps) <= _STRETCH:
            return None
        far = steps[0].loss + 2 * self._rise(steps[0].loss)
        if all(told.loss > far for told in last):
            return far
        level = _median(steps[:_STRETCH])
        bound = level + self._rise(level)
        return bound if len(steps) >= 2 * _STRETCH and _median(last) > bound else None

    def _rise(self, level: float) -> float:
        if self._doubles:
            return self._nats * level / 3
        return self._nats * max(1.0, level) if self._pairs else self._nats


def _median(steps: Sequence[Told]) -> float:
    return median(told.loss for told in steps)


class Gradient:
    """The gradient's norm, before it is shortened, leaps above its running level, or is 0 over ten steps."""

    def __init__(self, times: float) -> None:
        self._times = times

    def look(self, trace: Trace) -> Finding | None:
        """Return what is wrong with the last step, or None; of several in a row only the first."""
        last = trace.steps[-1]
        run = [told.gradient for told in trace.steps[-_STRETCH - 1 :]]
        if len(run) >= _STRETCH and not any(run[-_STRETCH:]) and (len(run) == _STRETCH or run[0]):
            return Finding(
                "gradient",
                last.step,
                f"nothing is learnt: the gradient is 0 over {_STRETCH} steps",
                f"gradient norm 0 up to step {last.step}",
                "look at what is trained: masks.txt, lora.targets, trained_layers",
                0.0,
                0.0,
                last.step - _STRETCH,
            )
        bound = self._bound(trace.before(WINDOW))
        if bound is None or not last.gradient > bound or last.skipped:
            return None
        before = self._bound(trace.before(WINDOW, 1))
        if before is not None and trace.steps[-2].gradient > before:
            return None
        return Finding(
            "gradient",
            last.step,
            f"the gradient leapt at step {last.step}",
            f"norm {last.gradient:.3g}, where {bound / self._times:.3g} was usual",
            "look at the rows of this step; max_grad_norm bounds what it can do",
            last.gradient,
            bound,
            last.step - MARGIN,
        )

    def _bound(self, before: Sequence[Told]) -> float | None:
        norms = [told.gradient for told in before if math.isfinite(told.gradient) and told.gradient > 0]
        return self._times * median(norms) if len(norms) >= WARM_UP else None


class Unlikely:
    """Even the chosen answers of pairs lose probability: the loss can fall while both answers become unlikely.

    As described by Pal et al. 2024, "Smaug". Judged by the mean over the last ten steps; half way there is a warning.
    """

    def __init__(self, most_lost: float) -> None:
        self._most_lost = most_lost

    def look(self, trace: Trace) -> Finding | None:
        """Return what is wrong with the last steps, or None."""
        last, lost, before = trace.steps[-1], self._lost(trace.steps), self._lost(trace.steps[:-1])
        if lost is None:
            return None
        half = self._most_lost / 2
        if lost <= half or (lost <= self._most_lost and before is not None and before > half):
            return None
        beyond = lost > self._most_lost
        return Finding(
            "unlikely",
            last.step,
            "the training makes even the chosen answers unlikely"
            if beyond
            else f"chosen answers become unlikely; the bound is {self._most_lost:g} nats a token",
            f"they lost {lost:.2f} nats a token against the reference, over {len(trace.steps[-_STRETCH:])} steps",
            "lower the learning rate, or raise beta",
            lost,
            self._most_lost,
            trace.steps[-len(trace.steps[-_STRETCH:])].step - 1,
            warns_only=not beyond,
        )

    @staticmethod
    def _lost(steps: Sequence[Told]) -> float | None:
        values = [told.lost for told in steps[-_STRETCH:] if told.lost is not None]
        return sum(values) / len(values) if values else None


def detectors_for(watch: Watch, supervised: bool, most_lost: float | None, doubles: bool = False) -> list[Detector]:
    """Return the checks of each step.

    Args:
        supervised: whether the loss falls as a model learns. Of reinforcement it does not, and groups of answers whose
            grades are alike give no gradient.
        most_lost: the bound of `Unlikely`, with pairs.
        doubles: whether the loss is bounded by twice what it begins with.
    """
    found: list[Detector] = [NotFinite()]
    if supervised:
        found += [
            Divergence(watch.divergence_nats, most_lost is not None, doubles),
            Spike(watch.spike_deviations),
            Gradient(watch.gradient_times),
        ]
    if most_lost is not None:
        found.append(Unlikely(most_lost))
    return found
