"""What a model has learnt and what it has lost: exams made before training, intervals on every figure."""

from metier.evaluate.exam import MakeExam
from metier.evaluate.examine import Examine
from metier.evaluate.judge import Judge
from metier.evaluate.pass_step import PassAtK
from metier.evaluate.rehearsal import Rehearsal
from metier.evaluate.report import WriteReport

__all__ = ["Examine", "Judge", "MakeExam", "PassAtK", "Rehearsal", "WriteReport"]
