"""From a folder of files to documents worth learning: read, normalise, filter, dedup, split, table."""

from metier.corpus.anonymise.step import Anonymise
from metier.corpus.clean_lines import CleanLines
from metier.corpus.comply import Comply
from metier.corpus.crawl import Crawl
from metier.corpus.decontaminate import Decontaminate
from metier.corpus.dedup import Dedup, DedupMeaning, DedupParts
from metier.corpus.filter import Filter
from metier.corpus.language import IdentifyLanguage
from metier.corpus.look import Look
from metier.corpus.mix import Mix
from metier.corpus.normalise import Normalise
from metier.corpus.order import Order
from metier.corpus.pack import Pack
from metier.corpus.quality import ModelQuality, Quality, SavedClassifier, TeachQuality
from metier.corpus.read import HubDataset, Read
from metier.corpus.saved import Saved
from metier.corpus.split import Split
from metier.corpus.table import Table

__all__ = [
    "Anonymise",
    "CleanLines",
    "Comply",
    "Crawl",
    "Decontaminate",
    "Dedup",
    "DedupMeaning",
    "DedupParts",
    "Filter",
    "HubDataset",
    "IdentifyLanguage",
    "Look",
    "Mix",
    "ModelQuality",
    "Normalise",
    "Order",
    "Pack",
    "Quality",
    "Read",
    "Saved",
    "SavedClassifier",
    "Split",
    "Table",
    "TeachQuality",
]
