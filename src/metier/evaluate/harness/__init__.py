"""General benchmarks through lm-eval, with the models run in Metier's own engine."""

from metier.evaluate.harness.step import LmEval

__all__ = ["LmEval"]
