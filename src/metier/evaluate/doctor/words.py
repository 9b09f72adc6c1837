"""A diagnosis as a page for people, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def markdown(diagnosis: Mapping[str, Any]) -> str:
    """Return a diagnosis as Markdown: the verdict, a table, and what was found with evidence and remedies."""
    found = [fault for fault in diagnosis["faults"] if fault["found"]]
    against = f" against {diagnosis['against']}" if diagnosis["against"] else ""
    lines = [f"# {diagnosis['model']}{against}: {verdict(diagnosis)}", "", "| fault | | |", "|---|---|---|"]
    for fault in diagnosis["faults"]:
        state = "**found**" if fault["found"] else "not found" if fault["checked"] else "not checked"
        lines.append(f"| {fault['title']} | {state} | {_cell(fault['words'])} |")
    for fault in found:
        lines += ["", f"## {fault['title']}", "", *_details(fault)]
    lines += ["", "## What each can see", ""]
    lines += [
        f"- {check['what']}: {seen}"
        for fault in diagnosis["faults"]
        for check in fault["checks"]
        for seen in _sees(check)
    ]
    return "\n".join(lines) + "\n"


def verdict(diagnosis: Mapping[str, Any]) -> str:
    """Return what the diagnosis comes to, in a few words."""
    faults = diagnosis["faults"]
    found, checked = (sum(fault[key] for fault in faults) for key in ("found", "checked"))
    unchecked = f", {len(faults) - checked} could not be checked" if checked < len(faults) else ""
    return (f"{found} of {checked} faults found" if found else f"no fault found of {checked}") + unchecked


def change(told: Mapping[str, Any]) -> str:
    """Return one change of a recipe in a line."""
    if "insert" in told:
        entry = json.dumps(told["insert"]["entry"], ensure_ascii=False).replace('"', "")
        return f"insert {told['insert']['name']}: {entry} after {told['after']}"
    values = (json.dumps(told[key], ensure_ascii=False).replace('"', "") for key in ("from", "to"))
    return f"{told['step']}.{told['field']} {' → '.join(values)}"


def _details(fault: Mapping[str, Any]) -> Iterator[str]:
    for check in fault["checks"]:
        yield f"- {'**' if check['found'] else ''}{check['words']}{'**' if check['found'] else ''}"
    yield from ("", fault["reason"])
    for example in fault["evidence"]:
        yield from ("", f"`{example['where']}`: {example['why']}")
        for key in ("said", "expected"):
            if example.get(key):
                yield from ("", f"{key}:", "", *(f"    {line}" for line in example[key].splitlines()))
    for number, remedy in enumerate([fault["remedy"], *fault["alternatives"]]):
        yield from ("", f"{'Remedy' if not number else 'Or'} ({remedy['kind']}): {remedy['why']}")
        yield from (f"- `{change(one)}`" for one in remedy["changes"])


def _sees(check: Mapping[str, Any]) -> Iterator[str]:
    if check["interval"] is None:
        return
    if check["sees"] is None:
        yield "the items come in too few clusters to say what would be found"
    elif check["unit"] in ("share", "rise of the share", "relative rise"):
        yield f"{check['sees']:.0%} would be found in 80 of 100 diagnoses; the bound is {check['bound']:.0%}"
    else:
        yield f"{check['sees']:.1f} times would be found in 80 of 100 diagnoses; the bound is {check['bound']:g} times"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
