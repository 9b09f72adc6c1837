"""Run pure functions on batches of documents: on the cores of this machine, or on a cluster."""

from metier.corpus.engine.apply import Totals, apply
from metier.corpus.engine.operators import NOTES, REASON, Operator, noted, objected, with_texts

__all__ = ["NOTES", "REASON", "Operator", "Totals", "apply", "noted", "objected", "with_texts"]
