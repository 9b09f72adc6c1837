"""Training: continued pre-training, fine-tuning on answers, preferences."""

from metier.train.cpt import Cpt
from metier.train.dpo import Dpo
from metier.train.sft import Sft

__all__ = ["Cpt", "Dpo", "Sft"]
