"""Training: continued pre-training, fine-tuning on answers, preferences, rewards."""

from metier.train.cpt import Cpt
from metier.train.dpo import Dpo
from metier.train.grpo import Grpo
from metier.train.kto import Kto
from metier.train.sft import Sft
from metier.train.weights import ChatVector, ExpandVocabulary, MergeAdapter, MergeModels

__all__ = ["ChatVector", "Cpt", "Dpo", "ExpandVocabulary", "Grpo", "Kto", "MergeAdapter", "MergeModels", "Sft"]
