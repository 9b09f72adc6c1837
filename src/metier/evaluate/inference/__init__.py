"""How fast a model answers, here and on other engines and machines."""

from metier.evaluate.inference.step import InferenceBench, Speed

__all__ = ["InferenceBench", "Speed"]
