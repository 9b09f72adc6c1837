"""Numbers as the page writes them: short, but never so short that a difference disappears."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from metier.evaluate.report.figures import Difference
from metier.evaluate.report.metrics import Kind, Subject
from metier.evaluate.report.words import Words

MINUS = "\N{MINUS SIGN}"


def significant(value: float, digits: int = 4) -> str:
    """Return `value` with so many significant digits, whole numbers below a million as they are: 10.19, 0.0123."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}".replace("-", MINUS)
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(max(decimals, 0), 9)}f}".replace("-", MINUS)


def percent(share: float, sign: bool = False) -> str:
    """Return a share as a percentage with one decimal, or as many as it takes not to look like 0% or 100%."""
    value = 100 * share
    decimals = 1
    while decimals < 6 and value not in (0, 100, -100) and round(value, decimals) in (0, 100, -100):
        decimals += 1
    text = f"{value:+.{decimals}f}" if sign and value != 0 else f"{value:.{decimals}f}"
    if float(text) == 0:
        text = "0"
    text = text.removesuffix(".0") if abs(float(text)) in (0, 100) else text
    return text.replace("-", MINUS)


def tell(subject: Subject, value: float | None) -> str:
    """Return a figure with its unit: 41.2% or 10.19."""
    if value is None:
        return ""
    return f"{percent(value)}%" if subject.metric.kind is Kind.SHARE else significant(value)


def span(low: str, high: str, words: Words) -> str:
    """Return two ends as the language writes them: "36.1% to 46.5%"."""
    return words["span"].format(low=low, high=high)


def tell_interval(subject: Subject, low: float | None, high: float | None, words: Words) -> str:
    """Return an interval: "36.1% to 46.5%", or nothing where there is none."""
    return "" if low is None or high is None else span(tell(subject, low), tell(subject, high), words)


def _change(kind: Kind, value: float) -> str:
    if kind is Kind.OTHER:
        return ("+" if value > 0 else "") + significant(value)
    return percent(value, sign=True) + ("%" if kind is Kind.PERPLEXITY else "")


def points(share: float, words: Words) -> str:
    """Return a difference of shares: "+41.2 points"."""
    return words["points"].format(value=percent(share, sign=True))


def tell_change(difference: Difference, words: Words) -> str:
    """Return how large a difference is: -21.3% (a ratio of perplexities) or +41.2 points (a difference of shares)."""
    kind = difference.subject.metric.kind
    return points(difference.value, words) if kind is Kind.SHARE else _change(kind, difference.value)


def tell_change_interval(difference: Difference, words: Words) -> str:
    """Return the interval of a difference in the same unit."""
    if difference.low is None or difference.high is None:
        return ""
    kind = difference.subject.metric.kind
    return span(_change(kind, difference.low), _change(kind, difference.high), words)


def duration(seconds: float, words: Words) -> str:
    """Return 4 ms, 0.4 s, 48 s, 12 min 5 s or 3 h 20 min."""
    if seconds < 0.1:
        return words["milliseconds"].format(value=f"{1000 * seconds:.0f}")
    if seconds < 10:
        return words["seconds"].format(value=f"{seconds:.1f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return words["seconds"].format(value=rest)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return words["hours"].format(hours=hours, minutes=minutes_left)
    return words["minutes"].format(minutes=minutes, seconds=rest)


def size(count: float) -> str:
    """Return a number of bytes in decimal units: 512 B, 4.1 MB, 14.2 GB."""
    for unit, letters in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {letters}"
    return f"{count:.0f} B"


def many(count: float) -> str:
    """Return a large count in three digits: 950, 12.3k, 135M, 7.24B."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{letter}"
    return f"{count:.3g}"


def decoding(told: Mapping[str, Any], words: Words) -> str:
    """Return a decoding as one line: "temperature 0.7, top_p 0.9"; settings that do nothing are left out."""
    idle = {"top_p": 1, "top_k": 0, "repetition_penalty": 1, "samples": 1, "seed": None}
    if not told.get("temperature"):
        idle |= dict.fromkeys(("temperature", "top_p", "top_k"))
    said = [words["greedy"]] if not told.get("temperature") else []
    for name, value in told.items():
        nothing = value is None or (name not in ("max_tokens",) and name in idle and idle[name] in (None, value))
        if not nothing and name != "seed":
            said.append(f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}")
    return ", ".join(said)


def measure(value: float, unit: str | None, words: Words) -> str:
    """Return what the doctor measured, in its unit."""
    if unit == "share":
        return f"{percent(value)}%"
    if unit in ("points of share", "rise of the share"):
        return points(value, words)
    if unit == "relative rise":
        return f"{percent(value, sign=True)}%"
    return f"× {significant(value, 3)}" if unit == "times the reference" else significant(value, 3)


def short(count: float) -> str:
    """Return a count for an axis: 0, 500, 20k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= size:
            return f"{count / size:g}{letter}"
    return f"{count:g}"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return some `about` round values that cover `low` to `high`, in steps of 1, 2, 2.5 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    rough = span / max(about - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * at, 10) for at in range(first, max(last, first + 1) + 1)]
