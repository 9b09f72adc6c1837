"""From a folder of files to documents worth learning: read, normalise, filter, dedup, split, table."""

from metier.corpus.dedup import Dedup
from metier.corpus.filter import Filter
from metier.corpus.normalise import Normalise
from metier.corpus.read import Read
from metier.corpus.split import Split
from metier.corpus.table import Table

__all__ = ["Dedup", "Filter", "Normalise", "Read", "Split", "Table"]
