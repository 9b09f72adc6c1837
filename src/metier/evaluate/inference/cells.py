"""What is measured in one cell of the benchmark, and its figures with their intervals."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from metier.evaluate.statistics import student_t

_WORDS = re.findall(
    r"\w+",
    """time year people way day man thing woman life child world school state family student group country problem hand
    part place case week company system program question work government number night point home water room mother
    area money story fact month lot right study book eye job word business issue side kind head house service friend
    father power hour game line end member law car city community name president team minute idea body information""",
)


class Cell(NamedTuple):
    """Requests held open at once, and how many tokens each has."""

    concurrency: int
    prompt_tokens: int
    output_tokens: int

    @property
    def name(self) -> str:
        """The cell in one line."""
        return f"{self.concurrency} at once, {self.prompt_tokens} tokens in, {self.output_tokens} out"


class Timed(NamedTuple):
    """One request. Times are in seconds from when it was sent; `reason` says why there was no answer."""

    seconds: float
    first_seconds: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int = 0
    reason: str | None = None


class Repeat(NamedTuple):
    """One repeat of a cell: how long all of it took, and its requests."""

    seconds: float
    requests: list[Timed]


def prompts(count: int, tokens: int, seed: str) -> list[str]:
    """Return prompts of about so many tokens, no two with a common beginning: a server may keep what it has read."""
    rng = random.Random(seed)
    room = max(1, tokens - 20)  # the template's own tokens and the request; what was really read is measured
    return [
        f"{rng.randrange(10**6)} {' '.join(rng.choices(_WORDS, k=room))}. Write a long story about this."
        for _ in range(count)
    ]


def figures(cell: Cell, repeats: Sequence[Repeat], memory: int | None, gpu: int | None) -> dict[str, Any]:
    """Return the row of a cell.

    Tokens a second are those of all answers over the time of a repeat, with a 95% interval over repeats (Student's t;
    None for a single one). A repeat with a failed request is no measurement of the rate and is left out.
    """
    requests = [request for repeat in repeats for request in repeat.requests]
    answered = [request for request in requests if request.reason is None]
    reasons = [request.reason for request in requests if request.reason is not None]
    whole = [repeat for repeat in repeats if all(request.reason is None for request in repeat.requests)]
    rates = [sum(request.output_tokens for request in repeat.requests) / repeat.seconds for repeat in whole]
    firsts = [request.first_seconds for request in answered if request.first_seconds is not None]
    between = [
        (request.seconds - request.first_seconds) / (request.output_tokens - 1)
        for request in answered
        if request.first_seconds is not None and request.output_tokens > 1
    ]
    read = [request.prompt_tokens for request in answered if request.prompt_tokens is not None]
    return {
        **cell._asdict(),
        "prompt_tokens_read": round(median(read)) if read else None,
        "output_tokens_made": round(median(request.output_tokens for request in answered)) if answered else None,
        "repeats": len(rates),
        "requests": len(requests),
        "tokens_per_second": interval(rates) if rates else None,
        "first_token_seconds": percentiles(firsts),
        "between_tokens_seconds": percentiles(between),
        "memory_bytes": memory,
        "gpu_bytes": gpu,
        "errors": len(reasons),
        "reason": reasons[0] if reasons else None,
    }


def failed(cell: Cell, reason: str) -> dict[str, Any]:
    """Return the row of a cell that could not be measured."""
    return {**figures(cell, [], None, None), "errors": 1, "reason": reason}


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean with its 95% interval, whose ends are None for a single value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return {"value": mean, "low": None, "high": None}
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    half = _quantile_of_t(n - 1) * spread
    return {"value": mean, "low": max(0.0, mean - half), "high": mean + half}


def _quantile_of_t(freedom: int) -> float:
    # the expansion that `student_t` uses is good from 3 degrees of freedom on; these two are exact
    exact = {1: 12.7062, 2: 4.3027}
    return exact.get(freedom) or student_t(0.975, freedom)


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Return p50 and p95: the smallest value that so many of the values do not exceed. None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return {f"p{share}": ordered[math.ceil(share / 100 * len(ordered)) - 1] for share in (50, 95)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown."""
    head = ("at once", "in", "out", "tokens/s", "95%", "first token p50", "p95", "memory", "GPU", "note")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        note = f"{row['errors']} failed: {row['reason']}" if row["reason"] else ""
        rate, first = row["tokens_per_second"], row["first_token_seconds"]
        within = f"{rate['low']:.1f}-{rate['high']:.1f}" if rate and rate["low"] is not None else ""
        cells = [
            str(row["concurrency"]),
            str(row["prompt_tokens_read"] or row["prompt_tokens"]),
            str(row["output_tokens_made"] or row["output_tokens"]),
            f"{rate['value']:.1f}" if rate else "",
            within,
            f"{first['p50']:.3f} s" if first else "",
            f"{first['p95']:.3f} s" if first else "",
            *(f"{row[name] / 1e9:.2f} GB" if row[name] is not None else "" for name in ("memory_bytes", "gpu_bytes")),
            note.replace("|", "\\|").replace("\n", " "),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
