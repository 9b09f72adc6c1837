"""The one place at which transformers reads a model's folder: code that the folder brings is never run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metier.core.errors import Mistake

_NAMING_CODE = ("config.json", "tokenizer_config.json")


def load_pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    """Return what `kind.from_pretrained` makes of `folder`.

    Told nothing, transformers asks on the console whether to run such code, and takes a piped "y" for an answer.

    Args:
        kind: one of transformers' Auto classes.

    Raises:
        Mistake: it cannot be loaded without code of its own. What else `from_pretrained` raises is raised as it is.
    """
    try:
        return kind.from_pretrained(folder, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise Mistake(
            f"{folder} needs code of its own to be loaded",
            found=_named_code(folder),
            hint="take a model whose class transformers has",
        ) from error


def _named_code(folder: Path) -> str | None:
    """Return the code that a folder's configuration names."""
    for name in _NAMING_CODE:
        try:
            if named := json.loads((folder / name).read_text()).get("auto_map"):
                return f"auto_map of {name}: {json.dumps(named)[:300]}"
        except (OSError, ValueError, AttributeError):
            continue
    return None
