"""The ledger from file to training token: put in order, added up again, and drawn as falling bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from metier.core.artifact import Artifact, Record
from metier.core.errors import Failure
from metier.core.ledger import Line


class Bar(NamedTuple):
    """One bar of a falling line: `start` and `width` are shares of all units that came."""

    what: str  # "came", "dropped" or "kept"
    reason: str | None
    units: int
    start: float
    width: float


class Handover(NamedTuple):
    """One line of a ledger and how it is drawn."""

    line: Line
    bars: list[Bar]
    senders: list[str]  # names of the artifacts on this page that the units came from


class Stage(NamedTuple):
    """One artifact of the way, with its hand-overs."""

    title: str
    step: str
    handovers: list[Handover]


class Flow(NamedTuple):
    """The whole way, and how much of it was added up: lines in themselves, hand-overs against the sender's ledger."""

    stages: list[Stage]
    lines_checked: int
    handovers_checked: int
    senders_elsewhere: int


def flow(artifacts: Sequence[Artifact]) -> Flow:
    """Return the way through `artifacts`, each after those it was made from.

    Raises:
        Failure: a line does not add up, or an artifact received another number than the sender says it made.
    """
    records = in_order([artifact.record for artifact in artifacts])
    by_key = {record.key: record for record in records}
    titles = distinct_titles(records)
    stages, lines, handovers, elsewhere = [], 0, 0, 0
    for record in records:
        drawn = []
        for line in record.ledger.lines:
            line.check(titles[record.key])
            lines += 1
            keys = record.inputs.get(line.source, []) if line.source is not None else []
            senders = [by_key[key] for key in keys if key in by_key]
            if keys and len(senders) == len(keys):
                _check_received(line, titles[record.key], senders)
                handovers += 1
            elif line.source is not None:
                elsewhere += 1
            drawn.append(Handover(line, bars(line), [titles[sender.key] for sender in senders]))
        if drawn:
            stages.append(Stage(titles[record.key], record.step, drawn))
    return Flow(stages, lines, handovers, elsewhere)


def _check_received(line: Line, where: str, senders: Sequence[Record]) -> None:
    sent = [sender.ledger.made(line.unit) for sender in senders]
    if None in sent or sum(count or 0 for count in sent) != line.came:
        raise Failure(
            f"the ledger does not add up between '{line.source}' and '{where}'",
            found=f"{sent} {line.unit}s were sent, {line.came} received",
            hint="a record was changed after it was written, or a step has a fault: please report it",
        )


def bars(line: Line) -> list[Bar]:
    """Return the bars of one line: all that came, what fell away reason by reason (most first), what was kept.

    >>> [(bar.units, bar.start, bar.width) for bar in bars(Line(unit="file", came=10, kept=6, dropped={"empty": 4}))]
    [(10, 0.0, 1.0), (4, 0.6, 0.4), (6, 0.0, 0.6)]
    """
    if line.came == 0:
        return [Bar("came", None, 0, 0.0, 0.0)]
    found, left = [Bar("came", None, line.came, 0.0, 1.0)], line.came
    for reason, count in sorted(line.dropped.items(), key=lambda item: (-item[1], item[0])):
        left -= count
        found.append(Bar("dropped", reason, count, left / line.came, count / line.came))
    if line.dropped:
        found.append(Bar("kept", None, line.kept, 0.0, line.kept / line.came))
    return found


def in_order(records: Sequence[Record]) -> list[Record]:
    """Return the records, each once, those that others were made from first; else as they came."""
    waiting = {record.key: record for record in records}
    ordered: list[Record] = []
    while waiting:
        ready = next(
            record
            for record in waiting.values()
            if not any(key in waiting for keys in record.inputs.values() for key in keys)
        )
        ordered.append(waiting.pop(ready.key))
    return ordered


def distinct_titles(records: Sequence[Record]) -> Mapping[str, str]:
    """Return what to call each record, by key: its name in the recipe, else its step's; numbered where alike."""
    titles: dict[str, str] = {}
    for record in records:
        name = record.called or record.step
        number, title = 1, name
        while title in titles.values():
            number += 1
            title = f"{name} ({number})"
        titles[record.key] = title
    return titles
