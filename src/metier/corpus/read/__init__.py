"""Read enterprise material into documents: folders, files and URLs, data sets of the hub."""

from metier.corpus.read.hub import HubDataset
from metier.corpus.read.step import Read

__all__ = ["HubDataset", "Read"]
