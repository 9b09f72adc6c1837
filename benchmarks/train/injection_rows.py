"""What the injection experiments found: arms compared item by item over all seeds, as rows and as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.record import Row
from benchmarks.train.injection_instructions import FOLLOWED
from benchmarks.train.injection_sampled import SAMPLED
from benchmarks.train.injection_steps import (
    BATCH_TOKENS,
    CHAT_ROWS,
    GRPO_RATE,
    GRPO_STEPS,
    REPLAY,
    SQL_ROWS,
    TOKENS,
    Arms,
)
from metier.core import Workshop
from metier.core.journal import read_journal
from metier.core.step import dependencies_first
from metier.evaluate import statistics
from metier.evaluate.statistics import Interval

Item = Mapping[str, Any]
EXECUTED = ("seen_wording", "new_wording", "new_kind", "repair")
ANY = "all splits"


class Contrast(NamedTuple):
    """One figure of one arm against another's. `split` is ANY where the items of all splits count together."""

    arm: str
    control: str
    name: str
    split: str


class Found(NamedTuple):
    """A contrast's outcome. change: of a perplexity the ratio minus 1, of a share the difference."""

    contrast: Contrast
    arm: float
    control: float
    change: Interval
    of_seeds: list[float]
    percent: bool  # the change is relative, of a perplexity; else in points of a share


_TEXTS = (("perplexity", "held_out"), ("perplexity", "general"), ("chat_reply_perplexity", "general_prompts"))
_MADE = f"SmolLM2-135M, pre-training {TOKENS:,} tokens in steps of {BATCH_TOKENS:,}"
_INPUTS = {
    "sft": f"{_MADE}, 10% replay; SFT on {SQL_ROWS} SQL rows",
    "replay": f"{_MADE}, replay included",
    "vector": f"{_MADE}, 10% replay; chat: {CHAT_ROWS} rows of instructions; alpha 1",
    "grpo": f"SmolLM2-135M, SFT on {SQL_ROWS} SQL rows; {GRPO_STEPS} steps of 32 answers at {GRPO_RATE:g}",
}
_NOTES = {
    "vector": "the base is itself a chat model; 'chat' is that base taught six instructions which it does not follow",
}


def contrasts_of(part: str) -> list[Contrast]:
    """Return what is compared in a part."""
    if part == "sft":
        parts = [*_TEXTS, ("multiple_choice", "held_out"), ("execution", ANY)]
        parts += [("execution", split) for split in EXECUTED]
        return [Contrast("CPT+SFT", "SFT", *figure) for figure in parts]
    if part == "replay":
        arms = [f"{share:.0%}" for share in REPLAY]
        pairs = [(arm, "origin") for arm in arms] + [(arm, arms[0]) for arm in arms[1:]]
        return [Contrast(*pair, *figure) for pair in pairs for figure in _TEXTS]
    if part == "vector":
        followed = (FOLLOWED, "general_prompts")
        pairs = [("chat", "origin"), ("CPT", "chat"), ("CPT + vector", "CPT"), ("CPT + vector", "chat")]
        return [Contrast(*pair, *figure) for pair in pairs for figure in (followed, *_TEXTS)]
    names = ("execution", SAMPLED)
    return [Contrast("GRPO", "SFT", name, split) for name in names for split in (ANY, *EXECUTED)]


def rows_of(part: str, seeds: Sequence[Arms], workshop: Workshop) -> list[Row]:
    """Return the rows of a part for the results file."""
    seconds = _seconds(seeds, workshop)
    return [_row(part, found, seconds) for found in outcomes(part, seeds, workshop)]


def outcomes(part: str, seeds: Sequence[Arms], workshop: Workshop) -> Iterator[Found]:
    """Compare the arms of a part, seed by seed and over all seeds."""
    answers = [
        {arm: [row for step in steps for row in _answers(workshop, step)] for arm, steps in arms.items()}
        for arms in seeds
    ]
    for contrast in contrasts_of(part):
        pairs = [(_items(one[contrast.control], contrast), _items(one[contrast.arm], contrast)) for one in answers]
        yield compared(contrast, pairs)


def compared(contrast: Contrast, pairs: Sequence[tuple[list[Item], list[Item]]]) -> Found:
    """Return a contrast from the items of control and arm, a pair of lists for each seed.

    An item's answers by the trainings of several seeds lie in one cluster, that of its document or schema. So the
    interval is over other questions and other texts; how far other seeds would differ, the seeds' own values show.
    """
    control, arm = ([item for pair in pairs for item in pair[side]] for side in (0, 1))
    percent = "nats" in control[0]
    change = _change(control, arm, percent)
    seeds = [_change(*pair, percent).value for pair in pairs]
    return Found(contrast, _value(arm, percent), _value(control, percent), change, seeds, percent)


def _change(control: Sequence[Item], arm: Sequence[Item], percent: bool) -> Interval:
    if [item["id"] for item in control] != [item["id"] for item in arm]:
        raise ValueError("two examinations hold different items")
    clusters = [item["cluster"] or item["id"] for item in control]
    if not percent:
        grades = [[item["score"] for item in side] for side in (control, arm)]
        return statistics.paired_difference(grades[0], grades[1], clusters)
    nats = [[item["nats"] for item in side] for side in (control, arm)]
    found = statistics.perplexity_ratio(nats[0], nats[1], [item["tokens"] for item in control], clusters)
    return found._replace(value=found.value - 1, low=found.low - 1, high=found.high - 1)


def _value(items: Sequence[Item], percent: bool) -> float:
    if not percent:
        return math.fsum(item["score"] for item in items) / len(items)
    return math.exp(math.fsum(item["nats"] for item in items) / math.fsum(item["tokens"] for item in items))


def _items(answers: Sequence[Item], contrast: Contrast) -> list[Item]:
    return [row for row in answers if row["name"] == contrast.name and contrast.split in (ANY, row["split"])]


def _answers(workshop: Workshop, step: Any) -> list[Item]:
    return read_journal(workshop.folder_of(step) / "answers.jsonl")


def _seconds(seeds: Sequence[Arms], workshop: Workshop) -> float:
    """Return how long making all of a part took, each step counted once, those of the demo apart."""
    steps = dependencies_first([step for arms in seeds for steps in arms.values() for step in steps])
    names = ("cpt", "sft", "grpo", "chat-vector", "examine", "benchmark-followed", "benchmark-sampled")
    made = {workshop.keys.of(step): workshop.find(step) for step in steps if step.name in names}
    return math.fsum(artifact.record.seconds for artifact in made.values() if artifact is not None)


def _row(part: str, found: Found, seconds: float) -> Row:
    contrast = found.contrast
    note = f"{told(found)}; by seed: {', '.join(_signed(value, found.percent) for value in found.of_seeds)}"
    return Row(
        f"injection: {part}: {contrast.arm}: {contrast.name} ({contrast.split})",
        contrast.control,
        round(found.arm, 4),
        round(found.control, 4),
        None,
        "perplexity" if found.percent else "share",
        _INPUTS[part],
        seconds,
        note="; ".join([note, *([_NOTES[part]] if part in _NOTES else [])]),
    )


def told(found: Found) -> str:
    """Return a change with its interval, as in "-3.1% [-4.0%, -2.2%]" or "+4.0 points [+1.2, +6.8]"."""
    value, low, high = (_signed(number, found.percent) for number in found.change[:3])
    return f"{value} [{low}, {high}]"


def _signed(value: float, percent: bool) -> str:
    return f"{100 * value:+.1f}%" if percent else f"{100 * value:+.1f} points"


def table(part: str, seeds: Sequence[Arms], workshop: Workshop) -> str:
    """Return a part's outcomes as a Markdown table."""
    lines = ["| figure | arm | | against | | change, paired, 95% | by seed |", "|---|---|---|---|---|---|---|"]
    for found in outcomes(part, seeds, workshop):
        contrast = found.contrast
        arm, control = (f"{x:.2f}" if found.percent else f"{x:.1%}" for x in (found.arm, found.control))
        by_seed = ", ".join(_signed(value, found.percent) for value in found.of_seeds)
        name = f"{contrast.name} ({contrast.split})".replace("_", " ")
        cells = [name, contrast.arm, arm, contrast.control, control, told(found), by_seed]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
