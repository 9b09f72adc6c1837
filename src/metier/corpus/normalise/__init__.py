"""One form for all texts: composed Unicode, plain spaces, no boilerplate; code and tables untouched."""

from metier.corpus.normalise.step import Normalise

__all__ = ["Normalise"]
