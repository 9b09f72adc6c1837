"""Conversations to learn from: made from documents, or by a generator whose answers were executed."""

from metier.instruct.doc_qa import DocQa
from metier.instruct.sql_tasks import SqlTasks

__all__ = ["DocQa", "SqlTasks"]
