"""Curves as text: a plot in braille dots, two across and four down in a character, and sparklines of one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column, from the top; Unicode 2800 and following
_BLANK = 0x2800
_LEVELS = "▁▂▃▄▅▆▇█"
_PLAIN_LEVELS = "_.-=+*%#"


class Curve(NamedTuple):
    """Points (x, y) in the order of x. line: whether they are joined, or stand alone."""

    points: Sequence[tuple[float, float]]
    line: bool = True


class Cell(NamedTuple):
    """One character of a plot, and the index of the last curve in it; None where it is empty."""

    character: str
    curve: int | None


def plot(
    curves: Sequence[Curve],
    width: int,
    height: int,
    x: tuple[float, float],
    y: tuple[float, float],
    plain: bool = False,
) -> list[list[Cell]]:
    """Return `height` rows of `width` characters, the highest values first.

    Args:
        x, y: the least and the greatest value shown; points beyond are left out.
        plain: a star for each character with a dot in it, where the terminal has ASCII only.
    """
    bits = [[0] * width for _ in range(height)]
    owner: list[list[int | None]] = [[None] * width for _ in range(height)]

    def dot(column: int, row: int, curve: int) -> None:
        bits[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
        owner[row // 4][column // 2] = curve

    for index, curve in enumerate(curves):
        before: tuple[int, int] | None = None
        for at in _dots(curve.points, 2 * width, 4 * height, x, y):
            for column, row in _joined(before, at) if curve.line and before is not None else [at]:
                dot(column, row, index)
            before = at
    return [
        [
            Cell(" " if not cell else "*" if plain else chr(_BLANK + cell), curve)
            for cell, curve in zip(row, of_row, strict=True)
        ]
        for row, of_row in zip(bits, owner, strict=True)
    ]


def _joined(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the dots of a straight line, without its first one."""
    count = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (round(start[0] + (end[0] - start[0]) * at / count), round(start[1] + (end[1] - start[1]) * at / count))
        for at in range(1, count + 1)
    ]


def _dots(
    points: Sequence[tuple[float, float]], columns: int, rows: int, x: tuple[float, float], y: tuple[float, float]
) -> list[tuple[int, int]]:
    """Return a dot (column, row) for each column that has points, at their mean."""
    of_column: dict[int, list[float]] = {}
    across, up = (x[1] - x[0]) or 1.0, (y[1] - y[0]) or 1.0
    for at, value in points:
        if math.isfinite(value) and x[0] <= at <= x[1]:
            of_column.setdefault(min(int((at - x[0]) / across * columns), columns - 1), []).append(value)
    found = []
    for column, values in sorted(of_column.items()):
        share = (sum(values) / len(values) - y[0]) / up
        if 0 <= share <= 1:
            found.append((column, min(int((1 - share) * rows), rows - 1)))
    return found


def sparkline(values: Sequence[float], width: int, plain: bool = False) -> str:
    """Return at most `width` characters, each the mean of a part of `values`, from the lowest to the highest."""
    levels = _PLAIN_LEVELS if plain else _LEVELS
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    count = min(width, len(finite))
    parts = [finite[len(finite) * at // count : len(finite) * (at + 1) // count] for at in range(count)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    if high == low:
        return levels[len(levels) // 2] * count
    top = len(levels) - 1
    return "".join(levels[round((mean - low) / (high - low) * top)] for mean in means)


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the range of a plot: of all values, but an outlier does not flatten the rest.

    The top is twice as far above the median as the 90th percentile, where a value lies higher.
    """
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return 0.0, 1.0
    middle, high = finite[len(finite) // 2], finite[int(0.9 * (len(finite) - 1))]
    top = min(finite[-1], middle + 2 * (high - middle)) if high > middle else finite[-1]
    top = max(top, finite[0])
    margin = 0.05 * (top - finite[0]) or 0.5
    return finite[0] - margin, top + margin
