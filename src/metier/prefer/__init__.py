"""Preferences: answers sampled from a model, graded, and paired where they really differ."""

from metier.prefer.sample import SamplePairs

__all__ = ["SamplePairs"]
