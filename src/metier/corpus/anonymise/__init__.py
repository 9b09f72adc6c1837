"""Take personal and secret data out of documents."""

from metier.corpus.anonymise.step import Anonymise

__all__ = ["Anonymise"]
