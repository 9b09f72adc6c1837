"""Steps on weights: adapters merged, models merged, chat vectors, new pieces of vocabulary. No training."""

from metier.train.weights.chat_vector import ChatVector
from metier.train.weights.expand_vocabulary import ExpandVocabulary
from metier.train.weights.merge_adapter import MergeAdapter
from metier.train.weights.merge_models import MergeModels

__all__ = ["ChatVector", "ExpandVocabulary", "MergeAdapter", "MergeModels"]
