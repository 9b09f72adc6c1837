"""What a corpus looks like, on one page, and the life of one document in it."""

from metier.corpus.look.step import Look
from metier.corpus.look.trace import Station, trace

__all__ = ["Look", "Station", "trace"]
