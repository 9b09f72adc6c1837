"""What every room shares: artifacts, steps, the workshop, recipes, ports. Imports no sibling and nothing heavy."""

from metier.core.artifact import Artifact, Record
from metier.core.errors import Failure, Mistake, Problem
from metier.core.host import Host
from metier.core.ledger import Ledger, Line
from metier.core.progress import Progress
from metier.core.step import Estimate, Keys, LocalPath, Step
from metier.core.work import Work
from metier.core.workshop import Workshop

__all__ = [
    "Artifact",
    "Estimate",
    "Failure",
    "Host",
    "Keys",
    "Ledger",
    "Line",
    "LocalPath",
    "Mistake",
    "Problem",
    "Progress",
    "Record",
    "Step",
    "Work",
    "Workshop",
]
