"""What a model has learnt and what it has lost: exams made before training, intervals on every figure."""

from metier.evaluate.decoding_search import DecodingSearch
from metier.evaluate.doctor import Doctor
from metier.evaluate.exam import MakeExam
from metier.evaluate.examine import Examine
from metier.evaluate.harness import LmEval
from metier.evaluate.inference import InferenceBench
from metier.evaluate.judge import Judge
from metier.evaluate.leak_check import LeakCheck
from metier.evaluate.own_exam import OwnExam
from metier.evaluate.pass_step import PassAtK
from metier.evaluate.perplexity_step import Perplexity
from metier.evaluate.rehearsal import Rehearsal
from metier.evaluate.report import WriteReport

__all__ = [
    "DecodingSearch",
    "Doctor",
    "Examine",
    "InferenceBench",
    "Judge",
    "LeakCheck",
    "LmEval",
    "MakeExam",
    "OwnExam",
    "PassAtK",
    "Perplexity",
    "Rehearsal",
    "WriteReport",
]
