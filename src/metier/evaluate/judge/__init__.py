"""A model that judges answers: by pairs in both orders, or by a rubric, and how far it is to be trusted."""

from metier.evaluate.judge.step import Judge

__all__ = ["Judge"]
