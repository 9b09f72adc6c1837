"""How a repository of the hub says which of its files are which split: its card, or the names of the files.

After the hub's documentation, "Structure your repository" and "Manual configuration".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from metier.core import Mistake

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.DOTALL)
_DATA = re.compile(r"\.(?:jsonl|ndjson|json|csv|tsv|parquet|txt)(?:\.(?:gz|bz2|xz|zst))?$", re.IGNORECASE)
_KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_NO_LICENSE = ("other", "unknown", "", "none")
_SPDX = {"odc-by": "ODC-By-1.0", "pddl": "PDDL-1.0", "gfdl": "GFDL-1.3", "cc": None, "gpl": None, "c-uda": "C-UDA-1.0"}


def front_matter(card: str) -> dict[str, Any]:
    """Return what a data set's card states before its text, {} where it states nothing that can be read."""
    found = _FRONT_MATTER.match(card)
    try:
        stated = yaml.safe_load(found.group(1)) if found is not None else {}
    except yaml.YAMLError:
        return {}
    return stated if isinstance(stated, dict) else {}


def license_of(stated: dict[str, Any]) -> str | None:
    """Return the licence that a card states, as an SPDX identifier, or None."""
    told = stated.get("license")
    name = str(told[0] if isinstance(told, list) and len(told) == 1 else told).lower()
    if name in _NO_LICENSE or isinstance(told, list | dict):
        return None
    if name in _SPDX:
        return _SPDX[name]
    return "Apache-2.0" if name == "apache-2.0" else name.upper()


def language_of(stated: dict[str, Any]) -> str | None:
    """Return the language that a card states, or None if it states several."""
    told = stated.get("language")
    told = told[0] if isinstance(told, list) and len(told) == 1 else told
    return told if isinstance(told, str) and re.fullmatch(r"[a-z]{2,3}", told) else None


def choose_files(
    names: Sequence[str], stated: dict[str, Any], config: str | None, split: str, written: str
) -> list[str]:
    """Return the files of one split, in their order.

    Args:
        written: what the data set is called, for messages.

    Raises:
        Mistake: there is no such configuration, no such split, or several configurations and none was named.
    """
    configs = [one for one in stated.get("configs") or () if isinstance(one, dict) and "data_files" in one]
    splits = _configured(configs, config, names, written) if configs else _by_name(names, config)
    files = splits.get(split, [])
    if not files:
        raise Mistake(
            f"{written} has no split '{split}'",
            found=", ".join(name for name, found in splits.items() if found) or "no files of data",
            hint="name one with split: ..., and a configuration with config: ... where there are several",
        )
    return files


def _configured(
    configs: list[dict[str, Any]], wanted: str | None, names: Sequence[str], written: str
) -> dict[str, list[str]]:
    known = {str(one.get("config_name", "default")): one for one in configs}
    if wanted is None:
        default = [name for name, one in known.items() if one.get("default") or name == "default"]
        wanted = default[0] if default else next(iter(known)) if len(known) == 1 else None
    if wanted is None or wanted not in known:
        raise Mistake(
            f"{written} has no configuration '{wanted}'" if wanted else f"{written} has several configurations",
            found=", ".join(known),
            hint="name one with config: ...",
        )
    chosen = known[wanted]
    told = chosen["data_files"]
    if not (isinstance(told, list) and told and isinstance(told[0], dict)):
        told = [{"split": "train", "path": told}]
    folder = str(chosen.get("data_dir") or "").strip("/")
    found: dict[str, list[str]] = {}
    for one in told:
        paths = one.get("path", [])
        patterns = [f"{folder}/{path}".lstrip("/") for path in (paths if isinstance(paths, list) else [paths])]
        found[str(one.get("split", "train"))] = [name for name in names if any(_fits(name, p) for p in patterns)]
    return found


def _by_name(names: Sequence[str], config: str | None) -> dict[str, list[str]]:
    data = [name for name in names if _DATA.search(name)]
    if config is not None:
        data = [name for name in data if name.startswith(f"{config}/")]
    found = {split: [name for name in data if _speaks_of(name, words)] for split, words in _KEYWORDS.items()}
    return found if any(found.values()) else {"train": data}


def _speaks_of(name: str, words: Sequence[str]) -> bool:
    return re.search(rf"(?:^|[^A-Za-z0-9])(?:{'|'.join(words)})(?:[^A-Za-z0-9]|$)", name) is not None


def _fits(name: str, pattern: str) -> bool:
    """Say whether a path matches a pattern in which * stays in a folder and ** does not."""
    pieces = re.split(r"(\*\*/?|\*|\?)", pattern)
    known = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return re.fullmatch("".join(known.get(piece, re.escape(piece)) for piece in pieces), name) is not None
