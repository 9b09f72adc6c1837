"""Leave out what a corpus already says: documents, parts of documents, and what says the same in other words."""

from metier.corpus.dedup.meaning import DedupMeaning
from metier.corpus.dedup.repeats import DedupParts
from metier.corpus.dedup.step import Dedup

__all__ = ["Dedup", "DedupMeaning", "DedupParts"]
