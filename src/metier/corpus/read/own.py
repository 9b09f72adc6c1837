"""Readers of the user's own, named in the step: a function from a file's bytes and name to its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from metier.corpus.read.found import NO_TEXT, Content, Unreadable
from metier.corpus.read.kinds import Kind
from metier.corpus.read.sources import Options, Source
from metier.corpus.read.text import name_as_title


def own_reader(reference: str) -> Callable[[bytes, str], str]:
    """Return the function that "package.module:function" names. Raises ImportError or AttributeError."""
    module, _, name = reference.partition(":")
    function: Callable[[bytes, str], str] = getattr(import_module(module), name)
    return function


def read_own(source: Source, options: Options, kind: Kind) -> Iterator[Content]:
    """Yield what the user's function makes of a file. What it raises is the file's reason."""
    text = own_reader(kind.media_type)(source.data(options.max_bytes), source.file_name)
    if not text.strip():
        raise Unreadable(NO_TEXT)
    yield Content(text, name_as_title(source.file_name), "text/markdown")
