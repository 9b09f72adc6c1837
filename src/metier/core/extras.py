"""The one boundary at which a missing optional library becomes a hint."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from typing import Any

from metier.core.errors import Mistake
from metier.core.step import Step

_NAME = re.compile(r"^\s*([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?")


def missing_packages(extra: str) -> list[str]:
    """Return the distributions that the extra `metier[extra]` names and that are not installed."""
    missing = []
    for requirement in importlib.metadata.requires("metier") or []:
        wanted, _, marker = requirement.partition(";")
        match = _NAME.match(wanted)
        if match is None or not re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", marker):
            continue
        name, inner = match.groups()
        if name == "metier":
            missing += [item for part in (inner or "").split(",") for item in missing_packages(part.strip())]
            continue
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing


def missing_extras(steps: Iterable[Step[Any]]) -> None:
    """Raise Mistake, before anything starts, if a step needs an extra that is not installed."""
    for extra in sorted({extra for step in steps for extra in step.extras}):
        missing = missing_packages(extra)
        if missing:
            raise Mistake(
                f"this recipe needs metier[{extra}]",
                found=f"not installed: {', '.join(missing)}",
                hint=f"pip install 'metier[{extra}]'",
            )
