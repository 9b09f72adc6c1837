"""Teach a small classifier good text from bad, and leave out what it or a larger model scores too low."""

from metier.corpus.quality.classifier import Classifier, SavedClassifier
from metier.corpus.quality.filter import Quality
from metier.corpus.quality.model_filter import ModelQuality
from metier.corpus.quality.teach import TeachQuality

__all__ = ["Classifier", "ModelQuality", "Quality", "SavedClassifier", "TeachQuality"]
