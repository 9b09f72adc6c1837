"""The plan of a training: what it needs, how it is laid out, what the alternatives are. Imports nothing heavy."""

from metier.train.plan.choose import Plan, lay_out, plan_for
from metier.train.plan.job import Job, Layout, Memory
from metier.train.plan.machine import Machine, machine_of
from metier.train.plan.memory import memory_of
from metier.train.plan.shape import Shape, find_shape, shape_of
from metier.train.plan.smaller import Checked, check, next_smaller
from metier.train.plan.table import as_dict, explain, step_fields

__all__ = [
    "Checked",
    "Job",
    "Layout",
    "Machine",
    "Memory",
    "Plan",
    "Shape",
    "as_dict",
    "check",
    "explain",
    "find_shape",
    "lay_out",
    "machine_of",
    "memory_of",
    "next_smaller",
    "plan_for",
    "shape_of",
    "step_fields",
]
