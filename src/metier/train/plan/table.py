"""The choice, explained: every alternative with its memory, its relative speed, and what speaks against it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from metier.train.plan.choose import Plan, plan_for
from metier.train.plan.job import ON_CORES
from metier.train.plan.machine import GB
from metier.train.plan.smaller import next_smaller

WIDTH = 80
"""Columns of the page."""

_MUCH = 1 / 3  # share of a step's time that is worth a word

_LEGEND = (
    "GB of a device; host and disk: of a machine, host also while the model is loaded. rows: of a pass on a device; r: "
    "activations are recomputed (gradient checkpointing). speed: tokens/s beside the fastest. Parts are each at their "
    "largest: the peak can be less than their sum. !: more than a plan may fill, 95% of what there is."
)
_HEAD = (
    "",
    "method",
    "layout",
    "rows",
    "param",
    "grad",
    "optim",
    "act",
    "peak",
    "host",
    "disk",
    "speed",
)


def explain(plan: Plan) -> str:
    """Return the plan as a page of plain text: what is trained, where, every alternative, and the choice."""
    job, machine = plan.job, plan.machine
    shape = job.shape
    trained = f", {_count(job.trained_parameters)} trained" if job.method != "full" else ""
    moe = f", {shape.matrix_parameters / 1e9:.2f}B at work on a token" if shape.experts > 1 else ""
    beside = f" ({machine.all_devices} x {machine.memory / GB:.0f} GB, {machine.ram / GB:,.0f} GB of RAM a machine)"
    fastest = max(a.tokens_per_second for a in plan.alternatives or (plan,))
    others = dict.fromkeys(a.reason for a in plan.alternatives if a.reason and not a.lacking)
    notes = dict(zip(others, "abcdefgh", strict=False))
    lines = [
        f"{shape.name}: {_count(shape.parameters)} parameters{trained}{moe}",
        f"on {machine.label}{'' if machine.on_cores else beside}",
        f"{job.rows} rows of {job.sequence_length} tokens an optimizer step, {job.precision}, {job.optimizer}",
        "",
        *_aligned(_used([_HEAD, *(_row(a, plan, fastest, notes) for a in plan.alternatives)])),
        "",
    ]
    told = [
        _LEGEND,
        *(f"{letter}: {reason}" for reason, letter in notes.items()),
        "",
        f"chosen: {plan.words}" if plan.fits else f"nothing fits. Nearest: {plan.words}; {plan.reason}",
        f"why: {plan.why}",
    ]
    if plan.fits:
        fields = step_fields(plan)
        told.append(f"about {plan.tokens_per_second:,.0f} tokens/s{_duration(plan)}{_waiting(plan)}")
        told.append(f"in the recipe: {recipe_words(fields)}")
        told.append(f"and batch_rows: {job.rows} (sft, dpo) or batch_tokens: {job.tokens_per_step} (cpt)")
        told += [f"mind: {plan.warning}"] if plan.warning else []
    else:
        told += _what_would_help(plan)
    wrapped = (textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""] for line in told)
    return "\n".join([*lines, *(part for line in wrapped for part in line)])


def step_fields(plan: Plan) -> dict[str, Any]:
    """Return the fields that a training step needs for this plan."""
    job = plan.job
    fields: dict[str, Any] = {"method": job.method, "sequence_length": job.sequence_length}
    if job.method in ("lora", "qlora"):
        fields["lora"] = {"rank": job.rank}
    if job.method == "freeze":
        fields["trained_layers"] = job.trained_layers
    tokens = plan.layout.micro_batch * job.sequence_length
    if not plan.machine.on_cores or tokens != max(job.sequence_length, ON_CORES):
        fields["pass_tokens"] = tokens
    if plan.layout.checkpointing == "full":
        fields["gradient_checkpointing"] = True
    if job.optimizer != "adamw":
        fields["optimizer"] = job.optimizer
    if (autocast := autocast_of(plan)) != "bf16":  # `precision: auto` takes bf16, or float32 where there is none
        fields["precision"] = "fp32" if autocast == "no" else autocast
    return fields


def autocast_of(plan: Plan) -> str:
    """Return the number format of matrix products by accelerate's name: bf16, fp16 where there is none, or "no"."""
    if plan.job.precision in ("fp16", "fp32"):
        return "fp16" if plan.job.precision == "fp16" else "no"
    return "bf16" if plan.machine.bf16 else "fp16"


def recipe_words(fields: Mapping[str, Any]) -> str:
    """Return fields of a step as they are written in a recipe, in one line."""
    return ", ".join(f"{name}: {_yaml(value)}" for name, value in fields.items())


def as_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain JSON values; bytes and seconds are not rounded."""
    layout, job = plan.layout, plan.job
    return {
        "method": job.method,
        "layout": layout.name,
        "micro_batch": layout.micro_batch,
        "accumulation": layout.accumulation(job),
        "gradient_checkpointing": layout.checkpointing == "full",
        "parallel": {
            "data": layout.data,
            "tensor": layout.tensor,
            "pipeline": layout.pipeline,
            "context": layout.context,
        },
        "optimizer_at": layout.optimizer_at,
        "parameters_at": layout.parameters_at,
        "bytes": plan.memory._asdict(),
        "step_seconds": plan.timing.seconds,
        "seconds": plan.seconds,
        "tokens_per_second": plan.tokens_per_second,
        "fits": plan.fits,
        "reason": plan.reason or plan.why,
    }


def _row(plan: Plan, chosen: Plan, fastest: float, notes: Mapping[str, str]) -> tuple[str, ...]:
    memory, layout = plan.memory, plan.layout
    taken = plan.job == chosen.job and layout == chosen.layout
    over = {kind: "!" if plan.lacking == kind else "" for kind in ("device", "host", "disk")}
    return (
        "->" if taken and chosen.fits else "" if plan.fits else "x" + notes.get(plan.reason, ""),
        plan.job.method,
        layout.short,
        f"{layout.micro_batch}{'r' if layout.checkpointing == 'full' else ' '}",
        *(_gb(part) for part in (memory.parameters, memory.gradients, memory.optimizer)),
        _gb(memory.activations + memory.logits + memory.working),
        _gb(memory.peak) + over["device"],
        _gb(memory.node) + over["host"],
        _gb(memory.nvme) + over["disk"],
        f"{plan.tokens_per_second / fastest:.0%}",
    )


def _count(number: int) -> str:
    return f"{number / 1e9:.2f}B" if number >= 1e9 else f"{number / 1e6:.1f}M"


def _gb(count: int) -> str:
    value = count / GB
    return "" if not count else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _used(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the rows without the columns in which there is nothing but a head."""
    kept = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    return [tuple(row[column] for column in kept) for row in rows]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = 3  # the first columns are words
    return [
        " ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _duration(plan: Plan) -> str:
    """Return how long all tokens take, or a million where their number is not known."""
    tokens = plan.job.tokens or 1_000_000
    seconds = tokens / plan.tokens_per_second if plan.seconds is None else plan.seconds
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f", {tokens:,} tokens in {seconds / size:.1f} {unit}"
    return f", {tokens:,} tokens in {f'{seconds:.0f} seconds' if seconds >= 2 else 'seconds'}"


def _waiting(plan: Plan) -> str:
    time = plan.timing
    lost = {"communication": time.communication, "moving what is offloaded": time.offload}
    what = max(lost, key=lambda name: lost[name])
    share = lost[what] / time.seconds
    return f"; {share:.0%} of a step is {what}: larger passes and batches need less of it" if share > _MUCH else ""


def _what_would_help(plan: Plan) -> list[str]:
    """Return, where nothing fits, the next smaller plan, the longest rows that would fit, and what cut rows need."""
    told, job, smaller = [], plan.job, next_smaller(plan)
    if smaller is not None:
        told.append(f"what would fit: {smaller.words}")
    if smaller is None or "sequence_length" in smaller.changes:
        while (job := replace(job, sequence_length=job.sequence_length // 2, rows=2 * job.rows)).sequence_length >= 128:
            if (shorter := plan_for(job, plan.machine, ladder="down")).fits:
                told = [f"rows that fit: up to {job.sequence_length:,} tokens, with {shorter.words}"]
                break
    cut = [a for a in plan.alternatives if a.layout.context > 1 and a.memory.peak <= a.machine.memory]
    if cut:
        least = min(cut, key=lambda a: a.layout.context)
        told.append(
            f"or rows cut over {least.layout.context} devices (context parallel), {least.memory.peak / GB:.1f} GB on "
            "each: these trainers have it not, Megatron-LM and torchtitan have"
        )
    return told


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_yaml(inner)}" for name, inner in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
