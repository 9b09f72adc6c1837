"""Looks into the model between steps: live samples and the forgetting probe, and when they are taken."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Work
from metier.core.engine.generation import Generated
from metier.core.files import write_json_atomic
from metier.train.distributed import from_first, of_first
from metier.train.packing import Row
from metier.train.watch.detectors import Finding
from metier.train.watch.forgetting import nats_a_token, reply_row, text_rows
from metier.train.watch.options import Watch
from metier.train.watch.samples import TOKENS, Asked, answers, answers_together, general_prompts, repeated_share
from metier.train.watch.undisturbed import undisturbed

COST = 0.02
"""Share of the time that looks may take, where they only warn."""

_REPLIES = 6
_SHOWN = 200  # characters of a prompt's end and of an answer in the events
_TRAINING_PER_READING = 3  # a token's way forward and back, in ways forward


class Measured(NamedTuple):
    """What one look measured. None: not to be had, as where the base replied nothing, or no row has a short answer.

    repeated, unended: shares, 0 to 1. replies, text: nats a token.
    """

    text: float
    replies: float | None = None
    repeated: float | None = None
    unended: float | None = None


class Looks:
    """What is asked and measured, at which steps, and how it was before step 1.

    Of several processes that each hold all weights only the first looks, and the others do what it found. Where weights
    are cut over them, all look together: each forward pass takes all of them, and the first says what was found.
    Where a look may stop the training or roll it back, the steps of the looks depend on nothing but the number of
    steps; where it only warns, one is left out when looks have taken more than 2% of the time.

    Args:
        trainer: a `Watched` trainer.
        tokens: that the training computes, to foresee its time.
        kept: the file that keeps what was before step 1 for a training that is resumed.
        together: whether the weights are cut over the processes.
    """

    def __init__(
        self,
        trainer: Any,
        watch: Watch,
        tokenizer: Any,
        prompts: tuple[Sequence[Asked], frozenset[int]],
        tokens: int,
        kept: Path,
        clock: Callable[[], float] = time.monotonic,
        together: bool = False,
    ) -> None:
        self._trainer, self._watch, self._tokenizer, self._clock = trainer, watch, tokenizer, clock
        self._prompts, self._stops = prompts
        self._tokens, self._kept, self._together = tokens, kept, together
        self._work: Work = trainer.work
        self._text: list[Row] = text_rows(tokenizer)
        self._replies: list[Row] = []
        self.before: Measured | None = None
        self.left_out: str | None = None
        self.trusted = 0  # the last step whose look found nothing
        self._spent = self._longest = 0.0
        self._start = clock()

    def begin(self, step: int) -> None:
        """Look at the base before step 1, or read what an earlier attempt saw then. For all processes."""
        self._start = self._clock()
        if self._together:
            self._begin(step)
        else:
            from_first(lambda: self._begin(step))

    def _begin(self, step: int) -> None:
        if step > 0:
            self._read()
            return
        with undisturbed(self._trainer):
            self.left_out = None if self._watch.looks_decide else self._too_dear()
            if self.left_out is None:
                self._replies = self._base_replies()
                self.before = self._measure(0)
        if self._trainer.is_world_process_zero():
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            replies = [list(row) for row in self._replies]
            write_json_atomic(self._kept, {"before": self.before, "left_out": self.left_out, "replies": replies})

    def take(self, step: int, steps: int) -> list[Finding] | None:
        """Look if one is due after `step` of `steps`, and return what the first process found. For all processes.

        Clocks and the last bits of GPUs differ: processes that found different things would wait for each other.
        """
        if not self._together:
            return from_first(lambda: self.look(step) if self.due(step, steps) else None)
        if not from_first(lambda: self.due(step, steps)):
            return None
        return of_first(self.look(step))

    def planned(self, step: int, steps: int) -> bool:
        """Whether a look after `step` of `steps` is meant, whatever the clock says."""
        count = min(self._watch.looks, steps)
        return step in {-(-steps * at // count) for at in range(1, count + 1)}

    def due(self, step: int, steps: int) -> bool:
        """Whether the model is looked at after `step` of `steps`. The clock of each process may say another."""
        if self.before is None or not self.planned(step, steps):
            return False
        return self._watch.looks_decide or self._spent + self._longest <= COST * (self._clock() - self._start)

    def look(self, step: int) -> list[Finding]:
        """Look, and return what is beyond its bound."""
        assert self.before is not None
        with undisturbed(self._trainer):
            now = self._measure(step)
        return compared(self.before, now, self._watch, step, self.trusted)

    def _measure(self, step: int) -> Measured:
        start = self._clock()
        trainer = self._trainer
        text = nats_a_token(trainer, self._text)
        replies = nats_a_token(trainer, self._replies) if self._replies else None
        drawn = self._answers([asked.ids for asked in self._prompts])
        repeated, unended = summary(self._prompts, drawn)
        self._show(step, drawn)
        seconds = self._clock() - start
        self._spent += seconds
        self._longest = max(self._longest, seconds)
        measured = Measured(text, replies, repeated, unended)
        values = measured._asdict().items()
        told = {name: round(value, 4) for name, value in values if value is not None and math.isfinite(value)}
        self._work.event("look", step=step, **told, seconds=round(seconds, 3))
        return measured

    def _base_replies(self) -> list[Row]:
        prompts = [asked.ids for asked in general_prompts(self._tokenizer, _REPLIES)]
        start = self._clock()
        drawn = self._answers(prompts)
        self._spent += self._clock() - start
        pairs = zip(prompts, drawn, strict=True)
        return [reply_row(at, prompt, reply.ids) for at, (prompt, reply) in enumerate(pairs) if reply.ids]

    def _answers(self, prompts: Sequence[Sequence[int]]) -> list[Generated]:
        # In the number format of the training: the base under an adapter lies in 16 bits, what comes to it in float32.
        with self._trainer.compute_loss_context_manager():
            if self._together:
                return answers_together(self._trainer, prompts, self._stops)
            return answers(self._trainer.model, prompts, self._stops)

    def _too_dear(self) -> str | None:
        """Return why there are no looks: two of them and the base's replies would cost more than their share."""
        seconds = self._timed(lambda: nats_a_token(self._trainer, self._text))
        step = self._timed(lambda: nats_a_token(self._trainer, [Row("one", self._text[0].ids[:4], [True] * 4)]))
        general = [asked.ids for asked in general_prompts(self._tokenizer, _REPLIES)]
        text, replies = sum(len(row.ids) for row in self._text), sum(len(ids) + TOKENS for ids in general)
        of_token = seconds / text
        training = self._tokens / self._trainer.args.world_size * _TRAINING_PER_READING * of_token
        look = 2 * (text + replies) * of_token + 3 * TOKENS * step
        if self._together:  # each token is drawn by reading all before it
            asked = [*general, *(asked.ids for asked in self._prompts), *(asked.ids for asked in self._prompts)]
            look += TOKENS * of_token * sum(len(ids) + TOKENS / 2 for ids in asked)
        if look > COST * training:
            reason = f"the training takes about {training:.0f} s, and looking into the model {look:.0f} s"
        else:
            reason = None
        return of_first(reason) if self._together else reason

    def _timed(self, work: Callable[[], Any]) -> float:
        start = self._clock()
        work()
        seconds = self._clock() - start
        self._spent += seconds
        return seconds

    def _show(self, step: int, drawn: Sequence[Generated]) -> None:
        decode = self._tokenizer.decode
        shown = [
            {
                "prompt": decode(asked.ids, skip_special_tokens=True)[-_SHOWN:],
                "answer": decode(answer.ids, skip_special_tokens=True)[:_SHOWN],
                "general": asked.general,
                "ended": answer.finished,
                "repeated": round(repeated_share(answer.ids), 3),
            }
            for asked, answer in zip(self._prompts, drawn, strict=True)
        ]
        self._work.event("samples", step=step, samples=shown)

    def _read(self) -> None:
        told = from_first(self._told) if self._together else self._told()
        if told is None:
            self.left_out = "what was measured before step 1 is not there any more"
            does = "stops this training for" if self._watch.looks_decide else "warns of"
            self._work.warn(
                f"nothing {does} repetition, endless answers or forgetting: {self.left_out} "
                f"({self._kept}); remove {self._kept.parent} to begin anew with it"
            )
            return
        self.left_out = told["left_out"]
        self.before = Measured(*told["before"]) if told["before"] else None
        self._replies = [Row(*row) for row in told["replies"]]

    def _told(self) -> dict[str, Any] | None:
        """Return what an earlier attempt kept, or None."""
        try:
            told: dict[str, Any] = json.loads(self._kept.read_text())
        except (OSError, ValueError):
            return None
        return told


def summary(prompts: Sequence[Asked], drawn: Sequence[Generated]) -> tuple[float, float | None]:
    """Return the mean share of repeated groups, and the share of answers that should have ended and did not."""
    repeated = [repeated_share(answer.ids) for answer in drawn]
    short = [answer.finished for asked, answer in zip(prompts, drawn, strict=True) if asked.ends]
    return sum(repeated) / len(repeated), short.count(False) / len(short) if short else None


def compared(before: Measured, now: Measured, watch: Watch, step: int, trusted: int) -> list[Finding]:
    """Return what has risen beyond its bound since before step 1."""
    rises = [
        ("repetition", "repeated", watch.repeated_share, "greedy answers turn into loops", "repeated groups of tokens"),
        ("no_end", "unended", watch.unended_share, "answers no longer end", "answers of short rows that run on"),
        ("forgetting", "replies", watch.forgotten_nats, _FORGETS, "nats a token of the base's own replies"),
        ("forgetting", "text", watch.forgotten_nats, _FORGETS, "nats a token of general text"),
    ]
    found: dict[str, Finding] = {}
    for check, name, bound, what, measure in rises:
        was, value = getattr(before, name), getattr(now, name)
        if was is None or value is None or value - was <= bound:  # a NaN is beyond every bound
            continue
        told = f"{measure}: {value:.2f} after step {step}, {was:.2f} before step 1; it may rise by {bound:g}"
        finding = Finding(check, step, what, told, _HINTS[check], value, was + bound, trusted)
        other = found.get(check)
        if other is None or value - was > other.value - other.bound + bound:
            found[check] = finding
    return list(found.values())


_FORGETS = "the model forgets what its base could do"
_HINTS = {
    "repetition": "lower the learning rate or the epochs; of pairs raise beta; `metier watch` shows the answers",
    "no_end": "look whether the rows end in the token that ends turns: masks.txt; else lower the learning rate",
    "forgetting": "mix in general rows (replay, the step rehearsal), lower the learning rate, or train an adapter",
}
