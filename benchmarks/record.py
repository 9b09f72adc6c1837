"""The results files, one a room: one row a figure, each with what is needed to doubt it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

_RESULTS = Path(__file__).parent / "results"


class Row(NamedTuple):
    """One comparison or one figure.

    ours, theirs: in `unit`; `theirs` is None where there is no peer, or where it could not be run (`note` says why).
    ratio: how many times better ours is (for a rate ours / theirs), None without a peer.
    input: what both were given. seconds: what ours took.
    """

    name: str
    peer: str | None
    ours: float
    theirs: float | None
    ratio: float | None
    unit: str
    input: str
    seconds: float
    bar: str | None = None
    note: str | None = None
    peer_version: str | None = None


def versus(name: str, peer: str, ours: float, theirs: float, unit: str, input: str, seconds: float, **more: Any) -> Row:
    """Return a row for two rates: more is better."""
    return Row(name, peer, round(ours, 4), round(theirs, 4), round(ours / theirs, 2), unit, input, seconds, **more)


def results_of(room: str) -> Path:
    """Return the results file of a room: "corpus", "evaluate", "train"."""
    return _RESULTS / f"{room}.json"


def save(room: str, rows: Iterable[Row]) -> None:
    """Merge rows into a room's results file, by name, peer and input, and print them."""
    rows, results = list(rows), results_of(room)
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    if results.is_file():
        known = {_key(row): row for row in json.loads(results.read_text())}
    for row in rows:
        told = {name: value for name, value in row._asdict().items() if name not in ("peer_version",)}
        told |= {"seconds": round(row.seconds, 3), "versions": _versions(row), "cpu": cpu(), "date": _today()}
        known[_key(told)] = told
        print(_line(row), flush=True)
    results.parent.mkdir(parents=True, exist_ok=True)
    ordered = sorted(known.values(), key=lambda row: (row["name"], str(row["peer"]), row["input"]))
    results.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


def markdown(room: str) -> str:
    """Return a room's results file as a table."""
    results = results_of(room)
    lines = ["| figure | ours | peer | theirs | ratio | bar | input |", "|---|---|---|---|---|---|---|"]
    for row in json.loads(results.read_text()) if results.is_file() else []:
        theirs = f"{row['theirs']:g}" if row["theirs"] is not None else (row["note"] or "")
        ratio = f"{row['ratio']:g}×" if row["ratio"] is not None else ""
        peer = " ".join([row["peer"] or "", row["versions"].get(row["peer"] or "", "")]).strip()
        cells = [row["name"], f"{row['ours']:g} {row['unit']}", peer, theirs, ratio, row["bar"] or "", row["input"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def cpu() -> str:
    """Return the processor's name and what of its instructions matters here."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    told = {key.strip(): value.strip() for key, value in facts.items()}
    flags = told.get("flags", "").split()
    width = next((flag for flag in ("avx512bw", "avx2") if flag in flags), "no avx")
    return f"{told.get('model name', platform.processor())}, {width}"


def _versions(row: Row) -> dict[str, str]:
    told = {"metier": importlib.metadata.version("metier"), "python": platform.python_version()}
    if row.peer is not None and row.peer_version is not None:
        told[row.peer] = row.peer_version
    return told


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["name"], row["peer"], row["input"]


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _line(row: Row) -> str:
    beside = (
        f" · {row.peer} {row.theirs:g}" if row.theirs is not None else (f" · {row.peer}: not run" if row.peer else "")
    )
    ratio = f" · {row.ratio:g}×" if row.ratio is not None else ""
    return f"{row.name}: {row.ours:g} {row.unit}{beside}{ratio}" + (f" · bar {row.bar}" if row.bar else "")
