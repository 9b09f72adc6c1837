"""How it was made: steps, keys, times, versions, machines, warnings, and the parity of what leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metier.core.artifact import Artifact, Record
from metier.core.errors import Failure
from metier.evaluate.report.flow import distinct_titles, in_order
from metier.evaluate.report.words import Words


class Made(NamedTuple):
    """What the page tells of the making. `titles` names each record by key."""

    records: list[Record]
    titles: dict[str, str]
    seconds: float
    versions: list[tuple[str, str, bool]]  # package, versions, whether they differ
    hosts: list[str]
    warnings: list[tuple[str, str]]


def made(artifacts: Sequence[Artifact], words: Words) -> Made:
    """Return how `artifacts` were made, each told once."""
    records = in_order([artifact.record for artifact in artifacts])
    titles = dict(distinct_titles(records))
    packages = {package: None for record in records for package in record.versions}
    versions = []
    for package in packages:
        found = sorted({record.versions[package] for record in records if package in record.versions})
        versions.append((package, ", ".join(found), len(found) > 1))
    hosts = list(dict.fromkeys(_host(record.host, words) for record in records))
    warnings = [(titles[record.key], text) for record in records for text in record.warnings]
    return Made(records, titles, sum(record.seconds for record in records), versions, hosts, warnings)


def _host(host: dict[str, Any], words: Words) -> str:
    gpus = ", ".join(str(gpu.get("name", gpu)) for gpu in host.get("gpus") or [])
    memory = f"{host['memory_bytes'] / 1e9:.0f}" if "memory_bytes" in host else "?"
    return words["host_line"].format(
        system=host.get("system") or "?",
        cores=host.get("cores", "?"),
        threads=host.get("threads", "?"),
        memory=memory,
        gpus=gpus or words["no_gpu"],
    )


def parity(folder: Path) -> Any:
    """Return what `parity.json` in `folder` holds; nothing if the export has no such file."""
    path = folder / "parity.json"
    if not path.is_file():
        return []
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failure(
            f"{path} cannot be read", found=str(error), hint="remove the export's folder and run again"
        ) from error


def flat(value: Any, name: str, words: Words) -> Iterator[tuple[str, str]]:
    """Yield nested JSON values one by one, each with the way to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{name} › {key}" if name else str(key), words)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for number, item in enumerate(value, 1):
            texts = [text for text in item.values() if isinstance(text, str)] if isinstance(item, dict) else []
            title = texts[0] if texts else str(number)  # rows go by their first text, such as a file's name
            yield from flat(item, f"{name} › {title}" if name else title, words)
    elif isinstance(value, bool):
        yield name, words["yes" if value else "no"]
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    elif value is not None:
        yield name, f"{value:.6g}" if isinstance(value, float) else str(value)
