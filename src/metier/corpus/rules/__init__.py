"""Reasons to leave a document out: rules of the house and published ones, each a set of thresholds."""

from metier.corpus.rules.c4 import C4
from metier.corpus.rules.fineweb import FineWeb
from metier.corpus.rules.gopher import GopherQuality, GopherRepetition
from metier.corpus.rules.house import House
from metier.corpus.rules.languages import Languages
from metier.corpus.rules.noise import Noise
from metier.corpus.rules.rule_set import Objection, Rules, RuleSet
from metier.corpus.rules.seen import Needs, Seen
from metier.corpus.rules.spelling import Spelling

__all__ = [
    "C4",
    "FineWeb",
    "GopherQuality",
    "GopherRepetition",
    "House",
    "Languages",
    "Needs",
    "Noise",
    "Objection",
    "RuleSet",
    "Rules",
    "Seen",
    "Spelling",
]
