"""A place to read from: a local file or folder, or a URL of a store that fsspec knows."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationInfo

from metier.core import LocalPath

_URL = re.compile(r"([a-z][a-z0-9+.-]+)(?:::|://)", re.IGNORECASE)


def is_url(written: str) -> bool:
    """Say whether a place is a URL ("s3://bucket/folder") rather than a path."""
    return _URL.match(written) is not None


def _validated(value: Any, info: ValidationInfo) -> LocalPath | str:
    if isinstance(value, str) and (found := _URL.match(value)):
        if found[1].lower() in ("http", "https"):
            raise ValueError("pages of the web are fetched by the step `crawl`, which asks before it comes")
        return value
    return LocalPath._validate(value, info)


Place = Annotated[LocalPath | str, PlainValidator(_validated)]
"""The type of a field for a place. A local one is part of a step's identity by its content, a URL by its name."""
