"""A training drawn for a terminal, from 60 columns up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from metier.core.progress import clock
from metier.train.watch.curves import Cell, Curve, limits, plot, sparkline
from metier.train.watch.seen import Seen

_LOSS, _VALIDATION, _ALARM = "cyan", "bold yellow", "bold red"
_STATES = {
    "running": "green",
    "done": "bold green",
    "stopped": _ALARM,
    "ended": "yellow",
    "silent": "yellow",
    "nothing yet": "dim",
}
_LABEL = 8  # columns of the plot's scale
_HEIGHT = 9
_HAPPENED = 5
_SAMPLES = 4
_LOOPS = 0.4  # an answer repeats so much of itself
_NAMES = {"lr": "learning rate", "grad_norm": "gradient norm"}
_PROBES = (
    ("replies", "base's own replies, nats a token"),
    ("text", "general text, nats a token"),
    ("repeated", "repeated in answers"),
    ("unended", "answers that did not end"),
)


class View:
    """What is seen of one training. Rich draws it; it is as wide as the terminal.

    Args:
        called: what the user calls it.
    """

    def __init__(self, seen: Seen, called: str) -> None:
        self.seen, self.called = seen, called

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        plain = options.ascii_only
        yield from self._head(options.max_width, plain)
        if self.seen.steps:
            yield from self._loss(options.max_width, plain)
            yield self._curves(options.max_width, plain)
        if self.seen.looks:
            yield Rule("looks into the model", style="dim", align="left")
            yield self._looks()
        if self.seen.findings or self.seen.rollbacks or self.seen.resumed:
            yield Rule("what happened", style="dim", align="left")
            yield self._happened()
        if self.seen.samples is not None:
            at = self.seen.samples["step"]
            yield Rule(f"answers at step {at:,}" if at else "answers before step 1", style="dim", align="left")
            yield Group(*self._samples(options.max_width))

    def _head(self, width: int, plain: bool) -> Iterator[Text]:
        seen, state = self.seen, self.seen.state()
        head = Text(self.called, style="bold", no_wrap=True, overflow="ellipsis")
        head.append(f"  {state}" + (f": {seen.ended}" if state == "ended" else ""), style=_STATES[state])
        yield head
        if state == "nothing yet":
            yield Text("no event yet: the training has not begun, or its data is being read", style="dim")
            return
        step, of = seen.step, seen.of
        parts = [f"step {step:,}" + (f" of {of:,}" if of else "")]
        if seen.tokens is not None:
            parts.append(f"{seen.tokens:,} tokens")
        if seen.tokens_per_second is not None:
            parts.append(f"{seen.tokens_per_second:,.0f} tokens/s")
        elif seen.seconds_per_step is not None:
            parts.append(f"{seen.seconds_per_step:.3g} s a step")
        if seen.seconds_left is not None:
            parts.append(f"{clock(seen.seconds_left)} left")
        if of:
            full = round(width * step / of)
            yield Text(("#" if plain else "━") * full, style=_STATES[state]) + Text(
                ("-" if plain else "━") * (width - full), style="bright_black"
            )
        yield Text("  ".join(parts))

    def _loss(self, width: int, plain: bool) -> Iterator[Text]:
        losses = self.seen.curve("loss")
        if not losses:
            return
        looked = [(float(step), loss) for step, loss in sorted(self.seen.validation.items())]
        x = (0.0, float(max(self.seen.of or 0, self.seen.step, 1)))
        y = limits([value for _, value in losses] + [value for _, value in looked])
        curves = [Curve(losses), Curve(looked)]
        rows = plot(curves, max(20, width - _LABEL - 1), _HEIGHT, x, y, plain)
        title = Text("\nloss ", style="bold") + Text(f"{losses[-1][1]:.3f}", style=_LOSS)
        if looked:
            title.append("   validation ", style="bold")
            title.append(f"{looked[-1][1]:.3f}", style=_VALIDATION)
        yield title
        for at, row in enumerate(rows):
            value = y[1] - (y[1] - y[0]) * at / (len(rows) - 1)
            label = f"{value:.2f}" if at % 4 == 0 else ""
            yield Text(f"{label:>{_LABEL - 1}} ", style="dim") + Text("|" if plain else "│", style="dim") + _row(row)
        last = f"{x[1]:,.0f}"
        yield Text(" " * _LABEL + f" 0{last:>{max(20, width - _LABEL - 1) - 1}}", style="dim")

    def _curves(self, width: int, plain: bool) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
        names = ["lr", "grad_norm", *self.seen.other_curves]
        for column, options in (("name", {}), ("curve", {}), ("last", {"justify": "right"}), ("range", {})):
            table.add_column(column, no_wrap=True, **options)  # type: ignore[arg-type]
        for name in names:
            values = [value for _, value in self.seen.curve(name)]
            if values:
                spread = f"{short(min(values))} to {short(max(values))}"
                line = Text(sparkline(values, max(10, min(width - 50, 60)), plain), style=_LOSS)
                called = _NAMES.get(name, name.replace("loss_", "loss of ", 1).replace("_", " "))
                table.add_row(Text(called[:22]), line, Text(short(values[-1])), Text(spread, style="dim"))
        return table

    def _looks(self) -> Table:
        looks = [look for _, look in sorted(self.seen.looks.items())]
        before, last = looks[0], looks[-1]
        table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
        for name in ("", "before", "last", "worst"):
            table.add_column(name, justify="right" if name else "left", no_wrap=True)
        for key, name in _PROBES:
            if key in before and key in last:
                worst = max(look[key] for look in looks if key in look)
                show = percent if key in ("repeated", "unended") else short
                style = _ALARM if self._found_by(key) else ""
                table.add_row(name, show(before[key]), Text(show(last[key]), style=style), show(worst))
        table.caption = f"{len(looks)} looks, the last at step {last['step']:,}"
        table.caption_justify, table.caption_style = "left", "dim"
        return table

    def _found_by(self, probe: str) -> bool:
        last = max(self.seen.looks)
        said = {"repeated": "repeated groups", "unended": "run on", "replies": "own replies", "text": "general text"}
        return any(one["step"] == last and said[probe] in one["found"] for one in self.seen.findings)

    def _happened(self) -> Table:
        told: list[tuple[int, Text, str]] = [(step, Text("resumed", style="dim"), "") for step in self.seen.resumed]
        for one in self.seen.findings:
            style = "yellow" if one["action"] == "warn" else _ALARM
            told.append((one["step"], Text(one["action"], style=style), f"{one['what']}: {one['found']}"))
        for one in self.seen.rollbacks:
            told.append((one["step"], Text("rolled back", style=_ALARM), f"to the weights of step {one['to']:,}"))
        told.sort(key=lambda entry: entry[0])
        table = Table.grid(padding=(0, 2))
        if len(told) > _HAPPENED:
            table.add_row(
                "", Text("earlier", style="dim"), Text(f"{len(told) - _HAPPENED} in events.jsonl", style="dim")
            )
        for step, action, text in told[-_HAPPENED:]:
            table.add_row(Text(f"step {step:,}", style="dim"), action, Text(text))
        return table

    def _samples(self, width: int) -> Iterator[RenderableType]:
        assert self.seen.samples is not None
        room = max(20, width - 2)
        for one in self.seen.samples["samples"][:_SAMPLES]:
            prompt, answer = _line(str(one["prompt"])), _line(str(one["answer"]))
            yield Text("> " + (prompt if len(prompt) <= room else "…" + prompt[1 - room :]), style="dim", no_wrap=True)
            text = Text(answer[: 2 * room])
            if one.get("repeated", 0) > _LOOPS:
                text.append(f"  loops: {percent(one['repeated'])}", style=_ALARM)
            if not one.get("ended", True):
                text.append(" …", style="dim")
            yield Padding(text, (0, 0, 0, 2))


def _row(cells: list[Cell]) -> Text:
    text = Text(no_wrap=True)
    for cell in cells:
        text.append(cell.character, style=_VALIDATION if cell.curve == 1 else _LOSS)
    return text


def _line(text: str) -> str:
    """Return text on one line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "�" for c in text).split())


def short(value: Any) -> str:
    """Return a number in a few characters."""
    value = float(value)
    if value == 0 or 0.001 <= abs(value) < 10_000:
        return f"{value:.4g}"
    return f"{value:.2e}"


def percent(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.0f}%"
